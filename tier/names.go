package tier

import (
	"hash/maphash"
	"runtime"
	"sync"
	"weak"
)

// names finds the entries in memory of keys that cannot be told from their
// strings. It keeps no entry alive.
type names[K comparable, V any] struct {
	name func(K) string
	seed maphash.Seed
	part [16]struct {
		mu    sync.Mutex
		nodes map[uint64]weak.Pointer[node[K, V]]
		_     [40]byte // a cache line each
	}
}

func newNames[K comparable, V any](name func(K) string) *names[K, V] {
	return &names[K, V]{name: name, seed: maphash.MakeSeed()}
}

// add notes that n is the entry of key.
func (x *names[K, V]) add(key K, n *node[K, V]) {
	h := maphash.String(x.seed, x.name(key))
	p := &x.part[h%uint64(len(x.part))]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nodes == nil {
		p.nodes = make(map[uint64]weak.Pointer[node[K, V]])
	}
	p.nodes[h] = weak.Make(n)
	runtime.AddCleanup(n, x.drop, h)
}

// drop forgets an entry that is no more, if no other has taken its place.
func (x *names[K, V]) drop(h uint64) {
	p := &x.part[h%uint64(len(x.part))]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nodes[h].Value() == nil {
		delete(p.nodes, h)
	}
}

// key returns the key whose string is name, if its entry may be in memory.
func (x *names[K, V]) key(name string) (key K, ok bool) {
	h := maphash.String(x.seed, name)
	p := &x.part[h%uint64(len(x.part))]
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[h].Value()
	if n == nil {
		return key, false
	}
	return n.key, true
}
