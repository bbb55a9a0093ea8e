package memstore

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// Store is a backend.Store with all optional abilities, in memory. It never
// forgets before a ttl is over: expired entries are dropped when their key is
// next used.
type Store struct {
	*data
	closed bool // guarded by data.mu
}

// data is what a store and its peers share.
type data struct {
	mu      sync.Mutex
	open    int // stores that are not closed
	values  map[string]value
	leases  map[string]lease
	rows    map[string]row
	stamp   uint64 // the last fence or stamp of a tag, whatever key it was for
	tags    map[string]backend.TagStamp
	watches map[string]map[*watch]struct{}
	hearers map[*hearer]struct{}
}

type value struct {
	data  []byte
	until time.Time
}

var (
	_ backend.Store   = (*Store)(nil)
	_ backend.Swapper = (*Store)(nil)
	_ backend.Clock   = (*Store)(nil)
)

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{data: &data{
		open:   1,
		values: make(map[string]value), leases: make(map[string]lease), rows: make(map[string]row),
		tags:    make(map[string]backend.TagStamp),
		watches: make(map[string]map[*watch]struct{}), hearers: make(map[*hearer]struct{}),
	}}
}

// Peer returns another store on the same entries, as another process would have
// it: it is told of what s changes, and s of what it changes.
func (s *Store) Peer() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return &Store{data: s.data}
}

// next returns a stamp greater than all before it.
func (d *data) next(now time.Time) uint64 {
	d.stamp = max(d.stamp+1, uint64(max(now.UnixMicro(), 0)))
	return d.stamp
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
	var wakes wakes
	defer func() { wakes.do() }() // without the mutex: a wake may call its stop
	return s.do(ctx, func(now time.Time) {
		s.put(key, data, now.Add(ttl))
		wakes = append(s.revoke(key, small(data)), s.changed(key, data)...)
	})
}

// put stores a copy of data.
func (s *Store) put(key string, data []byte, until time.Time) {
	s.values[key] = value{append([]byte{}, data...), until}
}

// Delete implements backend.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	var wakes wakes
	defer func() { wakes.do() }() // without the mutex: a wake may call its stop
	return s.do(ctx, func(time.Time) {
		for _, key := range keys {
			delete(s.values, key)
			wakes = append(append(wakes, s.revoke(key, backend.Notice{})...), s.changed(key, nil)...)
		}
	})
}

// Swap implements backend.Swapper.
func (s *Store) Swap(ctx context.Context, key string, old, data []byte, ttl time.Duration) (ok bool, err error) {
	var wakes wakes
	defer func() { wakes.do() }() // without the mutex: a wake may call its stop
	err = s.do(ctx, func(now time.Time) {
		there, found := s.live(key, now)
		switch {
		case found && bytes.HasPrefix(there, old):
			s.put(key, data, now.Add(ttl))
			wakes, ok = append(s.revoke(key, backend.Notice{}), s.changed(key, data)...), true
		case found && bytes.Equal(there, data): // a repetition
			ok = true
		}
	})
	return ok, err
}

// Close implements backend.Store. The entries go with the last peer.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.open--; s.open == 0 {
		clear(s.values)
		clear(s.leases)
		clear(s.rows)
		clear(s.tags)
	}
	return nil
}

// Now implements backend.Clock.
func (s *Store) Now(ctx context.Context) (us int64, err error) {
	err = s.do(ctx, func(now time.Time) { us = now.UnixMicro() })
	return us, err
}
