package memstore

import (
	"context"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

var (
	_ backend.Invalidator = (*Store)(nil)
	_ backend.Tagger      = (*Store)(nil)
)

// hearer is who is told of what peers change.
type hearer struct {
	store *Store
	what  backend.Interest
	on    func(backend.Invalidation)

	mu   sync.Mutex // held while on runs
	gone bool
}

func (h *hearer) tell(inv backend.Invalidation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.gone {
		h.on(inv)
	}
}

// changed returns who is to be told that a key holds data now, or nothing. The
// mutex is held.
func (s *Store) changed(key string, data []byte) (w wakes) {
	inv := backend.Invalidation{Kind: backend.KeyChanged, Key: key}
	if data != nil {
		inv.Head = append([]byte{}, data[:min(len(data), backend.HeadLen)]...)
	}
	for h := range s.hearers {
		if h.what.Keys && h.store != s {
			w = append(w, waking{hearer: h, change: inv})
		}
	}
	return w
}

// Invalidations implements backend.Invalidator.
func (s *Store) Invalidations(what backend.Interest, on func(backend.Invalidation)) (stop func()) {
	h := &hearer{store: s, what: what, on: on}
	s.mu.Lock()
	s.hearers[h] = struct{}{}
	all := s.tags[""]
	h.mu.Lock() // what is changed from now on is told after Heard
	s.mu.Unlock()
	on(backend.Invalidation{Kind: backend.Heard, Stamp: all})
	h.mu.Unlock()
	return func() {
		s.mu.Lock()
		delete(s.hearers, h)
		s.mu.Unlock()
		h.mu.Lock()
		h.gone = true
		h.mu.Unlock()
	}
}

// CoherenceMode implements backend.Invalidator.
func (s *Store) CoherenceMode() backend.CoherenceMode { return backend.CoherencePublish }

// StampTags implements backend.Tagger.
func (s *Store) StampTags(ctx context.Context, expire bool, tags ...string) (stamp uint64, err error) {
	var wakes wakes
	defer func() { wakes.do() }() // without the mutex: what is told may use the store of another
	err = s.do(ctx, func(now time.Time) {
		stamp = s.next(now)
		for _, tag := range tags {
			x := s.tags[tag]
			inv := backend.Invalidation{Kind: backend.TagStamped, Tag: tag}
			if expire {
				x.Expired, inv.Stamp.Expired = stamp, stamp
			} else {
				x.Removed, inv.Stamp.Removed = stamp, stamp
			}
			s.tags[tag] = x
			for h := range s.hearers {
				if h.what.Tags && h.store != s {
					wakes = append(wakes, waking{hearer: h, change: inv})
				}
			}
		}
	})
	return stamp, err
}

// TagStamps implements backend.Tagger.
func (s *Store) TagStamps(ctx context.Context, tags ...string) (stamps []backend.TagStamp, err error) {
	err = s.do(ctx, func(time.Time) {
		for _, tag := range tags {
			stamps = append(stamps, s.tags[tag])
		}
	})
	return stamps, err
}

// AsOf implements backend.Tagger.
func (s *Store) AsOf(ctx context.Context) (stamp uint64, err error) {
	err = s.do(ctx, func(now time.Time) { stamp = s.next(now) })
	return stamp, err
}
