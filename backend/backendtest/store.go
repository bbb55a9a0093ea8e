package backendtest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/internal/kit"
)

var storeCases = kit.Rules(
	kit.Case[StoreHarness]{
		Name: "get/miss",
		Rule: "Get of a key that was never set returns backend.ErrMiss, bare",
		Run:  func(t *kit.T, h StoreHarness) { miss(t, h.New(t.TB), "k") },
	},
	kit.Case[StoreHarness]{
		Name: "set/bytes",
		Rule: "Get returns the bytes of the last Set, whatever they are; empty is a value",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			all := make([]byte, 256)
			for i := range all {
				all[i] = byte(i)
			}
			for _, v := range []string{"", "v", string(all), strings.Repeat("x", 512<<10), "nil"} {
				set(t, s, "k", v)
				get(t, s, "k", v)
			}
		},
	},
	kit.Case[StoreHarness]{
		Name: "set/keys",
		Rule: "every string is a key, and no two share a value",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			keys := []string{
				"", "a", "A", "a b", " a", "a:b", "a:b:c", "{", "}", "{}", "}x", "{a}b", "*", "a\nb", "a\x00", "é", "\xff",
				"x", "x:lock", strings.Repeat("k", 4096), strings.Repeat("k", 1024) + "1", strings.Repeat("k", 1024) + "2",
			}
			for i, k := range keys {
				set(t, s, k, fmt.Sprint(i))
			}
			for i, k := range keys {
				get(t, s, k, fmt.Sprint(i))
			}
		},
	},
	kit.Case[StoreHarness]{
		Name: "get/owned",
		Rule: "the slice that Get returns belongs to the caller",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			set(t, s, "k", "value")
			v, err := s.Get(t.Context(), "k")
			if err != nil {
				t.Fatalf("Get(\"k\") = %v, want what was set", err)
			}
			clear(v)
			get(t, s, "k", "value")
		},
	},
	kit.Case[StoreHarness]{
		Name: "set/not-retained",
		Rule: "Set does not retain its value",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			v := []byte("value")
			setFor(t, s, "k", v, long)
			clear(v)
			get(t, s, "k", "value")
		},
	},
	kit.Case[StoreHarness]{
		Name: "delete/all",
		Rule: "Delete removes all its keys; absent ones are fine; others stay",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			for _, k := range []string{"a", "b", "c"} {
				set(t, s, k, k)
			}
			del(t, s, "a", "absent", "b")
			miss(t, s, "a")
			miss(t, s, "b")
			get(t, s, "c", "c")
			del(t, s)
			del(t, s, "a")
		},
	},
	kit.Case[StoreHarness]{
		Name: "ttl/ends",
		Rule: "a value is there until its ttl is over, and not after",
		Run: func(t *kit.T, h StoreHarness) {
			s, ttl := h.New(t.TB), h.lifetime()
			setFor(t, s, "k", []byte("v"), ttl)
			get(t, s, "k", "v")
			h.pass(ttl / 5)
			get(t, s, "k", "v")
			h.pass(ttl)
			miss(t, s, "k")
		},
	},
	kit.Case[StoreHarness]{
		Name: "ttl/replaced",
		Rule: "Set replaces the ttl together with the value",
		Run: func(t *kit.T, h StoreHarness) {
			s, ttl := h.New(t.TB), h.lifetime()
			setFor(t, s, "k", []byte("old"), ttl)
			setFor(t, s, "k", []byte("new"), long)
			h.pass(ttl + ttl/5)
			get(t, s, "k", "new")
		},
	},
	kit.Case[StoreHarness]{
		Name: "ttl/tiny",
		Rule: "a ttl below the place's unit is rounded up to one: no error, and no eternal life",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			setFor(t, s, "k", []byte("v"), time.Nanosecond)
			h.pass(2 * h.lifetime())
			miss(t, s, "k")
		},
	},
	kit.Case[StoreHarness]{
		Name: "context/canceled",
		Rule: "a call whose context has ended returns an error",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			set(t, s, "k", "v")
			_, err := s.Get(canceled(t), "k")
			ended(t, "Get", err)
			ended(t, "Set", s.Set(canceled(t), "k", []byte("w"), long))
			ended(t, "Delete", s.Delete(canceled(t), "k"))
			get(t, s, "k", "v")
		},
	},
	kit.Case[StoreHarness]{
		Name: "concurrent",
		Rule: "all methods may be called concurrently, and no value is mixed up",
		Run:  concurrent,
	},
	kit.Case[StoreHarness]{
		Name: "close/idempotent",
		Rule: "Close is idempotent, and calls after it return an error that is not a miss",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			set(t, s, "k", "v")
			for range 2 {
				if err := s.Close(); err != nil {
					t.Errorf("Close = %v, want nil", err)
				}
			}
			_, err := s.Get(t.Context(), "k")
			closed(t, "Get", err)
			closed(t, "Set", s.Set(t.Context(), "k", nil, long))
			closed(t, "Delete", s.Delete(t.Context(), "k"))
		},
	},
)

func concurrent(t *kit.T, h StoreHarness) {
	s := h.New(t.TB)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				key := fmt.Sprint("k", (g+i)%5)
				want := []byte(key + strings.Repeat(".", 100))
				if err := s.Set(t.Context(), key, want, long); err != nil {
					t.Errorf("Set(%q) = %v, want nil", key, err)
				}
				if v, err := s.Get(t.Context(), key); err == nil && !bytes.Equal(v, want) {
					t.Errorf("Get(%q) = %.20q, want the value of that key, %.20q", key, v, want)
				}
				if i%10 == 0 {
					_ = s.Delete(t.Context(), key)
				}
			}
		})
	}
	wg.Wait()
}
