package cache

import (
	"context"
	"errors"
	"maps"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// GetMany returns the values of keys. What memory does not have fresh is asked
// of the shared tier in one round trip (in a cluster, one for each node), which
// also takes the leases of what is missing there; Options.LoadMany is called
// once, with the keys whose lease was won, and the others are waited for.
// Batches and single Gets share each other's flights.
//
// A key that is neither in the result nor in the error is not found. If some
// keys fail, the error is a [*BatchError], and the result has the others.
func (c *Cache[K, V]) GetMany(ctx context.Context, keys []K) (map[K]V, error) {
	load := c.opts.LoadMany
	if load == nil && c.load != nil {
		load = c.loadEach
	}
	return c.GetOrLoadMany(ctx, keys, load)
}

// GetOrLoadMany is GetMany with a loader for this call.
func (c *Cache[K, V]) GetOrLoadMany(ctx context.Context, keys []K, load LoadManyFunc[K, V]) (map[K]V, error) {
	var zero K
	if err := c.check(ctx, zero); err != nil && !errors.Is(err, ErrKey) {
		return nil, err
	}
	b := &batch[K, V]{cache: c, load: load, found: make(map[K]V, len(keys))}
	asked := make(map[K]struct{}, len(keys))
	for _, key := range keys {
		if c.panics && !canCompare(key) {
			return nil, ErrKey // it cannot be told which one in a map
		}
		if _, twice := asked[key]; !twice {
			asked[key] = struct{}{}
			b.near(ctx, key)
		}
	}
	if len(b.missing) > 0 {
		b.far(ctx)
	}
	if len(b.failed) > 0 {
		return b.found, &BatchError[K]{Cache: c.opts.Name, Errs: b.failed}
	}
	return b.found, nil
}

// loadEach is a LoadManyFunc of the loader for one key.
func (c *core[K, V]) loadEach(ctx context.Context, keys []K) (map[K]V, error) {
	found, failed := make(map[K]V, len(keys)), make(map[K]error)
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(min(16, c.opts.MaxLoads))
	for _, key := range keys {
		g.Go(func() (err error) {
			err = ErrGoexit
			var v V
			defer func() {
				if p := recover(); p != nil {
					err = &PanicError{Value: p, Stack: debug.Stack()}
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					found[key] = v
				case !errors.Is(err, ErrNotFound):
					failed[key] = err
				}
				err = nil
			}()
			v, err = c.load(context.WithValue(ctx, loadKey{}, LoadFor[K, V](ctx, key)), key)
			return err
		})
	}
	_ = g.Wait() // the errors are in failed
	if len(failed) > 0 {
		return found, &BatchError[K]{Cache: c.opts.Name, Errs: failed}
	}
	return found, nil
}

// batch is one GetMany.
type batch[K comparable, V any] struct {
	cache   *Cache[K, V]
	load    LoadManyFunc[K, V]
	found   map[K]V
	absent  int
	failed  map[K]error
	missing []wanted[K, V]
}

// wanted is a key that memory does not have fresh.
type wanted[K comparable, V any] struct {
	key  K
	have *outcome[V]
}

// near answers from memory, or notes that it cannot.
func (b *batch[K, V]) near(ctx context.Context, key K) {
	c := b.cache
	if v, ok := c.tiers.Fresh(key); ok {
		c.count.hits.Inc()
		b.found[key] = c.clone(v)
		return
	}
	e, ok := c.tiers.Local(key)
	var have *outcome[V]
	switch {
	case ok && e.Fresh() && e.Absent:
		c.count.results[ResultNegative].Inc()
		b.absent++
		return
	case ok && e.Fresh():
		c.count.hits.Inc()
		b.found[key] = c.clone(e.Value)
		if due(&c.policy, &e) {
			c.refresh(ctx, key, b.loadOne, &e)
		}
		return
	case ok && revalidates(&c.policy, &e):
		c.count.results[ResultStale].Inc()
		b.found[key] = c.clone(e.Value)
		c.refresh(ctx, key, b.loadOne, &e)
		return
	case ok && covers(&c.policy, &e):
		have = stale(&e, 1, nil)
	}
	b.missing = append(b.missing, wanted[K, V]{key, have})
}

// loadOne is the LoadFunc of a key that does not travel with its batch: it is
// refreshed, or was left by another process that was loading it.
func (b *batch[K, V]) loadOne(ctx context.Context, key K) (v V, err error) {
	if b.load == nil {
		return v, ErrNoLoader
	}
	ctx = context.WithValue(ctx, loadKey{}, map[K]*Load[V]{key: LoadFrom[V](ctx)})
	found, err := b.load(ctx, []K{key})
	v, err = pick(found, err, key)
	return v, err
}

// pick is one key's part of what a LoadManyFunc has returned.
func pick[K comparable, V any](found map[K]V, err error, key K) (V, error) {
	v, ok := found[key]
	several := new(BatchError[K])
	switch {
	case ok:
		return v, nil
	case err == nil:
		return v, ErrNotFound
	case errors.As(err, &several):
		if one := several.Errs[key]; one != nil {
			return v, one
		}
		return v, ErrNotFound
	}
	return v, err
}

// far answers what memory could not.
func (b *batch[K, V]) far(ctx context.Context) {
	c := b.cache
	if h := c.opts.Hooks.ManyStart; h != nil {
		ctx = h(ctx, ManyStart{Keys: len(b.missing)})
	}
	found, absent := len(b.found), b.absent
	flights, err := c.flown.NewBatch()
	if err != nil {
		for _, w := range b.missing {
			b.end(ctx, w, outcome[V]{}, flight.Led, err)
		}
	} else {
		b.fly(ctx, flights)
		flights.Close()
	}
	if h := c.opts.Hooks.ManyDone; h != nil {
		info := ManyDone{Found: len(b.found) - found, Absent: b.absent - absent}
		if len(b.failed) > 0 {
			info.Err = &BatchError[K]{Cache: c.opts.Name, Errs: maps.Clone(b.failed)}
		}
		h(ctx, info)
	}
}

// fly opens or joins a flight for each key and waits for all.
func (b *batch[K, V]) fly(ctx context.Context, flights *flight.Batch[outcome[V]]) {
	c := b.cache
	var led []*fill[K, V]
	began := c.stack.Instant()
	for _, w := range b.missing {
		f := &fill[K, V]{cache: c, key: w.key, skey: c.key(w.key), load: b.loadOne, began: began}
		if flights.Open(ctx, f.skey, &f.call) {
			led = append(led, f)
		}
	}
	flights.Run(ctx, func(ctx context.Context) { b.run(ctx, led) })
	wait := flight.Wait[outcome[V]]{Follow: c.observe, Soft: c.policy.SoftTimeout, Hard: c.policy.HardTimeout}
	for i, w := range b.missing {
		wait.Have = w.have
		out, way, err := flights.Await(ctx, i, wait)
		if err == errAgain { //nolint:errorlint // ours, bare
			out, err = c.miss(ctx, w.key, b.loadOne, w.have)
			b.keep(w.key, out, err)
			continue
		}
		b.end(ctx, w, out, way, err)
		if out.due != nil && way == flight.Led {
			c.refresh(ctx, w.key, b.loadOne, out.due)
		}
	}
}

// end takes a key's result.
func (b *batch[K, V]) end(ctx context.Context, w wanted[K, V], out outcome[V], way flight.Way, err error) {
	out, err = b.cache.tally(ctx, out, way, w.have, err)
	b.keep(w.key, out, err)
}

func (b *batch[K, V]) keep(key K, out outcome[V], err error) {
	switch {
	case err == nil:
		b.found[key] = b.cache.clone(out.value)
	case errors.Is(err, ErrNotFound):
		b.absent++
	default:
		if b.failed == nil {
			b.failed = make(map[K]error)
		}
		b.failed[key] = err
	}
}

// run is the work of the flights that this batch leads.
func (b *batch[K, V]) run(ctx context.Context, led []*fill[K, V]) {
	c := b.cache
	keys, askers := make([]string, len(led)), make([]tier.Asker, len(led))
	for i, f := range led {
		keys[i], askers[i] = f.skey, f
		f.ctx, f.on = ctx, &f.call
		if e, ok := c.tiers.Local(f.key); ok {
			if covers(&c.policy, &e) {
				f.useStale(&e)
			}
			f.know(&e)
		}
	}
	if !c.tiers.Leases() {
		askers = nil
		for _, f := range led {
			f.introduce(ctx, &f.call)
		}
	}
	looks, errs := c.tiers.LookMulti(ctx, keys, askers)
	var loads []*fill[K, V]
	var waits sync.WaitGroup
	for i, f := range led {
		f.ctx, f.on = nil, nil
		switch out, ok, err := f.digest(ctx, &f.call, &looks[i], errs[i]); {
		case ok:
			f.call.Finish(out, err)
		case f.first != nil && f.first.Grant.Status == lock.Won:
			loads = append(loads, f)
		case f.degraded != nil, !c.tiers.Leases():
			if out, done, err := f.alone(); done {
				f.call.Finish(out, err)
				continue
			}
			loads = append(loads, f)
		default: // another process loads it, or what was found was rejected
			waits.Go(func() { // ends with the flight
				out, err := f.Run(ctx, &f.call)
				f.call.Finish(out, err)
			})
		}
	}
	if len(loads) > 0 {
		b.loadAll(ctx, loads)
	}
	waits.Wait()
}
