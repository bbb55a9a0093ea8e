package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/tier"
)

// outcome is what a flight's callers share.
type outcome[V any] struct {
	value    V
	result   Result
	tier     int
	age      time.Duration
	degraded bool
}

// Get returns the value of key from the nearest tier that has it, or loads it
// with the loader given to New. It returns the cause of ctx when ctx ends
// first, [ErrNotFound] when the source has no such key, a [*LoadError],
// [*PanicError] or [ErrGoexit] when the loader failed.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (V, error) {
	return c.GetOrLoad(ctx, key, c.load)
}

// GetOrLoad is Get with a loader for this call. Callers that join a flight get
// what its leader's loader returns, so all loaders of one key must agree.
func (c *Cache[K, V]) GetOrLoad(ctx context.Context, key K, load LoadFunc[K, V]) (v V, err error) {
	if ctx == nil || c.panics {
		if err := c.check(ctx, key); err != nil {
			return v, err
		}
	}
	if v, ok := c.tiers.Fresh(key); ok {
		c.count.hits.Inc()
		return v, nil
	}
	return c.miss(ctx, key, load)
}

// Peek returns the value of key if a tier has it, fresh or stale, and never
// loads or waits for a load. It returns [ErrMiss] when none has it,
// [ErrNotFound] when the source is known to have none. When a tier could not
// be asked, the error is ErrMiss and that tier's error.
func (c *Cache[K, V]) Peek(ctx context.Context, key K) (v V, err error) {
	if err := c.check(ctx, key); err != nil {
		return v, err
	}
	e, ok := c.tiers.Local(key)
	if !ok {
		l, _, err := c.tiers.Remote(ctx, c.key(key))
		switch {
		case !l.Found && ctx.Err() != nil:
			return v, context.Cause(ctx)
		case !l.Found && err != nil:
			return v, fmt.Errorf("%w: %w", ErrMiss, err)
		case !l.Found:
			return v, ErrMiss
		}
		// Not promoted: only a flight can tell whether a Delete came between.
		e = l.Entry
	}
	if e.Absent {
		return v, ErrNotFound
	}
	return e.Value, nil
}

// miss is Get once the nearest tier has nothing fresh.
func (c *Cache[K, V]) miss(ctx context.Context, key K, load LoadFunc[K, V]) (v V, err error) {
	if err := c.check(ctx, key); err != nil {
		return v, err
	}
	f := c.newFill(key, load)
	if h := c.opts.Hooks.GetStart; h != nil {
		ctx = h(ctx, GetStart{Key: f.skey})
	}
	out, shared, err := c.flights.Do(ctx, f.skey, &f.call, f, c.observe)
	err = translate(err)
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		out.result = ResultError
	case shared:
		out.result = ResultShared
	}
	c.count.results[out.result].Inc()
	if h := c.opts.Hooks.GetDone; h != nil {
		h(ctx, GetDone{Result: out.result, Tier: out.tier, Age: out.age, Degraded: out.degraded, Err: err})
	}
	c.freeFill(f, shared)
	return out.value, err
}

// follow observes a caller that joined another's flight.
func (c *Cache[K, V]) follow(ctx context.Context, call *flight.Call[outcome[V]]) func(err error) {
	began := clock.Now()
	if h := c.opts.Hooks.WaitStart; h != nil {
		ctx = h(ctx, WaitStart{Tag: call.Tag()})
	}
	return func(err error) {
		info := WaitDone{Tag: call.Tag(), Waited: time.Duration(clock.Now() - began), Err: err}
		info.Canceled = err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx))
		c.count.waits.Add(1)
		c.count.waitTime.Add(int64(info.Waited))
		if info.Canceled {
			c.count.waitTimeouts.Add(1)
		}
		if h := c.opts.Hooks.WaitDone; h != nil {
			h(ctx, info)
		}
	}
}

// hit turns a usable entry into the flight's outcome.
func hit[V any](e *tier.Entry[V], result Result, index int) (outcome[V], error) {
	out := outcome[V]{value: e.Value, result: result, tier: index, age: e.Age}
	if e.Absent {
		if result == ResultHit {
			out.result = ResultNegative
		}
		return out, ErrNotFound
	}
	return out, nil
}
