package cache_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// cable is what one process sees of a shared store over a connection that can be
// cut.
type cable struct {
	*memstore.Store
	out    atomic.Bool
	lose   atomic.Bool     // Set is done, and its reply is lost
	full   fault           // what Set is answered with
	refuse fault           // what Set and Delete are answered with
	hold   func(op string) // called before Delete and Commit
	slow   atomic.Int64    // by how much its estimate of the time is behind
	on     func(backend.Invalidation)
}

// fault is an error that can be switched on and off. The zero value is off.
type fault struct{ now atomic.Pointer[error] }

func (f *fault) set(err error) { f.now.Store(&err) }

func (f *fault) err() error {
	if err := f.now.Load(); err != nil {
		return *err
	}
	return nil
}

var errCut = errors.Join(backend.ErrUnavailable, errors.New("connection refused"))

func plug[T any](c *cable, fn func() (T, error)) (v T, err error) {
	if c.out.Load() {
		return v, errCut
	}
	return fn()
}

func (c *cable) write(fn func() error) error {
	_, err := plug(c, func() (struct{}, error) {
		if err := c.refuse.err(); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, fn()
	})
	return err
}

func (c *cable) Get(ctx context.Context, key string) ([]byte, error) {
	return plug(c, func() ([]byte, error) { return c.Store.Get(ctx, key) })
}

func (c *cable) Now(ctx context.Context) (int64, error) {
	now, err := c.Store.Now(ctx)
	return now - c.slow.Load(), err
}

func (c *cable) Set(ctx context.Context, key string, v []byte, ttl time.Duration) error {
	if c.lose.Load() {
		return errors.Join(c.Store.Set(ctx, key, v, ttl), errCut)
	}
	return c.write(func() error {
		if err := c.full.err(); err != nil {
			return err
		}
		return c.Store.Set(ctx, key, v, ttl)
	})
}

func (c *cable) Delete(ctx context.Context, keys ...string) error {
	if c.hold != nil {
		c.hold("delete")
	}
	return c.write(func() error { return c.Store.Delete(ctx, keys...) })
}

func (c *cable) Swap(ctx context.Context, key string, old, v []byte, ttl time.Duration) (bool, error) {
	return plug(c, func() (bool, error) { return c.Store.Swap(ctx, key, old, v, ttl) })
}

func (c *cable) Lease(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	return plug(c, func() (backend.LeaseReply, error) { return c.Store.Lease(ctx, key, req) })
}

func (c *cable) Commit(ctx context.Context, key, token string, v []byte, ttl time.Duration) (bool, error) {
	if c.hold != nil {
		c.hold("commit")
	}
	return plug(c, func() (bool, error) {
		if ttl <= 0 {
			return false, errors.New("a ttl must be positive")
		}
		return c.Store.Commit(ctx, key, token, v, ttl)
	})
}

func (c *cable) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return plug(c, func() (bool, error) { return c.Store.Renew(ctx, key, token, ttl) })
}

func (c *cable) Release(ctx context.Context, key, token string, f backend.Failure) (bool, error) {
	return plug(c, func() (bool, error) { return c.Store.Release(ctx, key, token, f) })
}

func (c *cable) StampTags(ctx context.Context, expire bool, tags ...string) (uint64, error) {
	return plug(c, func() (uint64, error) { return c.Store.StampTags(ctx, expire, tags...) })
}

func (c *cable) TagStamps(ctx context.Context, tags ...string) ([]backend.TagStamp, error) {
	return plug(c, func() ([]backend.TagStamp, error) { return c.Store.TagStamps(ctx, tags...) })
}

func (c *cable) Invalidations(what backend.Interest, on func(backend.Invalidation)) (stop func()) {
	c.on = on
	return c.Store.Invalidations(what, func(inv backend.Invalidation) {
		if !c.out.Load() {
			on(inv)
		}
	})
}

// cut cuts the connection, and mend has it back: what was changed meanwhile is not
// known.
func (c *cable) cut() {
	c.out.Store(true)
	c.on(backend.Invalidation{Kind: backend.Deaf})
}

func (c *cable) mend() {
	c.out.Store(false)
	c.on(backend.Invalidation{Kind: backend.Heard})
}

// cabled is a process of a fleet whose connection can be cut.
type cabled struct {
	*cache.Cache[string, int]
	*cable
	t      *testing.T
	source *int // what loads give, counted up by each
	took   time.Duration
}

func (p *cabled) get(key string, v int) {
	p.t.Helper()
	if got, err := p.Get(p.t.Context(), key); got != v || err != nil {
		p.t.Errorf("Get = %d, %v, want %d", got, err, v)
	}
}

func (p *cabled) Get(ctx context.Context, key string) (int, error) { return p.Cache.Get(ctx, key) }
func (p *cabled) Set(ctx context.Context, key string, v int) error { return p.Cache.Set(ctx, key, v) }
func (p *cabled) Delete(ctx context.Context, key string) error     { return p.Cache.Delete(ctx, key) }

// queued fails unless err says that a change was queued.
func (p *cabled) queued(err error) {
	p.t.Helper()
	if !errors.Is(err, tier.ErrQueued) || !errors.Is(err, backend.ErrUnavailable) {
		p.t.Errorf("the change = %v, want ErrUnavailable and ErrQueued", err)
	}
}

// settled waits until nothing is queued.
func (p *cabled) settled(replayed uint64) {
	p.t.Helper()
	<-time.After(3 * time.Second)
	if s := p.Stats().Tiers[0]; s.Queued != 0 || s.Replayed != replayed || s.Dropped != 0 {
		p.t.Errorf("%d queued, %d replayed, %d dropped, want %d replayed", s.Queued, s.Replayed, s.Dropped, replayed)
	}
}

func newCabled(t *testing.T, opts cache.Options[string, int], remote *tier.RemoteOptions) (a, b *cabled) {
	t.Helper()
	first := memstore.NewStore()
	t.Cleanup(func() { _ = first.Close() })
	source := 0
	process := func() *cabled {
		p := &cabled{t: t, cable: &cable{Store: first.Peer()}, source: &source}
		load := func(ctx context.Context, _ string) (int, error) {
			cache.LoadFrom[int](ctx).SetTags("red")
			*p.source++
			v := *p.source
			<-time.After(p.took)
			return v, nil
		}
		p.Cache = open(t, load, &opts, tier.Local(memstore.NewMemory(1000), nil), tier.Remote(p.cable, remote))
		return p
	}
	return process(), process()
}
