package ristrettostore

import "github.com/bellwethercache/bellwether/backend"

// Range implements backend.Ranger. It copies the list of what there is first:
// ristretto would hold a lock meanwhile.
//
// The overlay comes before ristretto, for the reason that look has: a write may
// be applied between the two. It is then met twice, hence the set.
func (s *Store) Range(yield func(backend.Node) bool) {
	for _, n := range s.list() {
		if !n.Dead() && !yield(n) {
			return
		}
	}
}

func (s *Store) list() (nodes []backend.Node) {
	pass, ok := s.gate.Enter()
	if !ok {
		return nil
	}
	defer s.gate.Leave(pass)
	var met map[backend.Node]bool
	if s.waiting.Load() > 0 {
		met = make(map[backend.Node]bool)
		for i := range s.stripes {
			s.stripes[i].list(met)
		}
		for n := range met {
			nodes = append(nodes, n)
		}
	}
	s.cache.IterValues(func(n backend.Node) (stop bool) {
		if !met[n] {
			nodes = append(nodes, n)
		}
		return false
	})
	return nodes
}

// list adds the nodes that a stripe has live.
func (st *stripe) list(met map[backend.Node]bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, writes := range []map[uint64]write{st.next, st.current} {
		for _, w := range writes {
			if w.node != nil && !w.node.Dead() {
				met[w.node] = true
			}
		}
	}
}
