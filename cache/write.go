package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bellwethercache/bellwether/tier"
)

// Set stores v under key for Policy.TTL, in all tiers. A load that is under
// way will not overwrite it. When a tier could not be written the error says
// so; this process serves v all the same, and a tier that refuses v (too large,
// not to be encoded) holds nothing for the key. With [tier.ErrQueued] in the error
// the tier is written as soon as it answers, unless it has something newer by
// then: see tier.RemoteOptions.Backlog.
func (c *Cache[K, V]) Set(ctx context.Context, key K, v V) error {
	return c.SetWith(ctx, key, v, SetOptions{})
}

// SetTTL is Set with a lifetime of its own, which must be positive.
func (c *Cache[K, V]) SetTTL(ctx context.Context, key K, v V, ttl time.Duration) error {
	if ttl <= 0 {
		return ErrTTL
	}
	return c.SetWith(ctx, key, v, SetOptions{TTL: ttl})
}

// SetOptions say more of what is set than its value. The zero value says
// nothing.
type SetOptions struct {
	TTL          time.Duration // 0: Policy.TTL; must not be negative
	StaleFor     time.Duration // kept beyond the TTL; 0: as the policy says, negative: not at all
	Tags         []string      // as by Load.SetTags
	ETag         string        // as by Load.SetETag
	LastModified time.Time     // as by Load.SetLastModified
}

// SetWith is Set that says more than the value.
func (c *Cache[K, V]) SetWith(ctx context.Context, key K, v V, o SetOptions) error {
	if o.TTL < 0 {
		return ErrTTL
	}
	if err := c.check(ctx, key); err != nil {
		return err
	}
	e := &tier.Entry[V]{Value: c.clone(v), Begun: c.stack.Instant()}
	staleFor := c.policy.staleFor()
	if o.StaleFor != 0 {
		staleFor = max(o.StaleFor, 0)
	}
	e.FreshFor, e.LivesFor = c.policy.lifetime(cmp.Or(o.TTL, c.policy.TTL), staleFor)
	e.DueIn = dueIn(&c.policy, e)
	if o.Tags != nil || o.ETag != "" || !o.LastModified.IsZero() {
		e.Meta = &tier.Meta{Tags: slices.Clone(o.Tags), ETag: o.ETag, LastModified: o.LastModified}
	}
	e.Meta = c.tagged(key, e.Meta)
	skey := c.key(key)
	return c.write(ctx, tier.OpSet, key,
		func(ctx context.Context, skey string) error {
			e.AsOf = c.tiers.AsOf(ctx, 0)
			return c.tiers.WriteRemote(ctx, skey, e)
		},
		func() {
			if c.writes.disturbed(skey, e.ID) { // we cannot tell whose change came last
				c.tiers.DeleteLocal(key)
				return
			}
			c.tiers.PutLocal(key, e)
		})
}

// Delete removes the keys from all tiers. A load that is under way gives its
// value to its callers but does not store it. When a tier could not be reached
// the error says so: other processes may go on serving what they have. With
// [tier.ErrQueued] in it that ends as soon as the tier answers, and this process
// does not see the old value again, whatever the tier holds meanwhile; else it lasts
// until the entry's time is over. A tier that did not answer in time may all the
// same do what it was asked, later.
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
	c.writes.begin(skey)
	err = far(ctx, skey)
	c.forget(skey, near)
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

	// Guarded by keyMutex.mu.
	news bool   // the key was changed meanwhile, perhaps by another process
	only uint64 // to this value; 0: to more than one, or none that has a name
}

// changed notes that a key was changed to the value named id, for whoever writes it.
func (m *keyMutex) changed(key string, id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.locks[key]; l != nil {
		if l.news && l.only != id {
			id = 0
		}
		l.news, l.only = true, id
	}
}

// busy reports whether somebody writes key, or is about to.
func (m *keyMutex) busy(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.locks[key] != nil
}

// begin forgets what was changed before.
func (m *keyMutex) begin(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.locks[key].news = false
}

// disturbed reports whether the key was changed since begin, to something else
// than id.
func (m *keyMutex) disturbed(key string, id uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.locks[key]
	return l.news && (l.only == 0 || l.only != id)
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
