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

	// Coherence is how changes by other processes are learned of, for the sake of
	// tiers nearer than this one: see the package's page for what each costs.
	// CoherenceKeys wants a client that Open makes. Processes of different modes
	// may share a namespace. Defaults to backend.CoherencePublish.
	Coherence backend.CoherenceMode
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

	tracked bool // the server is to remember what has been read; whether it does, conn knows

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
//	valkey://user:password@host:6379/0
//	unix:///path/to/socket
//	valkey+cluster://user:password@host:6379,host:6379
//	valkey+sentinel://user:password@host:26379,host:26379/mymaster/0
//
// and the same with valkeys (TLS), redis or rediss (TLS) in place of valkey. It
// connects, and subscribes, in the background: a server that is down now is
// used once it is up. The error is about the URL or the options, and never
// quotes a password.
func Open(rawURL string, opts *Options) (*Store, error) {
	s, err := newStore(opts)
	if err != nil {
		return nil, err
	}
	var track *valkeyconn.Tracking
	if s.tracked {
		track = &valkeyconn.Tracking{Invalidated: s.hub.Invalidated, Untracked: s.hub.Untracked}
	}
	if s.conn, err = valkeyconn.Open(rawURL, track); err != nil {
		return nil, fmt.Errorf("valkeystore: %w", err)
	}
	s.hub.StartWith(s.conn.Await)
	return s, nil
}

// New returns a store on a client of the caller's, which it will not close:
// for rotating credentials, say, or Sentinels that want a password. Set AlwaysPipelining and
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
	if s.tracked {
		return nil, fmt.Errorf("valkeystore: Options.Coherence: %q needs connections that were made for it; use Open, or %q",
			backend.CoherenceKeys, backend.CoherencePrefix)
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
	s := &Store{layout: layout, max: o.MaxValue, push: cmp.Or(o.PushValue, 4<<10)}
	cfg := valkeypush.Config{Off: o.NoPush, Coherence: cmp.Or(o.Coherence, backend.CoherencePublish)}
	switch cfg.Coherence {
	case backend.CoherencePublish, backend.CoherencePrefix, backend.CoherenceOff:
	case backend.CoherenceKeys:
		cfg.Tracked, cfg.Untrack = func() bool { return s.conn.Tracked() }, func() { s.conn.Untrack() }
		if s.tracked = !o.NoPush; s.tracked {
			s.layout = layout.Tracked()
		}
	default:
		return nil, fmt.Errorf("valkeystore: Options.Coherence: is %q; want one of %q, %q, %q and %q", o.Coherence,
			backend.CoherencePublish, backend.CoherencePrefix, backend.CoherenceKeys, backend.CoherenceOff)
	}
	s.hub = valkeypush.New(layout, cfg)
	return s, nil
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
	return valkeylease.Set(ctx, c, s.layout.Keys(key), value, ttl, s.push, s.hub.Process())
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
	return errors.Join(valkeylease.DeleteMany(ctx, c, all, s.hub.Process())...)
}

// Swap implements backend.Swapper.
func (s *Store) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	c, err := s.writable(ctx, value)
	if err != nil {
		return false, err
	}
	return valkeylease.Swap(ctx, c, s.layout.Keys(key), old, value, ttl, s.hub.Process())
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
