// Package valkeystore keeps entries in Valkey (or Redis 7), and with them the
// leases that decide who loads: it implements backend.Store, backend.Leaser
// and backend.Clock.
//
//	store, err := valkeystore.Open("valkey://localhost:6379", nil)
//	users, err := cache.New(loadUser, nil, tier.Remote(store, nil))
//
// # Keys
//
// All keys of one store begin with its namespace, and the keys of one entry
// share a cluster slot:
//
//	<namespace>:v:{<hash>}:<key>   the entry
//	<namespace>:l:{<hash>}:<key>   the lease of its load: token|fence|since|owner|trace
//	<namespace>:f:{<hash>}:<key>   the last fence, for an hour
//
// so `valkey-cli --scan --pattern 'users:v:*'` lists what a cache holds. A key
// of more than 1 KiB appears as its SHA-256.
//
// # Access rights
//
// An ACL of `~<namespace>:* +get +set +del +pttl +pexpire +time +eval +evalsha`
// suffices.
//
// # The server
//
// A server that evicts may evict a lease, and then two processes load; nothing
// becomes wrong. Give leases room: a maxmemory-policy of allkeys-lru or
// volatile-ttl with memory to spare, and cluster-require-full-coverage no.
package valkeystore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/internal/valkeyconn"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

// Options configure a [Store]. The zero value, and nil, mean the defaults.
type Options struct {
	// Namespace begins every key. Caches of different types must not share
	// one. 1 to 128 bytes, without ":", "{", "}", "*" or white space.
	// Defaults to "bellwether".
	Namespace string

	// MaxValue is the largest entry, in bytes, that is written or accepted:
	// of a larger one only so much is returned, which is no sound entry.
	// Beyond the server's proto-max-bulk-len a write would break the
	// connection for all. Defaults to 1 MiB.
	MaxValue int
}

// ErrTooLarge says that an entry exceeds Options.MaxValue. It was not stored.
var ErrTooLarge = errors.New("valkeystore: entry exceeds Options.MaxValue")

// Store is a [backend.Store] on a Valkey server. It is safe for concurrent use.
type Store struct {
	conn   *valkeyconn.Conn
	layout valkeylease.Layout
	max    int
	closed atomic.Bool
	time   serverTime
	reads  reads
}

var (
	_ backend.Store  = (*Store)(nil)
	_ backend.Leaser = (*Store)(nil)
	_ backend.Clock  = (*Store)(nil)
)

// Open returns a store on the server that rawURL names:
//
//	valkey://user:password@host:6379/0    rediss://... or valkeys://... with TLS
//	unix:///path/to/socket
//
// It does no I/O: a server that is down now is used once it is up. The error
// is about the URL or the options, and never quotes a password.
func Open(rawURL string, opts *Options) (*Store, error) {
	s, err := newStore(opts)
	if err != nil {
		return nil, err
	}
	if s.conn, err = valkeyconn.Open(rawURL); err != nil {
		return nil, fmt.Errorf("valkeystore: %w", err)
	}
	return s, nil
}

// New returns a store on a client of the caller's, which it will not close:
// for clusters, sentinels, rotating credentials. Set AlwaysPipelining and
// DisableRetry on it, and short Dialer.Timeout, Dialer.KeepAlive and
// ConnWriteTimeout (1 s, 0.5 s, 1 s): with the client's defaults one caller's
// deadline closes the connection of all others. Pass it unwrapped.
func New(client valkey.Client, opts *Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("valkeystore: client: must not be nil")
	}
	s, err := newStore(opts)
	if err != nil {
		return nil, err
	}
	s.conn = valkeyconn.Borrow(client)
	return s, nil
}

func newStore(opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Namespace = cmp.Or(o.Namespace, "bellwether")
	o.MaxValue = cmp.Or(o.MaxValue, 1<<20)
	if o.MaxValue < 0 {
		return nil, fmt.Errorf("valkeystore: Options.MaxValue: must not be negative, is %d", o.MaxValue)
	}
	layout, err := valkeylease.NewLayout(o.Namespace)
	if err != nil {
		return nil, fmt.Errorf("valkeystore: Options.Namespace: %w", err)
	}
	return &Store{layout: layout, max: o.MaxValue}, nil
}

// Get implements backend.Store. It costs one GET; Gets of the same moment
// share their round trip.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	c, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	return s.get(ctx, c, key)
}

// Set implements backend.Store. It ends the key's lease in the same step.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	c, err := s.writable(ctx, value)
	if err != nil {
		return err
	}
	return valkeylease.Set(ctx, c, s.layout.Keys(key), value, ttl)
}

// Delete implements backend.Store. It ends the keys' leases in the same step.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	c, err := s.client(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, key := range keys {
		k := s.layout.Keys(key)
		r := c.Do(ctx, c.B().Del().Key(k.Value, k.Lease).Build())
		if valkeylease.Again(ctx, r) {
			r = c.Do(ctx, c.B().Del().Key(k.Value, k.Lease).Build())
		}
		errs = append(errs, valkeylease.Wrap(r.Error()))
	}
	return errors.Join(errs...)
}

// Close implements backend.Store. A client that was handed to New stays open.
func (s *Store) Close() error {
	if !s.closed.Swap(true) {
		s.conn.Close() // fails what is under way
		s.reads.wait()
	}
	return nil
}

// Lease implements backend.Leaser.
func (s *Store) Lease(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	c, err := s.client(ctx)
	if err != nil {
		return backend.LeaseReply{}, err
	}
	began := clock.Now()
	r, err := valkeylease.Acquire(ctx, c, s.layout.Keys(key), req, true)
	if err != nil {
		return backend.LeaseReply{}, err
	}
	s.time.set(began, clock.Now(), r.Now)
	r.Value = s.cut(r.Value)
	return r.LeaseReply, nil
}

// Commit implements backend.Leaser.
func (s *Store) Commit(ctx context.Context, key, token string, value []byte, ttl time.Duration) (bool, error) {
	c, err := s.writable(ctx, value)
	if err != nil {
		return false, err
	}
	return valkeylease.Commit(ctx, c, s.layout.Keys(key), token, value, ttl)
}

// Renew implements backend.Leaser.
func (s *Store) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	c, err := s.client(ctx)
	if err != nil {
		return false, err
	}
	return valkeylease.Renew(ctx, c, s.layout.Keys(key), token, ttl)
}

// Release implements backend.Leaser.
func (s *Store) Release(ctx context.Context, key, token string) (bool, error) {
	c, err := s.client(ctx)
	if err != nil {
		return false, err
	}
	return valkeylease.Release(ctx, c, s.layout.Keys(key), token)
}

func (s *Store) writable(ctx context.Context, value []byte) (valkey.Client, error) {
	if len(value) > s.max {
		return nil, ErrTooLarge
	}
	return s.client(ctx)
}

func (s *Store) client(ctx context.Context) (valkey.Client, error) {
	if s.closed.Load() {
		return nil, backend.ErrClosed
	}
	return s.conn.Client(ctx)
}
