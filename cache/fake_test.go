package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/tier"
)

// server is the reference store, which several caches use at once as several
// processes would, with switches for what can go wrong.
type server struct {
	store *memstore.Store

	mu    sync.Mutex
	calls map[string]int
	down  bool          // refuses
	hung  chan struct{} // if not nil, calls hang until it is closed or their context ends
	deaf  bool          // they ignore their context, as a client that dials does
	fault func(op string) error
	lose  func(op string) bool // it is done, and its reply is lost
}

func newServer() *server { return &server{store: memstore.NewStore(), calls: map[string]int{}} }

// tier is a Remote tier on the server; each cache gets its own.
func (s *server) tier(opts *tier.RemoteOptions) tier.Tier { return tier.Remote(s, opts) }

// set changes the switches.
func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// did returns how often an operation was asked for.
func (s *server) did(op string) (n int) {
	s.set(func() { n = s.calls[op] })
	return n
}

var probes atomic.Int32

// free reports whether key's lease can be had, and leaves it so.
func (s *server) free(t *testing.T, key string) bool {
	t.Helper()
	token := fmt.Sprintf("%032x", probes.Add(1))
	r, err := s.store.Lease(t.Context(), key, backend.LeaseRequest{Token: token, TTL: time.Second, Rejected: []byte{}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Won {
		_, _ = s.store.Release(t.Context(), key, token, backend.Failure{})
	}
	return r.Won
}

// empty reports whether key has no value.
func (s *server) empty(t *testing.T, key string) bool {
	t.Helper()
	_, err := s.store.Get(t.Context(), key)
	return errors.Is(err, backend.ErrMiss)
}

// do runs an operation, or lets it fail.
func (s *server) do(ctx context.Context, op string, fn func() error) error {
	s.mu.Lock()
	s.calls[op]++
	hung, down, deaf, fault, lose := s.hung, s.down, s.deaf, s.fault, s.lose
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
	err := fn()
	if lose != nil && lose(op) {
		return errors.Join(backend.ErrUnavailable, errors.New("connection reset"))
	}
	return err
}

func (s *server) Get(ctx context.Context, key string) (v []byte, err error) {
	err = s.do(ctx, "get", func() (err error) { v, err = s.store.Get(ctx, key); return err })
	return v, err
}

func (s *server) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return s.do(ctx, "set", func() error { return s.store.Set(ctx, key, value, ttl) })
}

func (s *server) Delete(ctx context.Context, keys ...string) error {
	return s.do(ctx, "delete", func() error { return s.store.Delete(ctx, keys...) })
}

func (s *server) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (ok bool, err error) {
	err = s.do(ctx, "swap", func() (err error) { ok, err = s.store.Swap(ctx, key, old, value, ttl); return err })
	return ok, err
}

func (s *server) Lease(ctx context.Context, key string, req backend.LeaseRequest) (r backend.LeaseReply, err error) {
	err = s.do(ctx, "lease", func() (err error) { r, err = s.store.Lease(ctx, key, req); return err })
	return r, err
}

func (s *server) Commit(ctx context.Context, key, token string, value []byte, ttl time.Duration) (ok bool, err error) {
	err = s.do(ctx, "commit", func() (err error) { ok, err = s.store.Commit(ctx, key, token, value, ttl); return err })
	return ok, err
}

func (s *server) Renew(ctx context.Context, key, token string, ttl time.Duration) (ok bool, err error) {
	err = s.do(ctx, "renew", func() (err error) { ok, err = s.store.Renew(ctx, key, token, ttl); return err })
	return ok, err
}

func (s *server) Release(ctx context.Context, key, token string, f backend.Failure) (ok bool, err error) {
	err = s.do(ctx, "release", func() (err error) { ok, err = s.store.Release(ctx, key, token, f); return err })
	return ok, err
}

func (s *server) LeaseMulti(ctx context.Context, asks []backend.LeaseAsk) (a []backend.LeaseAnswer) {
	err := s.do(ctx, "leasemulti", func() error { a = s.store.LeaseMulti(ctx, asks); return nil })
	if err != nil {
		a = make([]backend.LeaseAnswer, len(asks))
		for i := range a {
			a[i].Err = err
		}
	}
	return a
}

func (s *server) CommitMulti(ctx context.Context, asks []backend.CommitAsk) (a []backend.CommitAnswer) {
	err := s.do(ctx, "commitmulti", func() error { a = s.store.CommitMulti(ctx, asks); return nil })
	if err != nil {
		a = make([]backend.CommitAnswer, len(asks))
		for i := range a {
			a[i].Err = err
		}
	}
	return a
}

func (s *server) Watch(key string, wake func(backend.Notice)) (stop func()) {
	return s.store.Watch(key, wake)
}

func (s *server) WakeMode() backend.WakeMode { return s.store.WakeMode() }

// Now takes no part in faults: it is an estimate.
func (s *server) Now(ctx context.Context) (int64, error) { return s.store.Now(ctx) }

func (s *server) Close() error { return nil }

// dumb is a server without any ability beyond a Store's.
type dumb struct{ s *server }

func (d dumb) Get(ctx context.Context, key string) ([]byte, error) { return d.s.Get(ctx, key) }
func (d dumb) Set(ctx context.Context, key string, v []byte, ttl time.Duration) error {
	return d.s.Set(ctx, key, v, ttl)
}
func (d dumb) Delete(ctx context.Context, keys ...string) error { return d.s.Delete(ctx, keys...) }
func (d dumb) Close() error                                     { return nil }

// mute is a server that leases and does not wake.
type mute struct {
	dumb
	backend.Leaser
}

func (s *server) mute() mute { return mute{dumb{s}, s} }
