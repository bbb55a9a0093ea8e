package memcachedstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// Options configure a [Store]. The zero value, and nil, mean the defaults.
type Options struct {
	// Namespace begins every key. Caches of different types must not share
	// one. 1 to 128 visible ASCII characters without ":". Defaults to
	// "bellwether".
	Namespace string

	// MaxValue is the largest entry, in bytes, that is written or accepted; a
	// larger one is a miss. A server that was started with -I takes more than
	// the default. Defaults to 1 MiB less 4 KiB, the room that the item needs.
	MaxValue int

	// Timeout bounds each operation, its context permitting. Defaults to 1 s.
	Timeout time.Duration

	// MaxConns is the number of connections to each server, and so of
	// operations under way; further ones wait. Defaults to 32.
	MaxConns int

	// Dial connects to a server: for TLS, say. Network is "tcp", or "unix" for
	// an address that begins with "/". Defaults to that of net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

var (
	// ErrTooLarge says that an entry exceeds Options.MaxValue, or what the
	// server takes. It was not stored.
	ErrTooLarge = errors.New("memcachedstore: entry is too large")

	// ErrNoCAS says that the server was started without compare-and-swap
	// (-C). The item was left as it is: without it, no change is safe.
	ErrNoCAS = errors.New("memcachedstore: the server has no compare-and-swap (it was started with -C)")
)

const (
	maxItem   = 1 << 20 // memcached's default
	itemRoom  = 4 << 10 // for its own header and key, and for ours
	maxServer = 1024
)

// Store is a [backend.Store] on memcached servers. It is safe for concurrent
// use.
type Store struct {
	namespace string
	max       int
	timeout   time.Duration
	servers   []*server
	closed    atomic.Bool
}

var (
	_ backend.Store   = (*Store)(nil)
	_ backend.Swapper = (*Store)(nil)
)

// Open returns a store on the servers, each host:port or the path of a unix
// socket. It does not connect yet: a server that is down now is used once it is
// up. The error is about the arguments.
func Open(servers []string, opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Namespace = cmp.Or(o.Namespace, "bellwether")
	o.MaxValue = cmp.Or(o.MaxValue, maxItem-itemRoom)
	o.Timeout = cmp.Or(o.Timeout, time.Second)
	o.MaxConns = cmp.Or(o.MaxConns, 32)
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	if len(servers) == 0 || len(servers) > maxServer {
		return nil, fmt.Errorf("memcachedstore: servers: must be 1 to %d, are %d", maxServer, len(servers))
	}
	s := &Store{namespace: o.Namespace, max: o.MaxValue, timeout: o.Timeout}
	for i, addr := range servers {
		network := "tcp"
		if strings.HasPrefix(addr, "/") {
			network = "unix"
		} else if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("memcachedstore: servers[%d]: must be host:port or the path of a socket", i)
		}
		s.servers = append(s.servers, newServer(network, addr, o))
	}
	return s, nil
}

func (o Options) validate() error {
	outside := func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }
	switch {
	case len(o.Namespace) > 128 || strings.ContainsFunc(o.Namespace, outside):
		return errors.New(`memcachedstore: Options.Namespace: must be 1 to 128 visible ASCII characters without ":"`)
	case o.MaxValue < 0 || o.MaxValue > 1<<30:
		return fmt.Errorf("memcachedstore: Options.MaxValue: must be 0 to 1 GiB, is %d", o.MaxValue)
	case o.Timeout < 0:
		return fmt.Errorf("memcachedstore: Options.Timeout: must not be negative, is %v", o.Timeout)
	case o.MaxConns < 0 || o.MaxConns > 1<<16:
		return fmt.Errorf("memcachedstore: Options.MaxConns: must be 0 to 65536, is %d", o.MaxConns)
	}
	return nil
}

// Get implements backend.Store.
func (s *Store) Get(ctx context.Context, key string) (value []byte, err error) {
	err = s.update(ctx, key, func(it *item, now int64) bool {
		value = nil
		if it.fresh(now) {
			value = it.value
		}
		return false
	})
	if err == nil && value == nil {
		err = backend.ErrMiss
	}
	return value, err
}

// Set implements backend.Store. It ends the key's lease in the same step.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if len(value) > s.max {
		return ErrTooLarge
	}
	return s.update(ctx, key, func(it *item, now int64) bool {
		it.put(value, now, ttl)
		return true
	})
}

// Delete implements backend.Store. It ends each key's lease in the same step
// as the key.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	changes := make([]*change, len(keys))
	for i, key := range keys {
		changes[i] = s.change(key, func(it *item, now int64) bool {
			if !it.fresh(now) && !it.held(now) && !it.cooling(now) {
				return false
			}
			*it = item{fence: it.fence, failures: it.failures}
			return true
		})
	}
	return s.apply(ctx, changes)
}

// Swap implements backend.Swapper.
func (s *Store) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (ok bool, err error) {
	if len(value) > s.max {
		return false, ErrTooLarge
	}
	err = s.update(ctx, key, func(it *item, now int64) bool {
		there := it.fresh(now)
		if ok = there && bytes.HasPrefix(it.value, old); ok {
			it.put(value, now, ttl)
			return true
		}
		ok = there && bytes.Equal(it.value, value) // a repetition
		return false
	})
	return ok && err == nil, err
}

// Close implements backend.Store. Operations under way fail.
func (s *Store) Close() error {
	if !s.closed.Swap(true) {
		for _, srv := range s.servers {
			srv.close()
		}
	}
	return nil
}

// update applies one change to the item of key.
func (s *Store) update(ctx context.Context, key string, decide func(it *item, now int64) bool) error {
	return s.apply(ctx, []*change{s.change(key, decide)})
}

// apply applies the changes, each an atomic step of its own, and returns what
// has failed.
func (s *Store) apply(ctx context.Context, changes []*change) error {
	s.applyEach(ctx, changes)
	var errs []error
	for _, c := range changes {
		errs = append(errs, c.err)
	}
	return join(errs)
}

// applyEach leaves the outcome with each change.
func (s *Store) applyEach(ctx context.Context, changes []*change) {
	err := context.Cause(ctx)
	if s.closed.Load() {
		err = backend.ErrClosed
	}
	if err != nil {
		fail(changes, err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if len(s.servers) == 1 {
		s.servers[0].apply(ctx, changes)
		return
	}
	groups := make(map[*server][]*change)
	for _, c := range changes {
		srv := s.serverOf(c.key)
		groups[srv] = append(groups[srv], c)
	}
	var wg sync.WaitGroup
	for srv, group := range groups {
		if len(groups) == 1 {
			srv.apply(ctx, group)
		} else {
			wg.Go(func() { srv.apply(ctx, group) }) // ends with ctx
		}
	}
	wg.Wait()
}

// join is errors.Join that says the same thing once.
func join(errs []error) error {
	var different []error
	seen := make(map[string]bool)
	for _, err := range errs {
		if err != nil && !seen[err.Error()] {
			seen[err.Error()] = true
			different = append(different, err)
		}
	}
	if len(different) == 1 {
		return different[0]
	}
	return errors.Join(different...)
}
