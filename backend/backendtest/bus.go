package backendtest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// BusHarness tells the kit about a bus.
type BusHarness struct {
	// New returns an open bus on which there is nobody else, and Peer the same as
	// another process would have it; both to be closed with tb.Cleanup. Required.
	New  func(tb testing.TB) backend.Bus
	Peer func(tb testing.TB, b backend.Bus) backend.Bus

	// Bubble runs each case in a testing/synctest bubble. Not for a bus that uses
	// a network.
	Bubble bool
}

// RunBus runs the kit for implementations of backend.Bus.
func RunBus(t *testing.T, h BusHarness) {
	t.Helper()
	kit.Run(t, h, h.Bubble, busCases)
}

func publish(t *kit.T, b backend.Bus, inv backend.Invalidation) {
	t.Helper()
	t.Must(b.Publish(t.Context(), inv))
}

func change(key, value string) backend.Invalidation {
	inv := backend.Invalidation{Kind: backend.KeyChanged, Key: key}
	if value != "" {
		inv.Head = []byte(value)
	}
	return inv
}

// tagged waits to be told of a stamp.
func (e *ears) tagged(tag string, stamp backend.TagStamp) {
	e.t.Helper()
	e.expect("the stamp of a tag, as it was published", func(inv backend.Invalidation) bool {
		return inv.Kind == backend.TagStamped && inv.Tag == tag && inv.Stamp == stamp
	})
}

var strange = []string{"k", "", "a:b{c}d\x00\xff\r\n", "1:2", strings.Repeat("long", 500)}

var busCases = kit.Rules(
	kit.Case[BusHarness]{
		Name: "bus/keys",
		Rule: "a change of a key reaches every other process, with how the value now begins",
		Run: func(t *kit.T, h BusHarness) {
			b := h.New(t.TB)
			e := hear(t, StoreHarness{}, h.Peer(t.TB, b), keysAndTags)
			f := hear(t, StoreHarness{}, h.Peer(t.TB, b), keysAndTags)
			for _, key := range strange {
				for _, value := range []string{"0123456789", "", "a:b\x00\xff\r\n", strings.Repeat("x", backend.HeadLen)} {
					publish(t, b, change(key, value))
					e.key(key, value)
					f.key(key, value)
				}
			}
		},
	},
	kit.Case[BusHarness]{
		Name: "bus/tags",
		Rule: "a stamp of a tag reaches every other process as it is",
		Run: func(t *kit.T, h BusHarness) {
			b := h.New(t.TB)
			e := hear(t, StoreHarness{}, h.Peer(t.TB, b), keysAndTags)
			for _, tag := range strange {
				for _, stamp := range []backend.TagStamp{{Removed: 1792000000000000}, {Expired: 1792000000000001}} {
					publish(t, b, backend.Invalidation{Kind: backend.TagStamped, Tag: tag, Stamp: stamp})
					e.tagged(tag, stamp)
				}
			}
		},
	},
	kit.Case[BusHarness]{
		Name: "bus/own",
		Rule: "who publishes is not told of it, or only as unsure",
		Run: func(t *kit.T, h BusHarness) {
			b := h.New(t.TB)
			p := h.Peer(t.TB, b)
			e := hear(t, StoreHarness{}, b, keysAndTags)
			hear(t, StoreHarness{}, p, keysAndTags)
			publish(t, b, change("k", "v"))
			publish(t, b, backend.Invalidation{Kind: backend.TagStamped, Tag: "t", Stamp: backend.TagStamp{Removed: 1}})
			publish(t, p, change("the end", "v"))
			for {
				inv := e.expect("a change of a peer's", func(inv backend.Invalidation) bool {
					return inv.Kind == backend.KeyChanged || inv.Kind == backend.TagStamped
				})
				if inv.Key == "the end" {
					return
				}
				if !inv.Unsure {
					t.Errorf("told of its own change of %q and tag %q", inv.Key, inv.Tag)
				}
			}
		},
	},
	kit.Case[BusHarness]{
		Name: "bus/interest",
		Rule: "who asks for tags alone is not told of keys, and the other way round",
		Run: func(t *kit.T, h BusHarness) {
			b := h.New(t.TB)
			tags := hear(t, StoreHarness{}, h.Peer(t.TB, b), backend.Interest{Tags: true})
			keys := hear(t, StoreHarness{}, h.Peer(t.TB, b), backend.Interest{Keys: true})
			publish(t, b, change("k", "v"))
			publish(t, b, backend.Invalidation{Kind: backend.TagStamped, Tag: "t", Stamp: backend.TagStamp{Removed: 1}})
			publish(t, b, change("k2", "v"))
			other := func(inv backend.Invalidation) bool { return inv.Kind != backend.Heard }
			if inv := tags.expect("a stamp", other); inv.Kind != backend.TagStamped {
				t.Errorf("told of %+v, want the stamp of a tag alone", inv)
			}
			for _, want := range []string{"k", "k2"} {
				if inv := keys.expect("a change", other); inv.Kind != backend.KeyChanged || inv.Key != want {
					t.Errorf("told of %+v, want the change of %s alone", inv, want)
				}
			}
		},
	},
	kit.Case[BusHarness]{
		Name: "bus/stop",
		Rule: "nothing is told once stop has returned, and others go on being told; stop is idempotent",
		Run: func(t *kit.T, h BusHarness) {
			b := h.New(t.TB)
			p := h.Peer(t.TB, b)
			gone, stays := hear(t, StoreHarness{}, b, keysAndTags), hear(t, StoreHarness{}, b, keysAndTags)
			gone.stop()
			gone.mu.Lock()
			gone.ended = true
			gone.mu.Unlock()
			publish(t, p, change("k", "v"))
			stays.key("k", "v")
			gone.stop()
		},
	},
	kit.Case[BusHarness]{
		Name: "bus/mode",
		Rule: "CoherenceMode says that changes are told while they are",
		Run: func(t *kit.T, h BusHarness) {
			b := h.New(t.TB)
			hear(t, StoreHarness{}, b, keysAndTags)
			if m := b.CoherenceMode(); m == backend.CoherenceOff || m == backend.CoherenceDeaf || m == "" {
				t.Errorf("CoherenceMode = %q after Heard", m)
			}
		},
	},
	kit.Case[BusHarness]{
		Name: "bus/owned",
		Rule: "what is told is the hearer's own",
		Run: func(t *kit.T, h BusHarness) {
			b := h.New(t.TB)
			e := hear(t, StoreHarness{}, h.Peer(t.TB, b), keysAndTags)
			head := []byte("value")
			publish(t, b, backend.Invalidation{Kind: backend.KeyChanged, Key: "k", Head: head})
			copy(head, "other")
			e.key("k", "value")
		},
	},
	kit.Case[BusHarness]{
		Name: "bus/context",
		Rule: "Publish with a context that has ended returns an error, and tells nobody",
		Run: func(t *kit.T, h BusHarness) {
			b := h.New(t.TB)
			e := hear(t, StoreHarness{}, h.Peer(t.TB, b), keysAndTags)
			if err := b.Publish(canceled(t), change("k", "v")); !errors.Is(err, context.Canceled) {
				t.Errorf("Publish = %v, want the context's error", err)
			}
			publish(t, b, change("the end", "v"))
			if inv := e.expect("a change", func(inv backend.Invalidation) bool { return inv.Kind == backend.KeyChanged }); inv.Key != "the end" {
				t.Errorf("told of %q, want nothing", inv.Key)
			}
		},
	},
	kit.Case[BusHarness]{
		Name: "bus/close",
		Rule: "after Close nothing is told, Publish returns backend.ErrClosed, and Close is idempotent",
		Run: func(t *kit.T, h BusHarness) {
			b := h.New(t.TB)
			p := h.Peer(t.TB, b)
			e := hear(t, StoreHarness{}, b, keysAndTags)
			f := hear(t, StoreHarness{}, h.Peer(t.TB, b), keysAndTags)
			t.Must(b.Close())
			e.mu.Lock()
			e.ended = true
			e.mu.Unlock()
			t.Must(b.Close())
			if err := b.Publish(t.Context(), change("k", "v")); !errors.Is(err, backend.ErrClosed) {
				t.Errorf("Publish = %v, want backend.ErrClosed", err)
			}
			publish(t, p, change("k", "v"))
			f.key("k", "v")
		},
	},
)
