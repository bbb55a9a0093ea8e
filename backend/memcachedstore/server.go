package memcachedstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/bellwethercache/bellwether/backend"
)

// change is one atomic step on one item.
type change struct {
	key    string // the item's
	decide func(it *item, now int64) (write bool)
	err    error

	item  item
	cas   uint64
	found bool
}

func (s *Store) change(key string, decide func(it *item, now int64) bool) *change {
	return &change{key: s.key(key), decide: decide}
}

func fail(changes []*change, err error) {
	for _, c := range changes {
		c.err = err
	}
}

// server is one memcached and our connections to it.
type server struct {
	network, addr string
	seed          uint64
	dial          func(ctx context.Context, network, address string) (net.Conn, error)
	limit         int           // of an item
	slots         chan struct{} // taken by each operation under way

	mu     sync.Mutex
	closed bool
	idle   []*conn
	all    map[*conn]struct{}
}

func newServer(network, addr string, o Options) *server {
	return &server{
		network: network, addr: addr, seed: xxhash.Sum64String(addr), dial: o.Dial, limit: o.MaxValue + itemRoom,
		slots: make(chan struct{}, o.MaxConns), all: make(map[*conn]struct{}),
	}
}

const batch = 64 // items that are read together

// apply does the changes, each until it has gone through or there is nothing to
// do, and leaves with each what has come of it.
func (s *server) apply(ctx context.Context, changes []*change) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		fail(changes, unavailable(context.Cause(ctx)))
		return
	}
	defer func() { <-s.slots }()
	for len(changes) > 0 {
		n := min(len(changes), batch)
		now, later := distinct(changes[:n])
		again, err := s.round(ctx, now)
		if err != nil {
			fail(again, err)
			fail(later, err)
			fail(changes[n:], err)
			return
		}
		changes = append(append(again, later...), changes[n:]...)
	}
}

// distinct parts changes so that no key occurs twice among the first.
func distinct(changes []*change) (first, rest []*change) {
	seen := make(map[string]bool, len(changes))
	for _, c := range changes {
		if seen[c.key] {
			rest = append(rest, c)
			continue
		}
		seen[c.key] = true
		first = append(first, c)
	}
	return first, rest
}

// round reads the items and writes what is decided, on one connection, and
// returns the changes that others were quicker than. After an error it returns
// those that may not have been made.
func (s *server) round(ctx context.Context, changes []*change) (again []*change, err error) {
	for {
		c, reused, err := s.get(ctx)
		if err != nil {
			return changes, err
		}
		release := c.bind(ctx)
		err = c.read(changes)
		if err != nil && reused && ctx.Err() == nil && !errors.As(err, new(*ServerError)) {
			// The server has dropped it, and probably its like. Nothing was
			// written yet.
			release()
			s.drop(c)
			s.dropIdle()
			continue
		}
		if err == nil {
			again, err = c.write(changes, time.Now().UnixMicro())
		} else {
			again = changes
		}
		if !release() || err != nil {
			s.drop(c)
		} else {
			s.put(c)
		}
		return again, s.classify(ctx, err)
	}
}

// classify makes an error of the network one of backend's.
func (s *server) classify(ctx context.Context, err error) error {
	if err == nil || errors.As(err, new(*ServerError)) || errors.Is(err, ErrNoCAS) {
		return err
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return backend.ErrClosed
	case ctx.Err() != nil:
		return unavailable(context.Cause(ctx))
	}
	return unavailable(err)
}

func unavailable(err error) error {
	return fmt.Errorf("memcachedstore: %w: %w", backend.ErrUnavailable, err)
}

// get gives an idle connection or a new one.
func (s *server) get(ctx context.Context) (c *conn, reused bool, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, false, backend.ErrClosed
	}
	if n := len(s.idle); n > 0 {
		c, s.idle = s.idle[n-1], s.idle[:n-1]
		s.mu.Unlock()
		return c, true, nil
	}
	s.mu.Unlock()
	nc, err := s.dial(ctx, s.network, s.addr)
	if err != nil {
		return nil, false, s.classify(ctx, err)
	}
	c = newConn(nc, s.limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = nc.Close()
		return nil, false, backend.ErrClosed
	}
	s.all[c] = struct{}{}
	return c, false, nil
}

// put makes c idle.
func (s *server) put(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.idle = append(s.idle, c)
	}
}

// drop closes c.
func (s *server) drop(c *conn) {
	_ = c.net.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
}

func (s *server) dropIdle() {
	s.mu.Lock()
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, c := range idle {
		s.drop(c)
	}
}

// close closes all connections, and fails what is under way.
func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.idle = true, nil
	for c := range s.all {
		_ = c.net.Close()
	}
	clear(s.all)
}
