package memstore

import (
	"container/list"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// Memory is a backend.Memory that drops the least recently used. It locks on
// every call.
type Memory struct {
	mu       sync.Mutex
	capacity int64
	used     int64
	byHash   map[uint64]*list.Element
	order    *list.List // of *item; front: most recently used
	evicted  uint64
	closed   bool
}

type item struct {
	hash uint64
	node backend.Node
	cost int64
}

var (
	_ backend.Memory  = (*Memory)(nil)
	_ backend.Counted = (*Memory)(nil)
	_ backend.Ranger  = (*Memory)(nil)
)

// NewMemory returns an empty memory for entries of that total cost, at least 1.
func NewMemory(capacity int64) *Memory {
	return &Memory{capacity: max(capacity, 1), byHash: make(map[uint64]*list.Element), order: list.New()}
}

// Get implements backend.Memory.
func (m *Memory) Get(hash uint64) backend.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byHash[hash]
	if !ok {
		return nil
	}
	m.order.MoveToFront(e)
	return e.Value.(*item).node //nolint:forcetypeassert // only items are put in
}

// Set implements backend.Memory.
func (m *Memory) Set(hash uint64, n backend.Node, cost int64, _ time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.byHash[hash]; ok {
		m.remove(e, n)
	}
	if m.closed {
		return
	}
	it := &item{hash: hash, node: n, cost: max(cost, 1)}
	m.used += it.cost
	m.byHash[hash] = m.order.PushFront(it)
	for m.used > m.capacity {
		e := m.victim()
		if !e.Value.(*item).node.Expired() { //nolint:forcetypeassert // only items are put in
			m.evicted++
		}
		m.remove(e, nil)
	}
}

// victim is the least recently used, unless one that has expired is near.
func (m *Memory) victim() *list.Element {
	back := m.order.Back()
	e := back
	for range 8 {
		if e == nil {
			break
		}
		if e.Value.(*item).node.Expired() { //nolint:forcetypeassert // only items are put in
			return e
		}
		e = e.Prev()
	}
	return back
}

func (m *Memory) remove(e *list.Element, successor backend.Node) {
	it := m.order.Remove(e).(*item) //nolint:forcetypeassert // only items are put in
	delete(m.byHash, it.hash)
	m.used -= it.cost
	if it.node != successor {
		it.node.Kill()
	}
}

// Delete implements backend.Memory.
func (m *Memory) Delete(hash uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.byHash[hash]; ok {
		m.remove(e, nil)
	}
}

// Range implements backend.Ranger. It copies the list of what there is first.
func (m *Memory) Range(yield func(backend.Node) bool) {
	m.mu.Lock()
	nodes := make([]backend.Node, 0, m.order.Len())
	for e := m.order.Front(); e != nil; e = e.Next() {
		nodes = append(nodes, e.Value.(*item).node) //nolint:forcetypeassert // only items are put in
	}
	m.mu.Unlock()
	for _, n := range nodes {
		if !n.Dead() && !yield(n) {
			return
		}
	}
}

// Len implements backend.Counted.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.order.Len()
}

// Evicted implements backend.Counted.
func (m *Memory) Evicted() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.evicted
}

// Close implements backend.Memory.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for m.order.Len() > 0 {
		m.remove(m.order.Front(), nil)
	}
	return nil
}
