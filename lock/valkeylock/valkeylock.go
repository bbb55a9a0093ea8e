// Package valkeylock keeps leases on a Valkey (or Redis 7) server.
//
//	driver, err := valkeylock.Open("valkey://localhost:6379", nil)
//	locker, err := lock.New(driver, nil)
//
// A lease is the key <namespace>:l:{<hash>}:<key>, set by SET NX PX with the
// value token|fence|since|owner|trace.
package valkeylock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/valkeyconn"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
	"github.com/bellwethercache/bellwether/lock"
)

// Options configure a [Driver]. The zero value, and nil, mean the defaults.
type Options struct {
	// Namespace begins every key. 1 to 128 bytes, without ":", "{", "}", "*"
	// or white space. Defaults to "bellwether".
	Namespace string

	// Timeout bounds each command, whatever the caller's context allows.
	// Defaults to 1 s.
	Timeout time.Duration
}

// Driver is a lock.Driver on a Valkey server.
type Driver struct {
	conn    *valkeyconn.Conn
	layout  valkeylease.Layout
	timeout time.Duration
	closed  atomic.Bool
}

var _ lock.Driver = (*Driver)(nil)

// Open returns a driver on the server that rawURL names (valkey://, valkeys://
// or rediss:// with TLS, unix://). It does no I/O: a server that is down now is
// used once it is up.
func Open(rawURL string, opts *Options) (*Driver, error) {
	d, err := newDriver(opts)
	if err != nil {
		return nil, err
	}
	if d.conn, err = valkeyconn.Open(rawURL); err != nil {
		return nil, fmt.Errorf("valkeylock: %w", err)
	}
	return d, nil
}

// New returns a driver on a client of the caller's, which it will not close.
// Set AlwaysPipelining and DisableRetry on it.
func New(client valkey.Client, opts *Options) (*Driver, error) {
	if client == nil {
		return nil, errors.New("valkeylock: client: must not be nil")
	}
	d, err := newDriver(opts)
	if err != nil {
		return nil, err
	}
	d.conn = valkeyconn.Borrow(client)
	return d, nil
}

func newDriver(opts *Options) (*Driver, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	layout, err := valkeylease.NewLayout(cmp.Or(o.Namespace, "bellwether"))
	if err != nil {
		return nil, fmt.Errorf("valkeylock: Options.Namespace: %w", err)
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("valkeylock: Options.Timeout: must not be negative, is %v", o.Timeout)
	}
	return &Driver{layout: layout, timeout: cmp.Or(o.Timeout, time.Second)}, nil
}

// Acquire implements lock.Driver.
func (d *Driver) Acquire(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
	var r valkeylease.Reply
	err := d.do(ctx, key, func(ctx context.Context, c valkey.Client, k valkeylease.Keys) (err error) {
		r, err = valkeylease.Acquire(ctx, c, k, backend.LeaseRequest{
			Token: req.Token, Owner: req.Owner, Tag: req.Tag, TTL: req.TTL,
		}, false)
		return err
	})
	switch {
	case err != nil:
		return lock.Grant{}, err
	case r.Won:
		return lock.Grant{Status: lock.Won, Fence: r.Fence}, nil
	}
	return lock.Grant{Status: lock.Held, Holder: lock.Holder{
		Owner: r.Owner, Tag: r.Tag, Since: r.Since, Remaining: r.Remaining,
	}}, nil
}

// Renew implements lock.Driver.
func (d *Driver) Renew(ctx context.Context, key, token string, ttl time.Duration) (ok bool, err error) {
	err = d.do(ctx, key, func(ctx context.Context, c valkey.Client, k valkeylease.Keys) (err error) {
		ok, err = valkeylease.Renew(ctx, c, k, token, ttl)
		return err
	})
	return ok, err
}

// Release implements lock.Driver.
func (d *Driver) Release(ctx context.Context, key, token string) (ok bool, err error) {
	err = d.do(ctx, key, func(ctx context.Context, c valkey.Client, k valkeylease.Keys) (err error) {
		ok, err = valkeylease.Release(ctx, c, k, token)
		return err
	})
	return ok, err
}

// Close closes the client that Open made. It is idempotent.
func (d *Driver) Close() error {
	if !d.closed.Swap(true) {
		d.conn.Close()
	}
	return nil
}

func (d *Driver) do(ctx context.Context, key string, fn func(context.Context, valkey.Client, valkeylease.Keys) error) error {
	if d.closed.Load() {
		return lock.ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	c, err := d.conn.Client(ctx)
	if err != nil {
		return err
	}
	return fn(ctx, c, d.layout.Keys(key))
}
