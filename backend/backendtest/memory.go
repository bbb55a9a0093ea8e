package backendtest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// MemoryHarness tells the kit about a memory.
type MemoryHarness struct {
	// New returns an empty memory with room for Capacity entries of cost 1, to
	// be closed with tb.Cleanup. Required.
	New func(tb testing.TB) backend.Memory

	// Capacity is how many entries it has room for. Required; 1000 is plenty.
	Capacity int

	// Ranges says that it implements backend.Ranger.
	Ranges bool

	// Bubble runs each case in a testing/synctest bubble.
	Bubble bool

	// Settle waits until writes have been applied, where that is later than
	// the write's return. Only the bound on memory is checked after it.
	Settle func(m backend.Memory)

	// Counted says that it is a [backend.Counted].
	Counted bool
}

// RunMemory runs the kit.
func RunMemory(t *testing.T, h MemoryHarness) {
	t.Helper()
	kit.Run(t, h, h.Bubble, h.cases())
}

func (h MemoryHarness) cases() []kit.Case[MemoryHarness] {
	cases := append([]kit.Case[MemoryHarness]{}, memoryCases...)
	if h.Ranges {
		cases = append(cases, rangeCases...)
	}
	return cases
}

// entry is the kit's node.
type entry struct {
	backend.Life
	id      int
	expired atomic.Bool
}

// Expired implements backend.Node.
func (e *entry) Expired() bool { return e.expired.Load() }

// id returns the node's id under hash, or -1.
func id(m backend.Memory, hash uint64) int {
	n := m.Get(hash)
	if n == nil {
		return -1
	}
	return n.(*entry).id //nolint:forcetypeassert // the kit stores nothing else
}

// spread makes hashes of small numbers that no store takes for neighbours.
func spread(i int) uint64 { return uint64(i+1) * 0x9E3779B97F4A7C15 }

func put(m backend.Memory, hash uint64, n int) *entry {
	e := &entry{id: n}
	m.Set(hash, e, 1, time.Hour)
	return e
}

var memoryCases = kit.Rules(
	kit.Case[MemoryHarness]{
		Name: "memory/set",
		Rule: "Get gives nil before a Set and that node, or nil, after it",
		Run: func(t *kit.T, h MemoryHarness) {
			m := h.New(t.TB)
			if n := m.Get(1); n != nil {
				t.Errorf("Get of nothing = %v", n)
			}
			there := 0
			for i := range h.Capacity / 2 {
				put(m, spread(i), i)
				switch id(m, spread(i)) {
				case i:
					there++
				case -1:
				default:
					t.Errorf("Get(%d) = %d", i, id(m, spread(i)))
				}
			}
			if there < h.Capacity/4 {
				t.Errorf("%d of %d entries can be read after their Set, with room for twice as many", there, h.Capacity/2)
			}
		},
	},
	kit.Case[MemoryHarness]{
		Name: "memory/newest",
		Rule: "after a second Set of a hash, Get never gives the first node",
		Run: func(t *kit.T, h MemoryHarness) {
			m := h.New(t.TB)
			for i := range 2000 {
				old := put(m, spread(i), 1)
				put(m, spread(i), 2)
				if n := id(m, spread(i)); n == 1 {
					t.Fatalf("Get gives the older node")
				}
				if !old.Dead() && m.Get(spread(i)) != nil {
					t.Fatalf("the replaced node was not killed")
				}
			}
			for i := range 2000 { // also later
				if n := id(m, spread(i)); n == 1 {
					t.Fatalf("Get gives the older node, later")
				}
			}
		},
	},
	kit.Case[MemoryHarness]{
		Name: "memory/deleted",
		Rule: "after a Delete, Get gives nil, now and later, whatever else is written",
		Run:  deleted,
	},
	kit.Case[MemoryHarness]{
		Name: "memory/bounded",
		Rule: "a memory holds no more than its capacity; a cost below 1 counts as 1",
		Run: func(t *kit.T, h MemoryHarness) {
			m := h.New(t.TB)
			for i := range 4 * h.Capacity {
				m.Set(spread(i), &entry{id: i}, int64(i%2)-1+i64(i%4 == 3), time.Hour)
				if i%100 == 0 && h.Settle != nil {
					h.Settle(m)
				}
			}
			if h.Settle != nil {
				h.Settle(m)
			}
			held := 0
			for i := range 4 * h.Capacity {
				if m.Get(spread(i)) != nil {
					held++
				}
			}
			if held > h.Capacity || held < h.Capacity/10 {
				t.Errorf("%d entries held with room for %d", held, h.Capacity)
			}
		},
	},
	kit.Case[MemoryHarness]{
		Name: "memory/counted",
		Rule: "Len is what is held, and Evicted what went for want of room; a node that was deleted, replaced or expired did not",
		Run:  counted,
	},
	kit.Case[MemoryHarness]{
		Name: "memory/no-alloc",
		Rule: "Get allocates nothing",
		Run: func(t *kit.T, h MemoryHarness) {
			m := h.New(t.TB)
			put(m, 1, 1)
			if n := testing.AllocsPerRun(1000, func() { m.Get(1) }); n > 0.1 {
				t.Errorf("%v allocations a Get", n)
			}
		},
	},
	kit.Case[MemoryHarness]{
		Name: "memory/closed",
		Rule: "Close is idempotent; after it Get gives nil and Set does nothing",
		Run: func(t *kit.T, h MemoryHarness) {
			m := h.New(t.TB)
			put(m, 1, 1)
			for range 2 {
				if err := m.Close(); err != nil {
					t.Errorf("Close = %v, want nil", err)
				}
			}
			put(m, 2, 2)
			m.Delete(1)
			if m.Get(1) != nil || m.Get(2) != nil {
				t.Errorf("a closed memory gives nodes")
			}
		},
	},
	kit.Case[MemoryHarness]{
		Name: "memory/close-race",
		Rule: "all methods may be called while Close runs",
		Run:  closeRace,
	},
)

func i64(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func counted(t *kit.T, h MemoryHarness) {
	m := h.New(t.TB)
	c, ok := m.(backend.Counted)
	if ok != h.Counted {
		t.Fatalf("it is a backend.Counted: %t, and MemoryHarness.Counted: %t", ok, h.Counted)
	}
	if !ok {
		return
	}
	settle := func() {
		if h.Settle != nil {
			h.Settle(m)
		}
	}
	half := h.Capacity / 2
	for i := range half {
		put(m, spread(i), i)
		if i%100 == 0 {
			settle()
		}
	}
	settle()
	if n, gone := c.Len(), c.Evicted(); n+int(gone) != half || n < half/2 {
		t.Errorf("Len = %d and Evicted = %d after %d Sets with room for %d", n, gone, half, h.Capacity)
	}
	before := c.Evicted()
	for i := range half {
		put(m, spread(i), i)
		m.Delete(spread(i))
		if i%100 == 0 {
			settle()
		}
	}
	settle()
	if n, gone := c.Len(), c.Evicted()-before; n != 0 || gone != 0 {
		t.Errorf("Len = %d and Evicted rose by %d after all were replaced and deleted", n, gone)
	}
	for i := range 4 * h.Capacity {
		e := put(m, spread(i), i)
		e.expired.Store(i < h.Capacity)
		if i%100 == 0 {
			settle()
		}
	}
	settle()
	n, gone := c.Len(), int(c.Evicted()-before)
	if n > h.Capacity || gone < 2*h.Capacity || gone > 4*h.Capacity-n {
		t.Errorf("Len = %d and Evicted rose by %d after %d Sets, a quarter of them of what had expired, with room for %d",
			n, gone, 4*h.Capacity, h.Capacity)
	}
	_ = m.Close()
	if n, after := c.Len(), int(c.Evicted()-before); n != 0 || after != gone {
		t.Errorf("Len = %d and Evicted rose by %d on Close", n, after-gone)
	}
}

func deleted(t *kit.T, h MemoryHarness) {
	m := h.New(t.TB)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for g := range 2 {
		wg.Go(func() { // noise
			for i := 0; !stop.Load() && i < 100_000; i++ {
				put(m, spread(1<<20+g*1000+i%1000), i)
			}
		})
	}
	for i := range 2000 {
		e := put(m, spread(i), i)
		m.Delete(spread(i))
		if id(m, spread(i)) != -1 {
			t.Errorf("Get after Delete gives the node")
			break
		}
		_ = e
	}
	stop.Store(true)
	wg.Wait()
	for i := range 2000 {
		if id(m, spread(i)) != -1 {
			t.Errorf("a deleted node came back")
			break
		}
	}
}

func closeRace(t *kit.T, h MemoryHarness) {
	for range 30 {
		m := h.New(t.TB)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				defer func() {
					if p := recover(); p != nil {
						t.Errorf("panic: %v", p)
					}
				}()
				for i := range 200 {
					put(m, spread(i), i)
					m.Get(spread(i + g))
					m.Delete(spread(i - 1))
				}
			})
		}
		wg.Go(func() { _ = m.Close() })
		wg.Go(func() { _ = m.Close() })
		wg.Wait()
	}
}
