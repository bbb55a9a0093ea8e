package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"golang.org/x/sync/errgroup"
)

// WarmOptions configure a [Cache.Warm]. The zero value means the defaults.
type WarmOptions struct {
	// Batch is how many keys are asked for at once. Defaults to 100.
	Batch int

	// Concurrency is how many batches run at once. Defaults to 4.
	Concurrency int

	// NoLoad only brings into memory what the shared tiers hold.
	NoLoad bool

	// Progress, if not nil, is told of each batch that has ended: never two at
	// once.
	Progress func(WarmStats)
}

// WarmStats count the keys of a Warm. Keys of batches that its end cut short are
// in none.
type WarmStats struct {
	Done    int // the sum of the others
	Found   int // in memory now, or read, if the policy keeps nothing there
	Absent  int // the source has none
	Missing int // that no tier holds; with NoLoad
	Failed  int
}

// Warm brings keys into memory, and into the shared tiers what they do not hold,
// before anybody asks for them. It reads in batches as GetMany does, so leases
// hold: of a fleet that warms up at once, one process loads each key. It stops,
// with the cause, when ctx ends; if some keys have failed, its error is of one of
// them. Where changes by other processes are told, it waits up to a second for
// that to begin. keys is drawn from by this goroutine alone.
func (c *Cache[K, V]) Warm(ctx context.Context, keys iter.Seq[K], opts WarmOptions) (WarmStats, error) {
	if err := c.usable(ctx); err != nil {
		return WarmStats{}, err
	}
	switch {
	case opts.Batch < 0:
		return WarmStats{}, fmt.Errorf("cache: WarmOptions.Batch: must not be negative, is %d", opts.Batch)
	case opts.Concurrency < 0:
		return WarmStats{}, fmt.Errorf("cache: WarmOptions.Concurrency: must not be negative, is %d", opts.Concurrency)
	case !opts.NoLoad && c.load == nil && c.opts.LoadMany == nil:
		return WarmStats{}, fmt.Errorf("%w, or set WarmOptions.NoLoad", ErrNoLoader)
	}
	c.stack.AwaitNews(ctx, newsWait)
	w := &warmUp[K, V]{cache: c, opts: opts}
	err := w.run(ctx, keys)
	switch {
	case err != nil:
		return w.stats, err
	case w.first != nil:
		return w.stats, fmt.Errorf("cache %q: warm: %d of %d keys have failed; one of them: %w",
			c.opts.Name, w.stats.Failed, w.stats.Done, w.first)
	}
	return w.stats, nil
}

// usable refuses what check does, of a call that concerns no key.
func (c *Cache[K, V]) usable(ctx context.Context) error {
	switch {
	case ctx == nil:
		return ErrNilContext
	case c.bad != nil:
		return c.bad
	case c.closed.Load():
		return ErrClosed
	}
	return nil
}

// warmUp is one Warm.
type warmUp[K comparable, V any] struct {
	cache *Cache[K, V]
	opts  WarmOptions

	mu    sync.Mutex
	stats WarmStats
	first error // of a key
}

// run draws keys and hands them out.
func (w *warmUp[K, V]) run(ctx context.Context, keys iter.Seq[K]) error {
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(cmp.Or(w.opts.Concurrency, 4))
	size := cmp.Or(w.opts.Batch, 100)
	defer func() { _ = g.Wait() }() // also if keys panics
	var batch []K
	flush := func() {
		if full := batch; len(full) > 0 {
			batch = nil
			g.Go(func() error { return w.one(running, full) }) // waits for its turn
		}
	}
	for key := range keys {
		if running.Err() != nil {
			break
		}
		if batch = append(batch, key); len(batch) >= size {
			flush()
		}
	}
	if running.Err() == nil {
		flush()
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// one warms a batch. Its error ends the Warm.
func (w *warmUp[K, V]) one(ctx context.Context, keys []K) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var did WarmStats
	var first error
	if w.opts.NoLoad {
		placed, err := w.cache.promote(ctx, keys)
		if placed == nil {
			return err
		}
		first = err
		for _, p := range placed {
			did.count(p)
		}
	} else {
		found, err := w.cache.GetMany(ctx, keys)
		some := new(BatchError[K])
		if err != nil && !errors.As(err, &some) {
			return err
		}
		for _, first = range some.Errs {
			break
		}
		did.Found, did.Failed = len(found), len(some.Errs)
		did.Absent = distinct(keys) - did.Found - did.Failed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if w.cache.closed.Load() {
		return ErrClosed
	}
	w.add(did, first)
	return nil
}

func (s *WarmStats) count(p placement) {
	switch p {
	case placedValue:
		s.Found++
	case placedAbsent:
		s.Absent++
	case placedFailed:
		s.Failed++
	default:
		s.Missing++
	}
}

func (w *warmUp[K, V]) add(did WarmStats, first error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.stats
	s.Found += did.Found
	s.Absent += did.Absent
	s.Missing += did.Missing
	s.Failed += did.Failed
	s.Done = s.Found + s.Absent + s.Missing + s.Failed
	if w.first == nil {
		w.first = first
	}
	if w.opts.Progress != nil {
		w.opts.Progress(*s)
	}
}

func distinct[K comparable](keys []K) int {
	set := make(map[K]struct{}, len(keys))
	for _, key := range keys {
		set[key] = struct{}{}
	}
	return len(set)
}
