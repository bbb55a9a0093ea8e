package backendtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// ears collect what an Invalidator tells.
type ears struct {
	t     *kit.T
	h     StoreHarness
	stop  func()
	news  chan struct{} // of 1
	mu    sync.Mutex
	told  []backend.Invalidation
	found []backend.Invalidation // what expect has returned
	ended bool                   // after stop
}

func listen(t *kit.T, h StoreHarness, s backend.Store, what backend.Interest) *ears {
	t.Helper()
	i, ok := s.(backend.Invalidator)
	if !ok {
		t.Fatalf("the store does not implement backend.Invalidator")
	}
	return hear(t, h, i, what)
}

func hear(t *kit.T, h StoreHarness, i backend.Invalidator, what backend.Interest) *ears {
	t.Helper()
	e := &ears{t: t, h: h, news: make(chan struct{}, 1)}
	e.stop = i.Invalidations(what, func(inv backend.Invalidation) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.ended {
			t.Errorf("a change is told after stop has returned")
		}
		e.told = append(e.told, inv)
		select {
		case e.news <- struct{}{}:
		default:
		}
	})
	t.Cleanup(e.stop)
	e.expect("Heard", func(inv backend.Invalidation) bool { return inv.Kind == backend.Heard })
	return e
}

// expect waits for an invalidation and forgets those before it.
func (e *ears) expect(what string, is func(backend.Invalidation) bool) (found backend.Invalidation) {
	e.t.Helper()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	for {
		e.mu.Lock()
		i := slices.IndexFunc(e.told, is)
		if i >= 0 {
			found = e.told[i]
			e.told = e.told[i+1:]
			e.found = append(e.found, found)
		}
		e.mu.Unlock()
		if i >= 0 {
			return found
		}
		select {
		case <-e.news:
		case <-limit.C:
			e.t.Fatalf("not told within 10s: %s", what)
		}
	}
}

// key waits to be told that key holds value now; "" stands for nothing. A change
// may be told again, and after a later one.
func (e *ears) key(key, value string) {
	e.t.Helper()
	head := value[:min(len(value), backend.HeadLen)]
	e.expect(fmt.Sprintf("a key of %d bytes holds %.20q, Head of which has at least %d bytes", len(key), value, len(head)), func(inv backend.Invalidation) bool {
		switch {
		case inv.Kind != backend.KeyChanged || inv.Key != key:
			return false
		case inv.Unsure:
			return true
		case value == "":
			return inv.Head == nil
		}
		return bytes.HasPrefix(inv.Head, []byte(head)) && strings.HasPrefix(value, string(inv.Head))
	})
}

// quiet fails if something but Heard, Deaf and what was told before is told, before
// a change by other is.
func (e *ears) quiet(s, other backend.Store) {
	e.t.Helper()
	before := slices.Clone(e.found) // may be told again: by each server of a cluster, say
	look(e.t, s, "the end")
	e.t.Must(other.Set(e.t.Context(), "the end", []byte("x"), long))
	for {
		inv := e.expect("a change of a peer's", func(inv backend.Invalidation) bool {
			return inv.Kind == backend.KeyChanged || inv.Kind == backend.TagStamped
		})
		if inv.Key == "the end" {
			return
		}
		again := func(b backend.Invalidation) bool {
			return b.Kind == inv.Kind && b.Key == inv.Key && bytes.Equal(b.Head, inv.Head) && b.Tag == inv.Tag && b.Stamp == inv.Stamp
		}
		if !inv.Unsure && !slices.ContainsFunc(before, again) {
			e.t.Errorf("told of a change of %q and tag %q, want nothing", inv.Key, inv.Tag)
		}
	}
}

// look reads a key: of what was never read a store need not tell.
func look(t *kit.T, s backend.Store, key string) {
	t.Helper()
	if _, err := s.Get(t.Context(), key); !errors.Is(err, backend.ErrMiss) {
		t.Must(err)
	}
}

// loadAndCommit replaces, or makes, key's value by a load.
func loadAndCommit(t *kit.T, s backend.Store, key, value string, rejected []byte) {
	t.Helper()
	l, ok := s.(backend.Leaser)
	if !ok {
		return
	}
	r, err := l.Lease(t.Context(), key, backend.LeaseRequest{Token: token(7), TTL: time.Minute, Rejected: rejected})
	t.Must(err)
	if ok, err := l.Commit(t.Context(), key, r.Token, []byte(value), long); !ok || err != nil {
		t.Fatalf("Commit = %t, %v, want true", ok, err)
	}
}

var keysAndTags = backend.Interest{Keys: true, Tags: true}

var tellCases = kit.Rules(
	kit.Case[StoreHarness]{
		Name: "tell/changes",
		Rule: "what a peer sets, deletes and swaps, and what its load replaces, is told, with how the value now begins",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			p := h.Peer(t.TB, s)
			e := listen(t, h, s, keysAndTags)
			for _, key := range []string{"k", "", "a:b{c}d\x00\xff\r\n", strings.Repeat("long", 500)} {
				value := strings.Repeat("0123456789", 10)
				look(t, s, key)
				set(t, p, key, value)
				e.key(key, value)
				if w, ok := p.(backend.Swapper); ok && h.Swaps {
					look(t, s, key)
					_, err := w.Swap(t.Context(), key, []byte("0123"), []byte("short"), long)
					t.Must(err)
					e.key(key, "short")
					value = "short"
				}
				if h.Leases {
					look(t, s, key)
					loadAndCommit(t, p, key, "loaded", []byte(value))
					e.key(key, "loaded")
				}
				look(t, s, key)
				t.Must(p.Delete(t.Context(), key))
				e.key(key, "")
			}
		},
	},
	kit.Case[StoreHarness]{
		Name: "tell/written",
		Rule: "what a peer changes is told of a key that this store has written, but not read",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			p := h.Peer(t.TB, s)
			e := listen(t, h, s, keysAndTags)
			set(t, s, "set", "mine")
			set(t, s, "swapped", "mine")
			if w, ok := s.(backend.Swapper); ok && h.Swaps {
				_, err := w.Swap(t.Context(), "swapped", []byte("mine"), []byte("my second"), long)
				t.Must(err)
			}
			keys := []string{"set", "swapped"}
			if h.Leases {
				look(t, s, "loaded")
				set(t, p, "loaded", "old")
				e.key("loaded", "old")
				loadAndCommit(t, s, "loaded", "mine", []byte("old"))
				keys = append(keys, "loaded")
			}
			// Of one's own changes a store may tell that it is unsure, and late.
			e.quiet(s, p)
			for _, key := range keys {
				set(t, p, key, "another's")
				e.key(key, "another's")
			}
		},
	},
	kit.Case[StoreHarness]{
		Name: "tell/own",
		Rule: "a store is not told of its own changes, or only as unsure",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			p := h.Peer(t.TB, s)
			e := listen(t, h, s, keysAndTags)
			look(t, s, "k")
			set(t, s, "k", "v")
			t.Must(s.Delete(t.Context(), "k"))
			if h.Tags {
				_, err := s.(backend.Tagger).StampTags(t.Context(), false, "tag") //nolint:forcetypeassert // the harness says so
				t.Must(err)
			}
			e.quiet(s, p)
		},
	},
	kit.Case[StoreHarness]{
		Name: "tell/interest",
		Rule: "who asks for tags alone is not told of keys",
		Run: func(t *kit.T, h StoreHarness) {
			if !h.Tags {
				return
			}
			s := h.New(t.TB)
			p := h.Peer(t.TB, s)
			e := listen(t, h, s, backend.Interest{Tags: true})
			set(t, p, "k", "v")
			_, err := p.(backend.Tagger).StampTags(t.Context(), false, "tag") //nolint:forcetypeassert // the harness says so
			t.Must(err)
			if inv := e.expect("a change", func(inv backend.Invalidation) bool { return inv.Kind != backend.Heard }); inv.Kind != backend.TagStamped {
				t.Errorf("told of %+v, want the stamp of a tag alone", inv)
			}
		},
	},
	kit.Case[StoreHarness]{
		Name: "tell/stop",
		Rule: "nothing is told once stop has returned, and others go on being told",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			p := h.Peer(t.TB, s)
			gone, stays := listen(t, h, s, keysAndTags), listen(t, h, s, keysAndTags)
			gone.stop()
			gone.mu.Lock()
			gone.ended = true
			gone.mu.Unlock()
			look(t, s, "k")
			set(t, p, "k", "v")
			stays.key("k", "v")
			gone.stop()
		},
	},
	kit.Case[StoreHarness]{
		Name: "tell/mode",
		Rule: "CoherenceMode says that changes are told while they are",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			listen(t, h, s, keysAndTags)
			switch m := s.(backend.Invalidator).CoherenceMode(); m { //nolint:forcetypeassert // listen has looked
			case backend.CoherencePublish, backend.CoherenceKeys, backend.CoherencePrefix:
			default:
				t.Errorf("CoherenceMode = %q after Heard", m)
			}
		},
	},
)
