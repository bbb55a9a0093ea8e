package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/tier"
)

// Set stores v under key for Options.TTL, in all tiers. A load that is under
// way will not overwrite it. When a tier could not be written the error says
// so; this process serves v all the same.
func (c *Cache[K, V]) Set(ctx context.Context, key K, v V) error {
	return c.SetTTL(ctx, key, v, c.opts.TTL)
}

// SetTTL is Set with a lifetime of its own, which must be positive.
func (c *Cache[K, V]) SetTTL(ctx context.Context, key K, v V, ttl time.Duration) error {
	if ttl <= 0 {
		return ErrTTL
	}
	e := &tier.Entry[V]{Value: v, FreshFor: ttl, LivesFor: ttl + c.opts.StaleFor}
	return c.write(ctx, tier.OpSet, key,
		func(ctx context.Context, skey string) error { return c.tiers.SetRemote(ctx, skey, e, 0) },
		func() { c.tiers.SetLocal(key, e) })
}

// Delete removes the keys from all tiers. A load that is under way gives its
// value to its callers but does not store it. When a tier could not be reached
// the error says so: other processes may go on serving what they have until
// its TTL is over.
func (c *Cache[K, V]) Delete(ctx context.Context, keys ...K) error {
	var errs []error
	for _, key := range keys {
		errs = append(errs, c.write(ctx, tier.OpDelete, key, c.tiers.DeleteRemote,
			func() { c.tiers.DeleteLocal(key) }))
	}
	return errors.Join(errs...)
}

// write changes the tiers from the farthest to the nearest, one writer of a key
// at a time, so that two Sets leave the same value in each.
//
// The near tiers are changed last and in one step with forgetting the key's
// flight, because a reader may have looked in between:
//
//	1 Get reads the old value from L2   3 Delete deletes it from L1
//	2 Delete deletes it from L2         4 Get would promote it to L1
func (c *Cache[K, V]) write(ctx context.Context, op tier.Op, key K, far func(context.Context, string) error, near func()) (err error) {
	if err := c.check(ctx, key); err != nil {
		return err
	}
	skey := c.key(key)
	hooks := &c.opts.Hooks
	if hooks.WriteStart != nil {
		ctx = hooks.WriteStart(ctx, WriteStart{Op: op, Key: skey})
	}
	if hooks.WriteDone != nil {
		defer func() { hooks.WriteDone(ctx, WriteDone{Op: op, Err: err}) }()
	}
	unlock, err := c.writes.lock(ctx, skey)
	if err != nil {
		return err
	}
	defer unlock()
	err = far(ctx, skey)
	c.flights.Forget(skey, near)
	if err != nil {
		return fmt.Errorf("cache %q: %v in the shared tier: %w", c.opts.Name, op, err)
	}
	return nil
}

// keyMutex is a mutex for each key. The zero value is ready to use.
type keyMutex struct {
	mu    sync.Mutex
	locks map[string]*keyLock
}

type keyLock struct {
	users int           // holding or waiting; guarded by keyMutex.mu
	held  chan struct{} // full while held
}

// lock waits for key's turn or for ctx.
func (m *keyMutex) lock(ctx context.Context, key string) (unlock func(), err error) {
	m.mu.Lock()
	l := m.locks[key]
	if l == nil {
		l = &keyLock{held: make(chan struct{}, 1)}
		if m.locks == nil {
			m.locks = make(map[string]*keyLock)
		}
		m.locks[key] = l
	}
	l.users++
	m.mu.Unlock()

	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; m.leave(key, l) }, nil
	case <-ctx.Done():
		m.leave(key, l)
		return nil, context.Cause(ctx)
	}
}

func (m *keyMutex) leave(key string, l *keyLock) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(m.locks, key)
	}
}
