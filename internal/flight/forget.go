package flight

// Forget makes the flight of key, if there is one, unjoinable and its value
// not to be kept, and calls drop in the same step. Its callers still get their
// answer.
func (g *Group[V]) Forget(key string, drop func()) {
	g.Supersede(key, 0, drop)
}

// Supersede is Forget when somebody else has put the value named id in place: a
// flight that brings this very value may keep it. 0 names none.
func (g *Group[V]) Supersede(key string, id uint64, drop func()) {
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.parted {
		if c.key == key {
			c.supersede(id)
		}
	}
	if c := s.calls[key]; c != nil {
		c.supersede(id)
		s.part(c)
	}
	if drop != nil {
		drop()
	}
}

// supersede notes that only the value named id may be kept. Of two such values it
// cannot be told which came last: news may come in another order than it was made
// in. The mutex is held.
func (c *Call[V]) supersede(id uint64) {
	if c.forgotten && c.only != id {
		id = 0
	}
	c.forgotten, c.only = true, id
}

// Under reports whether a flight of key is under way that may keep a value.
func (g *Group[V]) Under(key string) bool {
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[key] != nil {
		return true
	}
	for c := range s.parted {
		if c.key == key {
			return true
		}
	}
	return false
}

// Part makes all flights unjoinable. They may keep their values.
func (g *Group[V]) Part() {
	for i := range g.shards {
		s := &g.shards[i]
		s.mu.Lock()
		for _, c := range s.calls {
			s.part(c)
		}
		s.mu.Unlock()
	}
}

// part takes c out of the map. The mutex is held.
func (s *shard[V]) part(c *Call[V]) {
	s.remove(c)
	if s.parted == nil {
		s.parted = make(map[*Call[V]]struct{})
	}
	s.parted[c] = struct{}{}
}
