// Package valkeyconn opens a valkey-go client from a URL with the settings that
// a cache needs, without ever blocking or failing because the server is away.
package valkeyconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
)

// Conn is a client that may still be connecting. It is safe for concurrent use.
type Conn struct {
	ctx    context.Context    // ends the attempts
	cancel context.CancelFunc // nil of a borrowed client
	tried  chan struct{}      // closed once the first attempt has ended
	done   chan struct{}      // closed once there will be no further one

	client atomic.Pointer[valkey.Client]
	err    atomic.Pointer[error] // why there is none yet
	once   sync.Once

	tracked   atomic.Bool // what the client reads
	untracked func()      // is called when it is not any more
	track     *tracked    // the client, if it was tracked at first; written before client
}

// Borrow wraps a client that stays its giver's to close.
func Borrow(c valkey.Client) *Conn {
	conn := &Conn{tried: make(chan struct{}), done: make(chan struct{})}
	conn.set(c)
	close(conn.tried)
	close(conn.done)
	return conn
}

// Open returns at once and connects in the background. It fails only for a URL
// that can never work. With track, servers that can track what is read do.
func Open(rawURL string, track *Tracking) (*Conn, error) {
	opt, err := Options(rawURL)
	if err != nil {
		return nil, err
	}
	conn := &Conn{tried: make(chan struct{}), done: make(chan struct{})}
	if track != nil {
		opt, conn.untracked = track.options(opt), track.Untracked
	}
	conn.ctx, conn.cancel = context.WithCancel(context.Background())
	go conn.connect(opt) // ends with success or Close, which waits for it
	return conn, nil
}

const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// connect tries until there is a client. Only that of a single server comes up
// without one; of a cluster or of Sentinels somebody must answer.
func (c *Conn) connect(opt valkey.ClientOption) {
	defer close(c.done)
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		client, err := valkey.NewClient(opt)
		if errors.Is(err, valkey.ErrNoCache) { // no RESP3, no rights, or a proxy between
			opt = untracked(opt)
			drop(&client)
			client, err = valkey.NewClient(opt)
		}
		if err != nil && !opt.DisableCache {
			drop(&client) // whether it may track would show too late
		}
		c.tracked.Store(!opt.DisableCache)
		if client == nil {
			err = fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
			c.err.Store(&err)
		} else { // also with an error: a forced single client heals by itself
			if !opt.DisableCache {
				c.track = newTracked(c, client, opt)
				client = c.track
			}
			c.set(client)
		}
		if retry == firstRetry {
			close(c.tried)
		}
		if client != nil {
			return
		}
		t := time.NewTimer(retry)
		select {
		case <-t.C:
		case <-c.ctx.Done():
			t.Stop()
			return
		}
	}
}

func drop(client *valkey.Client) {
	if *client != nil {
		(*client).Close()
		*client = nil
	}
}

// Tracked reports whether the client is told of changes of what it has read.
func (c *Conn) Tracked() bool { return c.tracked.Load() }

// Untrack has another client take the place of one that is tracked, because a
// server refuses to. It does not wait for that.
func (c *Conn) Untrack() {
	if c.client.Load() != nil && c.track != nil {
		c.track.change()
	}
}

func (c *Conn) set(client valkey.Client) {
	if client.Mode() != valkey.ClientModeStandalone {
		client = prompt{client}
	}
	c.client.Store(&client)
}

// Client returns the client, waiting for the first connection attempt to end.
func (c *Conn) Client(ctx context.Context) (valkey.Client, error) {
	select {
	case <-c.tried: // the common case, without looking at ctx
	default:
		select {
		case <-c.tried:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: still connecting: %w", backend.ErrUnavailable, context.Cause(ctx))
		}
	}
	if client := c.client.Load(); client != nil {
		return *client, nil
	}
	return nil, *c.err.Load()
}

// Await returns the client once there is one, however many attempts that takes.
func (c *Conn) Await(ctx context.Context) (valkey.Client, error) {
	select {
	case <-c.done:
		return c.Client(ctx)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: still connecting: %w", backend.ErrUnavailable, context.Cause(ctx))
	}
}

// Close closes a client that Open made. It is idempotent.
func (c *Conn) Close() {
	c.once.Do(func() {
		if c.cancel == nil { // borrowed
			return
		}
		c.cancel()
		<-c.done
		if client := c.client.Load(); client != nil {
			(*client).Close()
		}
	})
}
