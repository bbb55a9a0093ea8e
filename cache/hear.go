package cache

import (
	"context"
	"errors"
	"sync"

	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/tier"
)

// Ready waits until changes by other processes are told to this one, as
// Stats.Tiers[i].CoherenceMode says: from then on what they change reaches this
// memory. Where nothing is ever told, it returns at once. A cache serves before
// that, and while its server is away: wait in tests, and, with a deadline that
// you go on after, before a process is given traffic. It returns the cause of
// ctx's end, or ErrClosed.
func (c *Cache[K, V]) Ready(ctx context.Context) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	if err := c.stack.AwaitHearing(ctx); err != nil {
		return err
	}
	if c.closed.Load() {
		return ErrClosed
	}
	return nil
}

// changed is called when another process has changed a key: id names what it
// holds now. What is under way here may have read what it held before:
//
//	1 Get reads the old value from L2    3 the news comes: L1 holds nothing of the key
//	2 another process sets a new one     4 Get would promote the old one to L1
//
// and so may a Set, whose reply from the server comes by another connection than
// the news does.
func (c *core[K, V]) changed(key string, id uint64, drop func()) {
	c.writes.changed(key, id)
	c.readers.note(key)
	c.routes.each(func(g *flight.Group[outcome[V]]) { g.Supersede(key, id, nil) })
	c.flights.Supersede(key, id, drop)
}

// busy reports whether something is under way for a key that may have seen what it
// held before.
func (c *core[K, V]) busy(key string) bool {
	busy := c.writes.busy(key) || c.flights.Under(key)
	c.routes.each(func(g *flight.Group[outcome[V]]) { busy = busy || g.Under(key) })
	return busy
}

// forget ends what is under way for a key, and calls drop in one step with the
// last of that.
func (c *core[K, V]) forget(key string, drop func()) {
	c.readers.note(key)
	c.routes.each(func(g *flight.Group[outcome[V]]) { g.Forget(key, nil) })
	c.flights.Forget(key, drop)
}

// part keeps those who come from joining what was begun before.
func (c *core[K, V]) part() {
	c.routes.each((*flight.Group[outcome[V]]).Part)
	c.flights.Part()
}

// routes are the flights that pass some tiers by when they read. Those that pass
// by different ones must not join each other. The zero value is ready to use.
type routes[T any] struct {
	mu     sync.RWMutex
	groups map[tier.Tiers]*flight.Group[T]
}

// group returns the flights that pass these tiers by.
func (r *routes[T]) group(skip tier.Tiers, limit int64) *flight.Group[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[skip]
	if g == nil {
		g = &flight.Group[T]{Limit: limit}
		if r.groups == nil {
			r.groups = make(map[tier.Tiers]*flight.Group[T])
		}
		r.groups[skip] = g
	}
	return g
}

func (r *routes[T]) each(do func(*flight.Group[T])) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, g := range r.groups {
		do(g)
	}
}

// close closes all flights. A view that is made later finds the cache closed.
func (r *routes[T]) close(ctx context.Context) error {
	var errs []error
	r.each(func(g *flight.Group[T]) { errs = append(errs, g.Close(ctx)) })
	return errors.Join(errs...)
}
