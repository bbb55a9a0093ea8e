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

// Entry is a value and what is known of it.
type Entry[V any] struct {
	Value  V
	Result Result        // where it came from
	Age    time.Duration // since it was loaded or set

	// Stale says that the value has outlived its TTL. Why says why nothing
	// fresher was to be had: the loader's error, ErrCooling, ErrInProgress;
	// nil if a refresh is under way, or the caller's patience was over.
	Stale bool
	Why   error

	ETag         string
	LastModified time.Time
	Tags         []string // shared: do not change it
}

// outcome is what a flight's callers share.
type outcome[V any] struct {
	value    V
	result   Result
	tier     int
	age      time.Duration
	meta     *tier.Meta
	stale    bool
	due      *tier.Entry[V] // to be refreshed in the background; nil: none
	why      error          // of stale
	degraded bool
}

func (o *outcome[V]) entry() Entry[V] {
	e := Entry[V]{Value: o.value, Result: o.result, Age: o.age, Stale: o.stale, Why: o.why}
	if o.meta != nil {
		e.ETag, e.LastModified, e.Tags = o.meta.ETag, o.meta.LastModified, o.meta.Tags
	}
	return e
}

// Get returns the value of key from the nearest tier that has it, or loads it
// with the loader given to New. It returns the cause of ctx when ctx ends
// first, [ErrNotFound] when the source has no such key, a [*LoadError],
// [*PanicError] or [ErrGoexit] when the loader failed, [ErrCooling] when it
// failed lately, and as Policy says, ErrTimeout, ErrLoadTimeout, ErrInProgress
// and ErrOverloaded.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (V, error) {
	return c.GetOrLoad(ctx, key, c.load)
}

// GetOrLoad is Get with a loader for this call. Callers that join a flight get
// what its leader's loader returns, so all loaders of one key must agree.
func (c *Cache[K, V]) GetOrLoad(ctx context.Context, key K, load LoadFunc[K, V]) (v V, err error) {
	if ctx == nil || c.panics || c.bad != nil {
		if err := c.check(ctx, key); err != nil {
			return v, err
		}
	}
	if v, ok := c.tiers.Fresh(key); ok {
		c.count.hits.Inc()
		if c.opts.Clone != nil {
			v = c.opts.Clone(v)
		}
		return v, nil
	}
	out, err := c.slow(ctx, key, load)
	if err != nil {
		return out.value, err
	}
	return c.clone(out.value), nil
}

// clone makes a value that no other caller has, if Options.Clone can.
func (c *core[K, V]) clone(v V) V {
	if c.opts.Clone != nil {
		v = c.opts.Clone(v)
	}
	return v
}

// GetEntry is Get that tells more than the value. An entry that is not found
// comes with ErrNotFound.
func (c *Cache[K, V]) GetEntry(ctx context.Context, key K) (Entry[V], error) {
	if err := c.check(ctx, key); err != nil {
		return Entry[V]{}, err
	}
	out, err := c.slow(ctx, key, c.load)
	if err == nil {
		out.value = c.clone(out.value)
	}
	return out.entry(), err
}

// Peek returns the value of key if a tier has it, fresh or stale, and never
// loads or waits for a load. It returns [ErrMiss] when none has it,
// [ErrNotFound] when the source is known to have none. When a tier could not
// be asked, the error is ErrMiss and that tier's error: errors.Is finds both.
func (c *Cache[K, V]) Peek(ctx context.Context, key K) (v V, err error) {
	if err := c.check(ctx, key); err != nil {
		return v, err
	}
	e, ok := c.tiers.Local(key)
	if !ok {
		l, err := c.tiers.Look(ctx, c.key(key), false, nil)
		switch {
		case !l.Found && ctx.Err() != nil:
			return v, context.Cause(ctx)
		case !l.Found && err != nil:
			return v, fmt.Errorf("%w; one could not be asked: %w", ErrMiss, err)
		case !l.Found:
			return v, ErrMiss
		}
		// Not promoted: only a flight can tell whether a Delete came between.
		e = l.Entry
	}
	if e.Absent {
		return v, ErrNotFound
	}
	return c.clone(e.Value), nil
}

// slow is Get once the nearest tier has nothing that needs no second look.
func (c *Cache[K, V]) slow(ctx context.Context, key K, load LoadFunc[K, V]) (out outcome[V], err error) {
	if err := c.check(ctx, key); err != nil {
		return out, err
	}
	e, ok := c.tiers.Local(key)
	switch {
	case ok && e.Fresh() && e.Absent:
		c.count.results[ResultNegative].Inc()
		return hit(&e, ResultHit, 1)
	case ok && e.Fresh():
		c.count.hits.Inc()
		if due(&c.policy, &e) {
			old := e
			c.refresh(ctx, key, load, &old)
		}
		return hit(&e, ResultHit, 1)
	case ok && revalidates(&c.policy, &e):
		c.count.results[ResultStale].Inc()
		old := e
		c.refresh(ctx, key, load, &old)
		return hit(&e, ResultStale, 1)
	}
	var have *outcome[V]
	if ok && covers(&c.policy, &e) {
		have = stale(&e, 1, nil)
	}
	return c.miss(ctx, key, load, have)
}

// miss is Get once memory cannot answer. have is what it could do with.
func (c *Cache[K, V]) miss(ctx context.Context, key K, load LoadFunc[K, V], have *outcome[V]) (out outcome[V], err error) {
	f := c.newFill(key, load)
	if h := c.opts.Hooks.GetStart; h != nil {
		ctx = h(ctx, GetStart{Key: f.skey})
	}
	wait := flight.Wait[outcome[V]]{
		Follow: c.observe, Have: have, Soft: c.policy.SoftTimeout, Hard: c.policy.HardTimeout,
	}
	wait.Apart = wait.Soft > 0 || wait.Hard > 0
	var way flight.Way
	for tries := 0; ; tries++ {
		out, way, err = c.flown.Do(ctx, f.skey, &f.call, f, wait)
		if err != errAgain || tries == 10 { //nolint:errorlint // ours, bare
			break
		}
		f = c.newFill(key, load)
	}
	out, err = c.settle(ctx, out, way, have, err)
	c.freeFill(f, way)
	if out.due != nil && way == flight.Led {
		c.refresh(ctx, key, load, out.due)
	}
	return out, err
}

// settle gives a flight's result its name, and counts and tells it.
func (c *Cache[K, V]) settle(ctx context.Context, out outcome[V], way flight.Way, have *outcome[V], err error) (outcome[V], error) {
	out, err = c.tally(ctx, out, way, have, err)
	if h := c.opts.Hooks.GetDone; h != nil {
		h(ctx, GetDone{Result: out.result, Tier: out.tier, Age: out.age, Why: out.why, Degraded: out.degraded, Err: err})
	}
	return out, err
}

// tally gives a flight's result its name, and counts it.
func (c *Cache[K, V]) tally(ctx context.Context, out outcome[V], way flight.Way, have *outcome[V], err error) (outcome[V], error) {
	if err != nil && have != nil && !errors.Is(err, ErrNotFound) && ctx.Err() == nil {
		why := translate(err)
		out, err = *have, nil // the flight did not know what this caller has
		out.why = why
	}
	if err == nil && out.why != nil {
		c.count.staleIfError.Add(1)
	}
	switch {
	case errors.Is(err, flight.ErrPatience):
		c.count.hardTimeouts.Add(1)
	case errors.Is(err, flight.ErrCrowded):
		c.count.overloads.Add(1)
	case errors.Is(err, ErrCooling):
		c.count.cooled.Add(1)
	}
	err = translate(err)
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		out.result = ResultError
	case way == flight.Shared && !out.stale:
		out.result = ResultShared
	}
	c.count.results[out.result].Inc()
	return out, err
}

// follow observes a caller that joined another's flight.
func (c *core[K, V]) follow(ctx context.Context, call *flight.Call[outcome[V]]) func(way flight.Way, err error) {
	began := clock.Now()
	if h := c.opts.Hooks.WaitStart; h != nil {
		ctx = h(ctx, WaitStart{Tag: call.Tag()})
	}
	return func(way flight.Way, err error) {
		info := WaitDone{Tag: call.Tag(), Waited: time.Duration(clock.Now() - began), Err: translate(err)}
		info.Canceled = err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx))
		info.Stale = way == flight.FellBack
		c.count.waits.Add(1)
		c.count.waitTime.Add(int64(info.Waited))
		if info.Canceled || errors.Is(err, flight.ErrPatience) || errors.Is(err, flight.ErrHopeless) {
			c.count.waitTimeouts.Add(1)
		}
		if h := c.opts.Hooks.WaitDone; h != nil {
			h(ctx, info)
		}
	}
}

// hit turns a usable entry into the flight's outcome.
func hit[V any](e *tier.Entry[V], result Result, index int) (outcome[V], error) {
	out := outcome[V]{value: e.Value, result: result, tier: index, age: e.Age, meta: e.Meta, stale: !e.Fresh()}
	if e.Absent {
		if result == ResultHit {
			out.result = ResultNegative
		}
		return out, ErrNotFound
	}
	return out, nil
}

// stale turns a stale entry into what a caller can do with.
func stale[V any](e *tier.Entry[V], index int, why error) *outcome[V] {
	return &outcome[V]{value: e.Value, result: ResultStale, tier: index, age: e.Age, meta: e.Meta, stale: true, why: why}
}
