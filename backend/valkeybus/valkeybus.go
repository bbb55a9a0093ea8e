package valkeybus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/valkeyconn"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
	"github.com/bellwethercache/bellwether/internal/valkeypush"
)

// Options configure a [Bus]. The zero value, and nil, mean the defaults.
type Options struct {
	// Namespace begins the names of the channels. Caches must not share one. 1 to
	// 128 bytes, without ":", "{", "}", "*" or white space. Defaults to
	// "bellwether-bus".
	Namespace string
}

// Bus is a [backend.Bus] on a Valkey server. It is safe for concurrent use.
type Bus struct {
	conn   *valkeyconn.Conn
	hub    *valkeypush.Hub
	closed atomic.Bool
}

var _ backend.Bus = (*Bus)(nil)

// Open returns a bus on the server that rawURL names, as valkeystore.Open takes
// it. It connects, and subscribes, in the background. The error is about the URL
// or the options, and never quotes a password.
func Open(rawURL string, opts *Options) (*Bus, error) {
	b, err := newBus(opts)
	if err != nil {
		return nil, err
	}
	if b.conn, err = valkeyconn.Open(rawURL, nil); err != nil {
		return nil, fmt.Errorf("valkeybus: %w", err)
	}
	b.hub.StartWith(b.conn.Await)
	return b, nil
}

// New returns a bus on a client of the caller's, which it will not close. For the
// client's settings see valkeystore.New.
func New(client valkey.Client, opts *Options) (*Bus, error) {
	if client == nil {
		return nil, errors.New("valkeybus: client: must not be nil")
	}
	b, err := newBus(opts)
	if err != nil {
		return nil, err
	}
	b.conn = valkeyconn.Borrow(client)
	b.hub.Start(client)
	return b, nil
}

func newBus(opts *Options) (*Bus, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	layout, err := valkeylease.NewLayout(cmp.Or(o.Namespace, "bellwether-bus"))
	if err != nil {
		return nil, fmt.Errorf("valkeybus: Options.Namespace: %w", err)
	}
	return &Bus{hub: valkeypush.New(layout, valkeypush.Config{Coherence: backend.CoherencePublish, NoStamps: true})}, nil
}

// Invalidations implements backend.Invalidator.
func (b *Bus) Invalidations(what backend.Interest, on func(backend.Invalidation)) (stop func()) {
	return b.hub.Hear(what, on)
}

// CoherenceMode implements backend.Invalidator.
func (b *Bus) CoherenceMode() backend.CoherenceMode { return b.hub.Coherence() }

// Publish implements backend.Bus.
func (b *Bus) Publish(ctx context.Context, inv backend.Invalidation) error {
	if b.closed.Load() {
		return backend.ErrClosed
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c, err := b.conn.Client(ctx)
	if err != nil {
		return fmt.Errorf("valkeybus: %w", err)
	}
	if err := b.hub.Publish(ctx, c, inv); err != nil {
		return fmt.Errorf("valkeybus: %w", err)
	}
	return nil
}

// Close implements backend.Bus. A client that was handed to New stays open.
func (b *Bus) Close() error {
	if !b.closed.Swap(true) {
		var wg sync.WaitGroup
		wg.Go(b.hub.Close) // beside, because a server that hangs keeps each of them for a second
		b.conn.Close()
		wg.Wait()
	}
	return nil
}
