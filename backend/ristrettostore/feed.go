package ristrettostore

import (
	"time"

	"github.com/bellwethercache/bellwether/internal/clock"
)

// feed is the only one that writes to ristretto, until Close.
func (s *Store) feed() {
	defer close(s.done)
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-s.stop:
			s.drop()
			return
		case <-s.wake:
			s.apply()
		case <-sweep.C:
			s.sweep()
		}
	}
}

// apply moves the overlay into ristretto. Between two batches it waits until
// ristretto shows the first, so that no key is written twice while its first
// write is still on the way: ristretto would keep the older one.
func (s *Store) apply() {
	var applied int64
	for i := range s.stripes {
		st := &s.stripes[i]
		st.mu.Lock()
		st.current, st.next = st.next, nil
		batch := st.current // no one else writes to it
		st.mu.Unlock()
		for hash, w := range batch {
			s.put(hash, w)
		}
		applied += int64(len(batch))
	}
	s.cache.Wait()
	for i := range s.stripes {
		st := &s.stripes[i]
		st.mu.Lock()
		st.current = nil
		st.mu.Unlock()
	}
	s.waiting.Add(-applied)
}

func (s *Store) put(hash uint64, w write) {
	if w.node == nil {
		s.cache.Del(hash)
		return
	}
	if w.node.Dead() {
		// Replaced already; but its predecessor, dead too, may hold the place.
		s.cache.Del(hash)
		return
	}
	// No TTL: with one, ristretto reads the clock at every Get.
	if !s.cache.Set(hash, w.node, w.cost) {
		s.cache.Wait() // its buffer was full
		if !s.cache.Set(hash, w.node, w.cost) {
			s.went(w.node)
		}
	}
	s.expiry.add(hash, w.until)
}

// drop empties the overlay for good.
func (s *Store) drop() {
	for i := range s.stripes {
		st := &s.stripes[i]
		st.mu.Lock()
		for _, w := range st.next {
			kill(w.node, nil)
		}
		s.waiting.Add(-int64(len(st.next)))
		st.next = nil
		st.mu.Unlock()
	}
}

const sweepEvery = 5 * time.Second

// expiry remembers which hashes to look at when, so that the room of expired
// entries is given back even if nobody asks for them again.
type expiry struct {
	buckets map[int64][]uint64 // by end of the period in which they expire
	size    int64
	limit   int64 // beyond it new ones are left to eviction
}

func newExpiry(limit int64) expiry {
	return expiry{buckets: make(map[int64][]uint64), limit: limit}
}

func (e *expiry) add(hash uint64, until int64) {
	if e.size >= e.limit {
		return
	}
	bucket := until/int64(sweepEvery) + 1
	e.buckets[bucket] = append(e.buckets[bucket], hash)
	e.size++
}

func (s *Store) sweep() {
	now := clock.Now() / int64(sweepEvery)
	for bucket, hashes := range s.expiry.buckets {
		if bucket > now {
			continue
		}
		for _, hash := range hashes {
			if n, ok := s.cache.Get(hash); ok && (n.Dead() || n.Expired()) {
				s.cache.Del(hash)
			}
		}
		s.expiry.size -= int64(len(hashes))
		delete(s.expiry.buckets, bucket)
	}
}
