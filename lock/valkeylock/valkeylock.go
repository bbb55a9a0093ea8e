// Package valkeylock keeps leases on a Valkey (or Redis 7) server.
//
//	driver, err := valkeylock.Open("valkey://localhost:6379", nil)
//	locker, err := lock.New(driver, nil)
//
// A lease is the key <namespace>:l:{<hash>}:<key>, with a lifetime and the value
// token|fence|since|usual|process|failures|owner|trace.
//
// Those who wait for a lease are told when it ends, and when its holder's process
// is gone, on the channel <namespace>:p:<id>: see the package valkeystore, also
// for access rights. Without those rights they look again and again.
//
// A lock outlives a failover, of a cluster or under Sentinel, that takes less
// than its TTL, if the replica has heard of it: replication is asynchronous, and
// the last moments of a master may be lost with it. Then somebody else may be
// granted the lock, with a higher fence, while its holder has yet to find out:
// have what the lock protects refuse lower fences.
package valkeylock

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
	"github.com/bellwethercache/bellwether/lock"
)

// Options configure a [Driver]. The zero value, and nil, mean the defaults.
type Options struct {
	// Namespace begins every key. 1 to 128 bytes, without ":", "{", "}", "*"
	// or white space. Do not use that of a cache's store: a lock and the load of
	// an entry of the same name would be one lease. Defaults to
	// "bellwether-lock".
	Namespace string

	// Timeout bounds each command, whatever the caller's context allows.
	// Defaults to 1 s.
	Timeout time.Duration

	// NoPush does without a subscription: whoever waits for a lease looks
	// again and again, and nobody notices that a holder has died.
	NoPush bool
}

// Driver is a lock.Driver on a Valkey server.
type Driver struct {
	conn    *valkeyconn.Conn
	layout  valkeylease.Layout
	hub     *valkeypush.Hub
	timeout time.Duration
	closed  atomic.Bool
}

var (
	_ lock.Driver   = (*Driver)(nil)
	_ lock.Notifier = (*Driver)(nil)
)

// Open returns a driver on the server, the cluster or the master of Sentinels
// that rawURL names, as valkeystore.Open takes it. It connects, and subscribes, in the background:
// a server that is down now is used once it is up.
func Open(rawURL string, opts *Options) (*Driver, error) {
	d, err := newDriver(opts)
	if err != nil {
		return nil, err
	}
	if d.conn, err = valkeyconn.Open(rawURL, nil); err != nil {
		return nil, fmt.Errorf("valkeylock: %w", err)
	}
	d.hub.StartWith(d.conn.Await)
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
	d.hub.Start(client)
	return d, nil
}

func newDriver(opts *Options) (*Driver, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	layout, err := valkeylease.NewLayout(cmp.Or(o.Namespace, "bellwether-lock"))
	if err != nil {
		return nil, fmt.Errorf("valkeylock: Options.Namespace: %w", err)
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("valkeylock: Options.Timeout: must not be negative, is %v", o.Timeout)
	}
	return &Driver{layout: layout, hub: valkeypush.New(layout, valkeypush.Config{Off: o.NoPush}), timeout: cmp.Or(o.Timeout, time.Second)}, nil
}

// Acquire implements lock.Driver.
func (d *Driver) Acquire(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
	var r valkeylease.Reply
	err := d.do(ctx, key, func(ctx context.Context, c valkey.Client, k valkeylease.Keys) (err error) {
		a := valkeylease.Ask{
			Keys: k, Self: d.hub.Self(req.Watch),
			LeaseRequest: backend.LeaseRequest{Token: req.Token, Owner: req.Owner, Tag: req.Tag, TTL: req.TTL, Usual: req.Usual},
		}
		if r, err = valkeylease.Acquire(ctx, c, a); err == nil {
			d.hub.Saw(c, a, r)
		}
		return err
	})
	switch {
	case err != nil:
		return lock.Grant{}, err
	case r.Won:
		return lock.Grant{Status: lock.Won, Fence: r.Fence, Token: r.Token, TookOver: r.TookOver}, nil
	case r.Cooling != nil: // a cache of this namespace has failed to load the key
		return lock.Grant{Status: lock.Failed, Holder: lock.Holder{Remaining: r.Cooling.RetryAfter}}, nil
	}
	return lock.Grant{Status: lock.Held, Pushed: r.Pushed, Holder: lock.Holder{
		Owner: r.Owner, Tag: r.Tag, Since: r.Since, Remaining: r.Remaining, Usual: r.Usual,
	}}, nil
}

// Watch implements lock.Notifier.
func (d *Driver) Watch(key string, wake func()) (stop func()) {
	return d.hub.Watch(d.layout.Lease(key), func(backend.Notice) { wake() })
}

// Listen waits until the subscription that New or Open began has worked out or
// failed, or ctx has ended. It reports whether those who wait are told.
func (d *Driver) Listen(ctx context.Context) bool {
	if c, err := d.conn.Client(ctx); err == nil && !d.closed.Load() {
		d.hub.Start(c)
		d.hub.Settled(ctx)
	}
	return d.hub.Mode() != backend.WakePoll
}

// Renew implements lock.Driver.
func (d *Driver) Renew(ctx context.Context, key, token string, ttl time.Duration) (ok bool, err error) {
	err = d.do(ctx, key, func(ctx context.Context, c valkey.Client, k valkeylease.Keys) (err error) {
		ok, err = valkeylease.Renew(ctx, c, k, token, ttl, d.hub.Self(false).Holder)
		return err
	})
	return ok, err
}

// Release implements lock.Driver.
func (d *Driver) Release(ctx context.Context, key, token string) (ok bool, err error) {
	err = d.do(ctx, key, func(ctx context.Context, c valkey.Client, k valkeylease.Keys) (err error) {
		ok, err = valkeylease.Release(ctx, c, k, token, backend.Failure{})
		return err
	})
	return ok, err
}

// Close closes the client that Open made. It is idempotent.
func (d *Driver) Close() error {
	if !d.closed.Swap(true) {
		var wg sync.WaitGroup
		wg.Go(d.hub.Close) // beside, because a server that hangs keeps each of them for a second
		d.conn.Close()
		wg.Wait()
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
