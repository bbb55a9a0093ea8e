package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/tier"
)

// placement is what has become of a key that was to be brought into memory.
type placement uint8

const (
	placedNot    placement = iota // no tier holds it
	placedValue                   // it is in memory
	placedAbsent                  // in memory is that the source has none
	placedFailed                  // a tier could not be asked
)

// newsWait is for how long memory is not filled while it may be emptied at any
// moment, because changes by others begin to be told.
const newsWait = time.Second

// promote asks the tiers for keys, without any load, and keeps in memory what they
// hold. A caller that joins one of its flights begins anew if it finds nothing.
func (c *Cache[K, V]) promote(ctx context.Context, keys []K) (placed []placement, err error) {
	placed = make([]placement, len(keys))
	fills := make(map[int]*fill[K, V]) // by index of keys
	flights, err := c.flown.NewBatch()
	if err != nil {
		return nil, translate(err)
	}
	defer flights.Close()
	var asked []int
	var led []*fill[K, V]
	for i, key := range keys {
		if c.panics && !canCompare(key) {
			return nil, ErrKey
		}
		if e, ok := c.tiers.Local(key); ok && e.Fresh() {
			placed[i] = placedValue
			if e.Absent {
				placed[i] = placedAbsent
			}
			continue
		}
		asked = append(asked, i)
		f := &fill[K, V]{cache: c, key: key, skey: c.key(key), began: c.stack.Instant()}
		if flights.Open(ctx, f.skey, &f.call) {
			led, fills[i] = append(led, f), f
		}
	}
	flights.Run(ctx, func(ctx context.Context) { c.lookOnly(ctx, led) })
	for n, i := range asked {
		_, _, e := flights.Await(ctx, n, flight.Wait[outcome[V]]{})
		switch f := fills[i]; {
		case e == nil:
			placed[i] = placedValue
		case errors.Is(e, ErrNotFound):
			placed[i] = placedAbsent
		case errors.Is(e, errAgain) && (f == nil || f.degraded == nil):
			placed[i] = placedNot
		case errors.Is(e, errAgain):
			placed[i], err = placedFailed, f.degraded
		default:
			placed[i], err = placedFailed, translate(e)
		}
	}
	return placed, err
}

// lookOnly is the work of flights that load nothing.
func (c *Cache[K, V]) lookOnly(ctx context.Context, led []*fill[K, V]) {
	keys := make([]string, len(led))
	for i, f := range led {
		keys[i] = f.skey
	}
	looks, errs := c.tiers.LookMulti(ctx, keys, nil)
	for i, f := range led {
		out, ok, err := f.digest(ctx, &f.call, &looks[i], errs[i])
		if !ok {
			err = errAgain
		}
		f.call.Finish(out, err)
	}
}

// kept is an entry that was saved.
type kept[K comparable, V any] struct {
	key   K
	entry tier.Entry[V]
}

// keep brings saved entries into memory, where nothing newer is known of them. It
// reports which it has kept. Its flights make that one step with what a Delete
// does; the news are of what came before them.
func (c *Cache[K, V]) keep(ctx context.Context, list []kept[K, V], news *news) ([]bool, error) {
	done := make([]bool, len(list))
	flights, err := c.flown.NewBatch()
	if err != nil {
		return nil, translate(err)
	}
	defer flights.Close()
	fills := make([]*fill[K, V], len(list))
	for i := range list {
		f := &fill[K, V]{cache: c, key: list[i].key, skey: c.key(list[i].key)}
		if flights.Open(ctx, f.skey, &f.call) {
			fills[i] = f
		}
	}
	flights.Run(ctx, func(context.Context) {
		for i, f := range fills {
			if f == nil {
				continue // somebody reads or loads it
			}
			e := &list[i].entry
			f.setDue(e)
			known := news.has(f.skey)
			f.call.Publish(0, func() {
				if _, ok := c.stack.Local(f.key); !ok && !known {
					c.stack.SetLocal(f.key, e)
					done[i] = true
				}
			})
			out, err := hit(e, ResultHit, 1)
			if !done[i] {
				err = errAgain
			}
			f.call.Finish(out, err)
		}
	})
	have := new(outcome[V])
	for i, f := range fills {
		wait := flight.Wait[outcome[V]]{}
		if f == nil {
			wait.Have = have // its own caller sees to it
		}
		if _, _, e := flights.Await(ctx, i, wait); e != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return done, nil
}

// news are the keys that were written, here or elsewhere, while a Restore runs: what
// it brings of them is older. The zero value is ready to use.
type news struct {
	all  bool
	keys map[string]struct{}
	mu   sync.Mutex
}

// maxNews bounds them. Beyond it nothing more is restored.
const maxNews = 1 << 16

func (n *news) note(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all = n.all || len(n.keys) >= maxNews; n.all {
		n.keys = nil
		return
	}
	if n.keys == nil {
		n.keys = make(map[string]struct{})
	}
	n.keys[key] = struct{}{}
}

func (n *news) has(key string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.keys[key]
	return ok || n.all
}

// readers are the Restores that run. The zero value has none.
type readers struct {
	some atomic.Int32 // spares a write the mutex
	mu   sync.Mutex
	all  map[*news]struct{}
}

func (r *readers) begin() (n *news, end func()) {
	n = new(news)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[*news]struct{})
	}
	r.all[n] = struct{}{}
	r.some.Add(1)
	return n, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.all, n)
		r.some.Add(-1)
	}
}

// note tells them all of a key that was written.
func (r *readers) note(key string) {
	if r.some.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range r.all {
		n.note(key)
	}
}
