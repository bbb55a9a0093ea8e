// Package valkeystore keeps entries in Valkey (or Redis 7), and with them the
// leases that decide who loads: it implements backend.Store, backend.Leaser,
// backend.MultiLeaser, backend.Notifier, backend.Swapper and backend.Clock.
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
//	<namespace>:l:{<hash>}:<key>   the lease of its load, or the cool-down after a failed one:
//	                               token|fence|since|usual|process|failures|owner|trace, !|failures|text
//	<namespace>:f:{<hash>}:<key>   the last fence and the failures in a row, for an hour
//
// so `valkey-cli --scan --pattern 'users:v:*'` lists what a cache holds. A key
// of more than 1 KiB appears as its SHA-256.
//
// # Wake-ups
//
// Those who wait for a lease are told when it ends, on a channel of their
// process, <namespace>:p:<id>. The store subscribes on one connection of its
// own (to each primary of a cluster), in the background from its first lease
// on, or at once by [Store.Listen]. Until then, whenever that connection is
// away, and for good with Options.NoPush, those who wait look again and again.
// WakeMode says how things stand:
//
//	push+liveness   told when a lease ends, and within 0.2 s when its holder's process is gone
//	push            told when a lease ends; a dead holder's lease ends with its time (no PUBSUB NUMSUB)
//	poll            not told: not subscribed, or no rights to publish or subscribe, or a proxy between
//
// # Access rights
//
// An ACL of `~<namespace>:* +get +set +del +append +pttl +pexpire +time +eval
// +evalsha` suffices for polling. For push add `&<namespace>:p:* +subscribe
// +unsubscribe +publish`, for liveness `+pubsub`. In a cluster `+role` spares
// connections to replicas.
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
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/valkeyconn"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
	"github.com/bellwethercache/bellwether/internal/valkeypush"
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

	// PushValue is the largest entry, in bytes, that is sent along when those
	// who wait for it are woken, which spares them the read and halves their
	// delay. Each waiting process gets a copy, so there is a limit: negative,
	// none. Defaults to 4 KiB.
	PushValue int

	// NoPush does without a subscription: whoever waits for a lease looks
	// again and again, and nobody notices that a holder has died.
	NoPush bool
}

// ErrTooLarge says that an entry exceeds Options.MaxValue. It was not stored.
var ErrTooLarge = errors.New("valkeystore: entry exceeds Options.MaxValue")

// Store is a [backend.Store] on a Valkey server. It is safe for concurrent use.
type Store struct {
	conn   *valkeyconn.Conn
	layout valkeylease.Layout
	hub    *valkeypush.Hub
	max    int
	push   int
	closed atomic.Bool
	time   serverTime
	reads  reads
}

var (
	_ backend.Store   = (*Store)(nil)
	_ backend.Swapper = (*Store)(nil)
	_ backend.Clock   = (*Store)(nil)
)

// Open returns a store on the server that rawURL names:
//
//	valkey://user:password@host:6379/0    rediss://... or valkeys://... with TLS
//	unix:///path/to/socket
//
// It connects, and subscribes, in the background: a server that is down now is
// used once it is up. The error is about the URL or the options, and never
// quotes a password.
func Open(rawURL string, opts *Options) (*Store, error) {
	s, err := newStore(opts)
	if err != nil {
		return nil, err
	}
	if s.conn, err = valkeyconn.Open(rawURL); err != nil {
		return nil, fmt.Errorf("valkeystore: %w", err)
	}
	s.hub.StartWith(s.conn.Client)
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
	s.hub.Start(client)
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
	return &Store{
		layout: layout, hub: valkeypush.New(layout, o.NoPush),
		max: o.MaxValue, push: cmp.Or(o.PushValue, 4<<10),
	}, nil
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
	return valkeylease.Set(ctx, c, s.layout.Keys(key), value, ttl, s.push)
}

// Delete implements backend.Store. It ends each key's lease in the same step
// as the key.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	c, err := s.client(ctx)
	if err != nil || len(keys) == 0 {
		return err
	}
	all := make([]valkeylease.Keys, len(keys))
	for i, key := range keys {
		all[i] = s.layout.Keys(key)
	}
	return errors.Join(valkeylease.DeleteMany(ctx, c, all)...)
}

// Swap implements backend.Swapper.
func (s *Store) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	c, err := s.writable(ctx, value)
	if err != nil {
		return false, err
	}
	return valkeylease.Swap(ctx, c, s.layout.Keys(key), old, value, ttl)
}

// Close implements backend.Store. A client that was handed to New stays open.
func (s *Store) Close() error {
	if !s.closed.Swap(true) {
		var wg sync.WaitGroup
		wg.Go(s.hub.Close) // beside, because a server that hangs keeps each of them for a second
		s.conn.Close()     // fails what is under way
		s.reads.wait()
		wg.Wait()
	}
	return nil
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
