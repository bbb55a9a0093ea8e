package backendtest

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// misranged is a memory whose Range has one thing wrong.
type misranged struct {
	*wrong
	rng func(yield func(backend.Node) bool)
}

func (m *misranged) Range(yield func(backend.Node) bool) { m.rng(yield) }

func TestBrokenRangesFail(t *testing.T) {
	for name, tc := range map[string]struct {
		fails []string
		wreck func(w *misranged, m *memstore.Memory)
	}{
		"yields nothing": {[]string{"range/all", "range/reenter"}, func(w *misranged, _ *memstore.Memory) {
			w.rng = func(func(backend.Node) bool) {}
		}},
		"yields twice": {[]string{"range/all"}, func(w *misranged, m *memstore.Memory) {
			w.rng = func(yield func(backend.Node) bool) {
				m.Range(func(n backend.Node) bool { return yield(n) && (n.Dead() || yield(n)) })
			}
		}},
		"yields what is dead": {[]string{"range/all", "range/closed", "range/dead"}, func(w *misranged, m *memstore.Memory) {
			var mu sync.Mutex
			var all []backend.Node
			w.set = func(hash uint64, n backend.Node, cost int64, ttl time.Duration) {
				m.Set(hash, n, cost, ttl)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, n)
			}
			w.rng = func(yield func(backend.Node) bool) {
				mu.Lock()
				list := slices.Clone(all)
				mu.Unlock()
				for _, n := range list {
					if !yield(n) {
						return
					}
				}
			}
		}},
		"does not stop": {[]string{"range/stop"}, func(w *misranged, m *memstore.Memory) {
			w.rng = func(yield func(backend.Node) bool) {
				m.Range(func(n backend.Node) bool { yield(n); return true })
			}
		}},
		"takes no writes meanwhile": {[]string{"range/reenter"}, func(w *misranged, m *memstore.Memory) {
			var busy atomic.Bool
			w.set = func(hash uint64, n backend.Node, cost int64, ttl time.Duration) {
				if !busy.Load() {
					m.Set(hash, n, cost, ttl)
				}
			}
			w.rng = func(yield func(backend.Node) bool) {
				busy.Store(true)
				defer busy.Store(false)
				m.Range(yield)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := MemoryHarness{Capacity: 1000, Ranges: true, New: func(testing.TB) backend.Memory {
				m := memstore.NewMemory(1000)
				w := &misranged{wrong: &wrong{Memory: m}}
				tc.wreck(w, m)
				return w
			}}
			if got := kit.Failed(t, h, rangeCases); !slices.Equal(sorted(got), tc.fails) {
				t.Errorf("fails %q, want %q", got, tc.fails)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		type bare struct{ backend.Memory }
		h := MemoryHarness{Capacity: 1000, Ranges: true, New: func(testing.TB) backend.Memory {
			return bare{memstore.NewMemory(1000)}
		}}
		if got := kit.Failed(t, h, h.cases()); len(got) != len(rangeCases) {
			t.Errorf("fails %q, want all cases of Range", got)
		}
	})
}
