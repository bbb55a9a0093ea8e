// Package memstore has the reference stores: small, obviously right, and what
// the conformance kit and other tests are measured with. They serve a program
// of one process as well; for speed take backend/ristrettostore.
package memstore

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// Store is a backend.Store, Leaser and Clock in memory. It never forgets before
// a ttl is over: expired entries are dropped when their key is next used.
type Store struct {
	mu     sync.Mutex
	closed bool
	values map[string]value
	leases map[string]lease
	fence  uint64 // of all keys: rising for each is all that is promised
}

type value struct {
	data  []byte
	until time.Time
}

type lease struct {
	backend.LeaseRequest
	fence        uint64
	since, until time.Time
}

var (
	_ backend.Store  = (*Store)(nil)
	_ backend.Leaser = (*Store)(nil)
	_ backend.Clock  = (*Store)(nil)
)

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{values: make(map[string]value), leases: make(map[string]lease)}
}

// do runs an operation under the mutex, unless ctx has ended or the store is
// closed.
func (s *Store) do(ctx context.Context, fn func(now time.Time)) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return backend.ErrClosed
	}
	fn(time.Now())
	return nil
}

// live returns key's value if it has one.
func (s *Store) live(key string, now time.Time) ([]byte, bool) {
	v, ok := s.values[key]
	if ok && !now.Before(v.until) {
		delete(s.values, key)
		ok = false
	}
	return v.data, ok
}

// held returns key's lease if there is one.
func (s *Store) held(key string, now time.Time) (lease, bool) {
	l, ok := s.leases[key]
	if ok && !now.Before(l.until) {
		delete(s.leases, key)
		ok = false
	}
	return l, ok
}

func (s *Store) owns(key, token string, now time.Time) bool {
	l, ok := s.held(key, now)
	return ok && l.Token == token
}

// Get implements backend.Store.
func (s *Store) Get(ctx context.Context, key string) (data []byte, err error) {
	found := false
	err = s.do(ctx, func(now time.Time) {
		data, found = s.live(key, now)
		data = append([]byte{}, data...)
	})
	if err == nil && !found {
		return nil, backend.ErrMiss
	}
	return data, err
}

// Set implements backend.Store.
func (s *Store) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	return s.do(ctx, func(now time.Time) {
		s.values[key] = value{bytes.Clone(data), now.Add(ttl)}
		delete(s.leases, key)
	})
}

// Delete implements backend.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	return s.do(ctx, func(time.Time) {
		for _, key := range keys {
			delete(s.values, key)
			delete(s.leases, key)
		}
	})
}

// Close implements backend.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	clear(s.values)
	clear(s.leases)
	return nil
}

// Now implements backend.Clock.
func (s *Store) Now(ctx context.Context) (us int64, err error) {
	err = s.do(ctx, func(now time.Time) { us = now.UnixMicro() })
	return us, err
}

// Lease implements backend.Leaser.
func (s *Store) Lease(ctx context.Context, key string, req backend.LeaseRequest) (r backend.LeaseReply, err error) {
	err = s.do(ctx, func(now time.Time) {
		data, ok := s.live(key, now)
		if ok && (req.Rejected == nil || !bytes.HasPrefix(data, req.Rejected)) {
			r.Value = append([]byte{}, data...)
			return
		}
		l, held := s.held(key, now)
		if held && l.Token != req.Token {
			r.Owner, r.Tag, r.Since, r.Remaining = l.Owner, l.Tag, now.Sub(l.since), l.until.Sub(now)
			return
		}
		if !held {
			s.fence++
			l = lease{LeaseRequest: req, fence: s.fence, since: now}
		}
		l.until = now.Add(req.TTL)
		s.leases[key] = l
		r.Won, r.Fence = true, l.fence
	})
	return r, err
}

// Commit implements backend.Leaser.
func (s *Store) Commit(ctx context.Context, key, token string, data []byte, ttl time.Duration) (ok bool, err error) {
	err = s.do(ctx, func(now time.Time) {
		if s.owns(key, token, now) {
			s.values[key] = value{bytes.Clone(data), now.Add(ttl)}
			delete(s.leases, key)
			ok = true
			return
		}
		there, found := s.live(key, now)
		ok = found && bytes.Equal(there, data) // a repetition
	})
	return ok, err
}

// Renew implements backend.Leaser.
func (s *Store) Renew(ctx context.Context, key, token string, ttl time.Duration) (ok bool, err error) {
	err = s.do(ctx, func(now time.Time) {
		if ok = s.owns(key, token, now); ok {
			l := s.leases[key]
			l.until = now.Add(ttl)
			s.leases[key] = l
		}
	})
	return ok, err
}

// Release implements backend.Leaser.
func (s *Store) Release(ctx context.Context, key, token string) (ok bool, err error) {
	err = s.do(ctx, func(now time.Time) {
		if ok = s.owns(key, token, now); ok {
			delete(s.leases, key)
		}
	})
	return ok, err
}
