package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/tier"
)

// Set stores v under key for Policy.TTL, in all tiers. A load that is under
// way will not overwrite it. When a tier could not be written the error says
// so; this process serves v all the same, and a tier that refuses v (too large,
// not to be encoded) holds nothing for the key.
func (c *Cache[K, V]) Set(ctx context.Context, key K, v V) error {
	return c.SetTTL(ctx, key, v, c.policy.TTL)
}

// SetTTL is Set with a lifetime of its own, which must be positive.
func (c *Cache[K, V]) SetTTL(ctx context.Context, key K, v V, ttl time.Duration) error {
	if ttl <= 0 {
		return ErrTTL
	}
	e := &tier.Entry[V]{Value: v}
	e.FreshFor, e.LivesFor = c.policy.lifetime(ttl, c.policy.staleFor())
	e.DueIn = dueIn(&c.policy, e)
	return c.write(ctx, tier.OpSet, key,
		func(ctx context.Context, skey string) error {
			err := c.tiers.SetRemote(ctx, skey, e, 0)
			if err != nil && !errors.Is(err, backend.ErrUnavailable) { // refused: at least nothing older is to be found there
				err = errors.Join(err, c.tiers.DeleteRemote(ctx, skey))
			}
			return err
		},
		func() { c.tiers.SetLocal(key, e) })
}

// Delete removes the keys from all tiers. A load that is under way gives its
// value to its callers but does not store it. When a tier could not be reached
// the error says so: other processes may go on serving what they have until
// its TTL is over.
func (c *Cache[K, V]) Delete(ctx context.Context, keys ...K) error {
	return each(keys, func(key K) error {
		return c.write(ctx, tier.OpDelete, key, c.tiers.DeleteRemote, func() { c.tiers.DeleteLocal(key) })
	})
}

// Expire makes the keys' entries stale in all tiers: the next read loads, or
// returns what is stale and refreshes it, as Policy says. Entries without a
// value that the policy could serve are as good as deleted. A load that is
// under way gives its value to its callers but does not store it. For errors
// see Delete.
func (c *Cache[K, V]) Expire(ctx context.Context, keys ...K) error {
	return each(keys, func(key K) error {
		return c.write(ctx, tier.OpExpire, key, c.tiers.ExpireRemote, func() { c.tiers.ExpireLocal(key) })
	})
}

// each writes keys, many at once: a server that hangs costs one budget. Errors
// that say the same are joined once.
func each[K any](keys []K, write func(K) error) error {
	if len(keys) == 1 {
		return write(keys[0])
	}
	var g errgroup.Group
	g.SetLimit(64)
	all := make([]error, len(keys))
	for i, key := range keys {
		g.Go(func() error {
			all[i] = write(key)
			return nil
		})
	}
	_ = g.Wait() // the errors are in all
	var errs []error
	said := make(map[string]bool)
	for _, err := range all {
		if err != nil && !said[err.Error()] {
			said[err.Error()] = true
			errs = append(errs, err)
		}
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
	c.cooling.forget(skey)
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
