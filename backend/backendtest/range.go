package backendtest

import (
	"sync"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// ranger opens a memory and its Range.
func (h MemoryHarness) ranger(t *kit.T) (backend.Memory, backend.Ranger) {
	t.Helper()
	m := h.New(t.TB)
	r, ok := m.(backend.Ranger)
	if !ok {
		t.Fatalf("the memory has no Range")
	}
	return m, r
}

// ranged counts how often each of the kit's nodes is yielded.
func ranged(r backend.Ranger) map[int]int {
	times := make(map[int]int)
	for n := range r.Range {
		times[n.(*entry).id]++ //nolint:forcetypeassert // the kit stores nothing else
	}
	return times
}

var rangeCases = kit.Rules(
	kit.Case[MemoryHarness]{
		Name: "range/all",
		Rule: "Range yields each node that Get gives, once, also just after its Set, and no other",
		Run: func(t *kit.T, h MemoryHarness) {
			m, r := h.ranger(t)
			for round := range 2 {
				for i := range h.Capacity / 2 {
					put(m, spread(i), round*h.Capacity+i)
				}
				times := ranged(r)
				for i := range h.Capacity / 2 {
					switch n := id(m, spread(i)); {
					case n >= 0 && times[n] != 1:
						t.Fatalf("a node that Get gives is yielded %d times", times[n])
					case n >= 0:
						delete(times, n)
					}
				}
				if len(times) > h.Capacity/10 { // some may have been dropped since
					t.Fatalf("%d nodes are yielded that Get does not give", len(times))
				}
				if h.Settle != nil {
					h.Settle(m)
				}
			}
		},
	},
	kit.Case[MemoryHarness]{
		Name: "range/dead",
		Rule: "Range yields no node that is replaced or deleted by then",
		Run: func(t *kit.T, h MemoryHarness) {
			m, r := h.ranger(t)
			for i := range h.Capacity / 2 {
				put(m, spread(i), i)
			}
			if h.Settle != nil {
				h.Settle(m)
			}
			for i := range h.Capacity / 2 {
				if i%2 == 0 {
					m.Delete(spread(i))
				} else {
					put(m, spread(i), h.Capacity+i)
				}
			}
			for n := range ranged(r) {
				if n < h.Capacity {
					t.Fatalf("a node is yielded that was replaced or deleted")
				}
			}
			put(m, spread(0), 0)
			put(m, spread(1), 1)
			gone := false
			for n := range r.Range { // the first that comes kills all others
				if gone && n.Dead() {
					t.Fatalf("a node is yielded that was deleted during Range")
				}
				for i := range h.Capacity / 2 {
					m.Delete(spread(i))
				}
				gone = true
			}
		},
	},
	kit.Case[MemoryHarness]{
		Name: "range/stop",
		Rule: "Range ends when yield returns false",
		Run: func(t *kit.T, h MemoryHarness) {
			m, r := h.ranger(t)
			for i := range 10 {
				put(m, spread(i), i)
			}
			calls := 0
			r.Range(func(backend.Node) bool { calls++; return calls < 2 })
			if calls > 2 {
				t.Errorf("%d nodes are yielded, though yield said to stop at the second", calls)
			}
		},
	},
	kit.Case[MemoryHarness]{
		Name: "range/reenter",
		Rule: "yield may call any method, and what it calls takes effect",
		Run: func(t *kit.T, h MemoryHarness) {
			m, r := h.ranger(t)
			for i := range 10 {
				put(m, spread(i), i)
			}
			var last *entry
			for n := range r.Range {
				i := n.(*entry).id //nolint:forcetypeassert // the kit stores nothing else
				if i >= 10 {
					continue // written by this loop
				}
				last = put(m, spread(100+i), 100+i)
				m.Delete(spread(i))
				if m.Get(spread(i)) != nil {
					t.Fatalf("a node is there after a Delete by yield")
				}
			}
			if last == nil || m.Get(spread(last.id)) == nil {
				t.Errorf("a node is not there after a Set by yield")
			}
		},
	},
	kit.Case[MemoryHarness]{
		Name: "range/closed",
		Rule: "Range may run while the memory is written and closed; after Close it yields nothing",
		Run: func(t *kit.T, h MemoryHarness) {
			m, r := h.ranger(t)
			var wg sync.WaitGroup
			for g := range 2 {
				wg.Go(func() {
					for i := range 500 {
						put(m, spread(g*1000+i), i)
					}
				})
				wg.Go(func() { ranged(r) })
			}
			wg.Go(func() { _ = m.Close() })
			wg.Wait()
			if n := len(ranged(r)); n > 0 {
				t.Errorf("a closed memory yields %d nodes", n)
			}
		},
	},
)
