package cache_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/tier"
)

// server is a shared store that several caches use at once, with switches for
// what can go wrong. It is a backend.Leaser, so that tests in virtual time can
// play several processes.
type server struct {
	mu     sync.Mutex
	values map[string]timed
	leases map[string]leased
	fence  uint64
	calls  map[string]int

	down  bool          // refuses
	hung  chan struct{} // if not nil, calls hang until it is closed or their context ends
	deaf  bool          // they ignore their context, as a client that dials does
	fault func(op string) error
}

type timed struct {
	data  []byte
	until time.Time
}

type leased struct {
	req   backend.LeaseRequest
	fence uint64
	since time.Time
	until time.Time
}

func newServer() *server {
	return &server{values: map[string]timed{}, leases: map[string]leased{}, calls: map[string]int{}}
}

// tier is a Remote tier on the server; each cache gets its own.
func (s *server) tier(opts *tier.RemoteOptions) tier.Tier { return tier.Remote(s, opts) }

// set changes the switches.
func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// do runs an operation under the mutex, or lets it fail.
func (s *server) do(ctx context.Context, op string, fn func()) error {
	s.mu.Lock()
	s.calls[op]++
	hung, down, deaf, fault := s.hung, s.down, s.deaf, s.fault
	s.mu.Unlock()
	if hung != nil && deaf {
		<-hung
	} else if hung != nil {
		select {
		case <-hung:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if down {
		return errors.Join(backend.ErrUnavailable, errors.New("connection refused"))
	}
	if fault != nil {
		if err := fault(op); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
	return nil
}

func (s *server) live(key string) ([]byte, bool) {
	v, ok := s.values[key]
	return v.data, ok && time.Now().Before(v.until)
}

func (s *server) holds(key, token string) bool {
	l, ok := s.leases[key]
	return ok && l.req.Token == token && time.Now().Before(l.until)
}

func (s *server) Get(ctx context.Context, key string) (v []byte, err error) {
	err = s.do(ctx, "get", func() {
		if data, ok := s.live(key); ok {
			v = bytes.Clone(data)
		}
	})
	if err == nil && v == nil {
		err = backend.ErrMiss
	}
	return v, err
}

func (s *server) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return s.do(ctx, "set", func() {
		s.values[key] = timed{bytes.Clone(value), time.Now().Add(ttl)}
		delete(s.leases, key)
	})
}

func (s *server) Delete(ctx context.Context, keys ...string) error {
	return s.do(ctx, "delete", func() {
		for _, key := range keys {
			delete(s.values, key)
			delete(s.leases, key)
		}
	})
}

func (s *server) Lease(ctx context.Context, key string, req backend.LeaseRequest) (r backend.LeaseReply, err error) {
	err = s.do(ctx, "lease", func() {
		if data, ok := s.live(key); ok && (req.Rejected == nil || !bytes.HasPrefix(data, req.Rejected)) {
			r.Value = bytes.Clone(data)
			return
		}
		now := time.Now()
		if l, ok := s.leases[key]; ok && now.Before(l.until) && l.req.Token != req.Token {
			r.Owner, r.Tag, r.Since, r.Remaining = l.req.Owner, l.req.Tag, now.Sub(l.since), l.until.Sub(now)
			return
		}
		s.fence++
		s.leases[key] = leased{req, s.fence, now, now.Add(req.TTL)}
		r.Won, r.Fence = true, s.fence
	})
	return r, err
}

func (s *server) Commit(ctx context.Context, key, token string, value []byte, ttl time.Duration) (ok bool, err error) {
	err = s.do(ctx, "commit", func() {
		if ok = s.holds(key, token); ok {
			s.values[key] = timed{bytes.Clone(value), time.Now().Add(ttl)}
			delete(s.leases, key)
		}
	})
	return ok, err
}

func (s *server) Renew(ctx context.Context, key, token string, ttl time.Duration) (ok bool, err error) {
	err = s.do(ctx, "renew", func() {
		if ok = s.holds(key, token); ok {
			l := s.leases[key]
			l.until = time.Now().Add(ttl)
			s.leases[key] = l
		}
	})
	return ok, err
}

func (s *server) Release(ctx context.Context, key, token string) (ok bool, err error) {
	err = s.do(ctx, "release", func() {
		if ok = s.holds(key, token); ok {
			delete(s.leases, key)
		}
	})
	return ok, err
}

func (s *server) Close() error { return nil }

// dumb is a server without leases.
type dumb struct{ s *server }

func (d dumb) Get(ctx context.Context, key string) ([]byte, error) { return d.s.Get(ctx, key) }
func (d dumb) Set(ctx context.Context, key string, v []byte, ttl time.Duration) error {
	return d.s.Set(ctx, key, v, ttl)
}
func (d dumb) Delete(ctx context.Context, keys ...string) error { return d.s.Delete(ctx, keys...) }
func (d dumb) Close() error                                     { return nil }
