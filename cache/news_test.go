package cache_test

import (
	"testing"
	"testing/synctest"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/cache"
)

// TestNewsInAnyOrder: while a process reads a key, another sets it to 2 and then to
// 3. Whatever is told of that, and in which order, the reader does not keep the 2.
func TestNewsInAnyOrder(t *testing.T) {
	const unsure = 0
	for _, tc := range []struct {
		name string
		read int   // what the reader has in hand when it is told
		told []int // the news of which value, or that it is unsure
		kept bool
	}{
		{"unsure, of a later one", 2, []int{unsure}, false},
		{"in order", 2, []int{2, 3}, false},
		{"out of order", 2, []int{3, 2}, false},
		{"unsure, then the earlier", 2, []int{unsure, 2}, false},
		{"the earlier, then unsure", 2, []int{2, unsure}, false},
		{"unsure, of what was read", 3, []int{unsure}, true},
		{"twice", 3, []int{unsure, 3, unsure}, true},
		{"out of order, of what was read", 3, []int{3, 2}, false}, // it may be the earlier
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ps := newProcesses(t, 2, cache.Options[string, int]{}, nil)
				writer, reader := ps[0], ps[1]
				for range 60 { // the reader's reads hit, so that they are plain reads
					ok(t, writer.Set(t.Context(), "k", 1))
					reader.has("k", 1, false)
				}
				ok(t, writer.Delete(t.Context(), "k"))
				reader.store.mute.Store(true)
				news := map[int]backend.Invalidation{unsure: {Kind: backend.KeyChanged, Key: "k", Unsure: true}}
				set := func(v int) {
					stop := reader.store.Store.Peer().Invalidations(backend.Interest{Keys: true}, func(inv backend.Invalidation) {
						if inv.Kind == backend.KeyChanged {
							news[v] = inv
						}
					})
					defer stop()
					ok(t, writer.Set(t.Context(), "k", v))
				}
				for v := 2; v <= tc.read; v++ {
					set(v)
				}
				reader.store.got = func(string) {
					reader.store.got = nil
					for v := tc.read + 1; v <= 3; v++ {
						set(v)
					}
					for _, v := range tc.told {
						reader.store.on(news[v])
						synctest.Wait()
					}
				}
				reader.has("k", tc.read, false)
				if reader.store.got != nil || len(news) != 3 {
					t.Fatalf("%d pieces of news, want 3: the read was not overtaken", len(news))
				}
				reader.has("k", 3, tc.kept)
				reader.has("k", 3, true)
			})
		})
	}
}

// TestUnsureNewsOvertakesASet: the store is asked whose value it holds.
func TestUnsureNewsOvertakesASet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 2, cache.Options[string, int]{}, nil)
		a, b := ps[0], ps[1]
		b.store.mute.Store(true)
		unsure := backend.Invalidation{Kind: backend.KeyChanged, Key: "k", Unsure: true}
		b.store.set = func(string) {
			b.store.on(unsure) // its own
			synctest.Wait()
		}
		ok(t, b.Set(t.Context(), "k", 1))
		b.has("k", 1, true)
		b.store.set = func(string) {
			ok(t, a.Set(t.Context(), "k", 3))
			b.store.on(unsure)
			synctest.Wait()
		}
		ok(t, b.Set(t.Context(), "k", 2))
		b.has("k", 3, false)
		b.has("k", 3, true)
	})
}
