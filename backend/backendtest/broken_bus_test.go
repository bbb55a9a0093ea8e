package backendtest

import (
	"context"
	"testing"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/internal/kit"
)

func busHarness(wrap func(*memstore.Bus) backend.Bus) BusHarness {
	return BusHarness{
		New: func(testing.TB) backend.Bus { return wrap(memstore.NewBus()) },
		Peer: func(_ testing.TB, b backend.Bus) backend.Bus {
			return wrap(b.(interface{ Peer() *memstore.Bus }).Peer()) //nolint:forcetypeassert // wrap embeds one
		},
		Bubble: true,
	}
}

func TestReferenceBusPasses(t *testing.T) {
	RunBus(t, busHarness(func(b *memstore.Bus) backend.Bus { return b }))
}

// brokenBus is a bus with one thing wrong.
type brokenBus struct {
	*memstore.Bus
	publish func(ctx context.Context, inv backend.Invalidation) error
	tells   func(what backend.Interest, on func(backend.Invalidation)) (stop func())
	mode    backend.CoherenceMode
	close   func() error
}

func (b *brokenBus) Publish(ctx context.Context, inv backend.Invalidation) error {
	if b.publish != nil {
		return b.publish(ctx, inv)
	}
	return b.Bus.Publish(ctx, inv)
}

func (b *brokenBus) Invalidations(what backend.Interest, on func(backend.Invalidation)) (stop func()) {
	if b.tells != nil {
		return b.tells(what, on)
	}
	return b.Bus.Invalidations(what, on)
}

func (b *brokenBus) CoherenceMode() backend.CoherenceMode {
	if b.mode != "" {
		return b.mode
	}
	return b.Bus.CoherenceMode()
}

func (b *brokenBus) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.Bus.Close()
}

func TestBrokenBusesFail(t *testing.T) {
	for name, tc := range map[string]struct {
		want []string
		how  func(b *brokenBus, s *memstore.Bus)
	}{
		"cuts keys": {[]string{"bus/keys"}, func(b *brokenBus, s *memstore.Bus) {
			b.publish = func(ctx context.Context, inv backend.Invalidation) error {
				inv.Key = inv.Key[:min(len(inv.Key), 1024)]
				return s.Publish(ctx, inv)
			}
		}},
		"takes stale for removed": {[]string{"bus/tags"}, func(b *brokenBus, s *memstore.Bus) {
			b.publish = func(ctx context.Context, inv backend.Invalidation) error {
				inv.Stamp = backend.TagStamp{Removed: max(inv.Stamp.Removed, inv.Stamp.Expired)}
				return s.Publish(ctx, inv)
			}
		}},
		"tells its own": {[]string{"bus/own"}, func(b *brokenBus, s *memstore.Bus) {
			peer := s.Peer()
			b.tells = peer.Invalidations
			b.close = func() error { _ = peer.Close(); return s.Close() }
		}},
		"tells whatever there is": {[]string{"bus/interest"}, func(b *brokenBus, s *memstore.Bus) {
			b.tells = func(_ backend.Interest, on func(backend.Invalidation)) func() {
				return s.Invalidations(keysAndTags, on)
			}
		}},
		"does not stop": {[]string{"bus/stop"}, func(b *brokenBus, s *memstore.Bus) {
			b.tells = func(what backend.Interest, on func(backend.Invalidation)) func() {
				s.Invalidations(what, on)
				return func() {}
			}
		}},
		"tells and says it is deaf": {[]string{"bus/mode"}, func(b *brokenBus, _ *memstore.Bus) { b.mode = backend.CoherenceDeaf }},
		"tells later, of a buffer that is not its own": {[]string{"bus/owned"}, func(b *brokenBus, s *memstore.Bus) {
			b.tells = func(what backend.Interest, on func(backend.Invalidation)) func() {
				return s.Invalidations(what, func(inv backend.Invalidation) {
					if string(inv.Head) == "value" {
						copy(inv.Head, "other")
					}
					on(inv)
				})
			}
		}},
		"publishes in spite of its context": {[]string{"bus/context"}, func(b *brokenBus, s *memstore.Bus) {
			b.publish = func(ctx context.Context, inv backend.Invalidation) error {
				return s.Publish(context.WithoutCancel(ctx), inv)
			}
		}},
		"does not close": {[]string{"bus/close"}, func(b *brokenBus, _ *memstore.Bus) { b.close = func() error { return nil } }},
	} {
		t.Run(name, func(t *testing.T) {
			h := busHarness(func(s *memstore.Bus) backend.Bus {
				b := &brokenBus{Bus: s}
				tc.how(b, s)
				return b
			})
			if got := kit.Failed(t, h, busCases); kit.Names(got...) != kit.Names(tc.want...) {
				t.Errorf("fails %q, want %q", got, tc.want)
			}
		})
	}
}
