package backendtest

import (
	"context"
	"testing"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
)

func (b *broken) Invalidations(what backend.Interest, on func(backend.Invalidation)) (stop func()) {
	if b.tells != nil {
		return b.tells(what, on)
	}
	return b.Store.Invalidations(what, on)
}

func (b *broken) CoherenceMode() backend.CoherenceMode {
	if b.mode != "" {
		return b.mode
	}
	return b.Store.CoherenceMode()
}

func (b *broken) StampTags(ctx context.Context, expire bool, tags ...string) (uint64, error) {
	if b.stamp != nil {
		return b.stamp(ctx, expire, tags...)
	}
	return b.Store.StampTags(ctx, expire, tags...)
}

func (b *broken) TagStamps(ctx context.Context, tags ...string) ([]backend.TagStamp, error) {
	if b.stamps != nil {
		return b.stamps(ctx, tags...)
	}
	return b.Store.TagStamps(ctx, tags...)
}

func (b *broken) AsOf(ctx context.Context) (uint64, error) {
	if b.asOf != nil {
		return b.asOf(ctx)
	}
	return b.Store.AsOf(ctx)
}

// retold changes what is told; nil: it is not.
func retold(change func(inv backend.Invalidation) *backend.Invalidation) func(b *broken, s *memstore.Store) {
	return func(b *broken, s *memstore.Store) {
		b.tells = func(what backend.Interest, on func(backend.Invalidation)) func() {
			return s.Invalidations(what, func(inv backend.Invalidation) {
				if inv := change(inv); inv != nil {
					on(*inv)
				}
			})
		}
	}
}

func TestBrokenTellsFail(t *testing.T) {
	breakStores(t, map[string]breakage{
		"is silent about deletes": {[]string{"tell/changes"}, retold(func(inv backend.Invalidation) *backend.Invalidation {
			if inv.Kind == backend.KeyChanged && inv.Head == nil {
				return nil
			}
			return &inv
		})},
		"never says how a value begins": {[]string{"tell/changes", "tell/stop", "tell/written"}, retold(func(inv backend.Invalidation) *backend.Invalidation {
			inv.Head = nil
			return &inv
		})},
		"loses keys that are long": {[]string{"tell/changes"}, retold(func(inv backend.Invalidation) *backend.Invalidation {
			inv.Key = inv.Key[:min(len(inv.Key), 1024)]
			return &inv
		})},
		"forgets the stamp of everything": {[]string{"tags/told"}, retold(func(inv backend.Invalidation) *backend.Invalidation {
			if inv.Kind == backend.Heard {
				inv.Stamp = backend.TagStamp{}
			}
			return &inv
		})},
		"tells its own changes": {[]string{"tell/own", "tell/written"}, func(b *broken, s *memstore.Store) {
			b.tells = s.Peer().Invalidations
		}},
		"tells whatever there is": {[]string{"tell/interest"}, func(b *broken, s *memstore.Store) {
			b.tells = func(_ backend.Interest, on func(backend.Invalidation)) func() {
				return s.Invalidations(keysAndTags, on)
			}
		}},
		"does not stop": {[]string{"tell/stop"}, func(b *broken, s *memstore.Store) {
			b.tells = func(what backend.Interest, on func(backend.Invalidation)) func() {
				s.Invalidations(what, on)
				return func() {}
			}
		}},
		"tells and says it is deaf": {[]string{"tell/mode"}, func(b *broken, _ *memstore.Store) { b.mode = backend.CoherenceDeaf }},
		"has one stamp for both": {[]string{"tags/stamps"}, func(b *broken, s *memstore.Store) {
			b.stamps = func(ctx context.Context, tags ...string) ([]backend.TagStamp, error) {
				all, err := s.TagStamps(ctx, tags...)
				for i := range all {
					all[i].Removed = max(all[i].Removed, all[i].Expired)
				}
				return all, err
			}
		}},
		"stamps with an hour ago": {[]string{"tags/all", "tags/stamps", "tags/time"}, func(b *broken, s *memstore.Store) {
			b.stamp = func(ctx context.Context, expire bool, tags ...string) (uint64, error) {
				n, err := s.StampTags(ctx, expire, tags...)
				return n - 3600e6, err
			}
		}},
		"is ahead of its stamps": {[]string{"tags/time"}, func(b *broken, s *memstore.Store) {
			b.asOf = func(ctx context.Context) (uint64, error) {
				n, err := s.AsOf(ctx)
				return n + 3600e6, err
			}
		}},
		"stamps in spite of its context": {[]string{"tags/context"}, func(b *broken, s *memstore.Store) {
			b.stamp = func(ctx context.Context, expire bool, tags ...string) (uint64, error) {
				return s.StampTags(context.WithoutCancel(ctx), expire, tags...)
			}
		}},
	})
}
