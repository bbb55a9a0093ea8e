package cache

import (
	"context"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// fill is the work of one flight: look, acquire, load, store.
type fill[K comparable, V any] struct {
	call  flight.Call[outcome[V]]
	cache *Cache[K, V]
	key   K
	skey  string
	began int64 // tier.Stack.Instant: what it stores is no younger
	load  LoadFunc[K, V]

	background bool // a refresh of stale, which may be fresh: nobody waits for it

	probed   bool           // Probe went to its end
	lapsed   bool           // memory held the entry to its end
	stale    *tier.Entry[V] // usable if nothing better is to be had
	known    *tier.Entry[V] // what the loader may revalidate, usable or not
	seen     []byte         // begins what the shared tier holds and we cannot use
	degraded error          // why the shared tier gave no answer

	first   *lock.Attempt    // for the lease; nil: not made, or of no use
	unsure  bool             // its answer is not known: it may have won
	watch   *watch           // on the lease; nil: not begun
	found   *tier.Entry[V]   // what makes a load needless
	cooling *backend.Cooling // what forbids it

	ctx context.Context // for Ask
	on  *flight.Call[outcome[V]]
}

// newFill takes one that a remote hit has left behind, if there is one.
func (c *Cache[K, V]) newFill(key K, load LoadFunc[K, V]) *fill[K, V] {
	f, _ := c.fills.Get().(*fill[K, V])
	if f == nil {
		f = new(fill[K, V])
	}
	f.cache, f.key, f.skey, f.load, f.began = c, key, c.key(key), load, c.stack.Instant()
	return f
}

// freeFill keeps f for the next, if it led a flight that nobody joined and
// that ended where it began, or never led one.
func (c *Cache[K, V]) freeFill(f *fill[K, V], way flight.Way) {
	if way == flight.Shared || way == flight.Led && f.call.Reset() {
		*f = fill[K, V]{}
		c.fills.Put(f)
	}
}

// Probe looks in all tiers, on the leader's own goroutine.
//
// The nearest tier is looked at again, because between this caller's miss and
// its flight another flight may have begun, filled it and ended:
//
//	1 A misses                    4 B's flight fills L1 and ends
//	2 B misses                    5 A finds no flight, leads its own
//	3 B's flight loads            6 A would load a second time
func (f *fill[K, V]) Probe(ctx context.Context, call *flight.Call[outcome[V]]) (out outcome[V], ok bool, err error) {
	tiers := f.cache.tiers
	p := &f.cache.policy
	if e, ok := tiers.Local(f.key); ok {
		switch {
		case e.Fresh():
			out, err = hit(&e, ResultHit, 1)
			return out, true, err
		case covers(p, &e):
			f.useStale(&e)
		}
		f.know(&e)
	} else {
		f.lapsed = tiers.Lapsed(f.key)
	}
	f.ctx, f.on = ctx, call
	var asker tier.Asker
	if tiers.Leases() && !f.background {
		asker = f
	}
	look, err := tiers.Look(ctx, f.skey, f.lapsed, asker)
	f.ctx, f.on = nil, nil
	if ctx.Err() != nil && (err != nil || !look.Asked) {
		f.Drop()
		return out, false, nil // a follower's context may still live: Run begins anew
	}
	return f.digest(ctx, call, &look, err)
}

// digest takes in what the tiers have answered. It reports whether that is
// enough.
func (f *fill[K, V]) digest(ctx context.Context, call *flight.Call[outcome[V]], look *tier.Look[V], err error) (out outcome[V], ok bool, _ error) {
	p := &f.cache.policy
	f.probed, f.degraded = true, err
	if err == nil && look.Asked {
		f.answered(look.Reply)
	}
	switch {
	case look.Found && look.Entry.Fresh():
		out, err = f.fresh(ctx, call, look)
		return out, true, err
	case look.Found && revalidates(p, &look.Entry) && !f.background:
		old := look.Entry
		f.promote(ctx, call, &old, look.Index)
		out, err = hit(&old, ResultStale, look.Index)
		out.due = &old
		f.Drop()
		return out, true, err
	}
	f.reject(&look.Lookup)
	if err != nil {
		f.Drop() // what may have been won without our hearing of it
		return out, false, nil
	}
	return f.unfound()
}

// fresh ends a probe that has found what it looked for.
func (f *fill[K, V]) fresh(ctx context.Context, call *flight.Call[outcome[V]], look *tier.Look[V]) (outcome[V], error) {
	out, err := hit(&look.Entry, ResultHit, look.Index)
	if e := &look.Entry; !e.Absent && due(&f.cache.policy, e) {
		old := *e
		out.due = &old
	}
	if look.Index > 1 {
		up := look.Entry
		f.promote(ctx, call, &up, look.Index)
	}
	f.Drop()
	return out, err
}

// unfound ends a probe that has found nothing, if the answer to Ask forbids a
// load or makes it another's.
func (f *fill[K, V]) unfound() (out outcome[V], ok bool, err error) {
	switch {
	case f.first == nil:
		return out, false, nil
	case f.cooling != nil:
		f.Drop()
		out, err = f.refuse()
		return out, true, err
	case f.first.Grant.Status == lock.Held && f.stale != nil:
		f.Drop()
		return *stale(f.stale, 0, ErrInProgress), true, nil
	}
	return out, false, nil
}

// answered takes in the answer to Ask.
func (f *fill[K, V]) answered(reply backend.LeaseReply) {
	f.unsure = false
	if reply.Value != nil { // what is to be made of it is seen elsewhere; there is no lease in it
		f.first = nil
		return
	}
	f.first.Grant = grant(reply)
	f.cooling = reply.Cooling
}

// Ask makes the request for the lease. The watch begins before it is sent: a
// lease that ends in between would be slept through.
func (f *fill[K, V]) Ask() backend.LeaseRequest {
	c := f.cache
	req := c.locker.NewRequest()
	req.Usual = c.usual.get()
	if f.stale != nil && f.stale.Cost > 0 {
		req.Usual = f.stale.Cost
	}
	if tag := c.opts.Hooks.Tag; tag != nil {
		req.Tag = tag(f.ctx)
		f.on.SetTag(req.Tag)
	}
	if !f.background {
		req.Watch = f.beginWatch()
	}
	f.first, f.unsure = &lock.Attempt{Request: req, Asked: time.Now()}, true
	return leaseRequest(req)
}

// Drop implements flight.Work: it gives back what Probe has taken.
func (f *fill[K, V]) Drop() {
	f.endWatch()
	if f.first != nil && (f.unsure || f.first.Grant.Status == lock.Won) {
		f.cache.locker.Abandon(context.Background(), f.skey, f.first.Request)
	}
	f.first, f.unsure = nil, false
}

// reject remembers what was found and cannot be served as fresh.
func (f *fill[K, V]) reject(look *tier.Lookup[V]) {
	f.seen = look.Seen
	if look.Found && covers(&f.cache.policy, &look.Entry) {
		f.useStale(&look.Entry)
	}
	if look.Found {
		f.know(&look.Entry)
	}
}

// know keeps the youngest entry that was seen, for the loader.
func (f *fill[K, V]) know(e *tier.Entry[V]) {
	if !e.Absent && (f.known == nil || e.Age < f.known.Age) {
		kept := *e
		f.known = &kept
	}
}

func (f *fill[K, V]) useStale(e *tier.Entry[V]) {
	if f.stale == nil || e.Age < f.stale.Age {
		kept := *e
		f.stale = &kept
	}
}

// promote writes what tier index held to the tiers above it.
func (f *fill[K, V]) promote(ctx context.Context, call *flight.Call[outcome[V]], e *tier.Entry[V], index int) {
	f.setDue(e)
	e.Begun = f.began
	kept := call.Publish(e.ID, func() { f.cache.tiers.SetLocal(f.key, e) })
	if kept && index > 1 && f.cache.tiers.Between(index) {
		f.unlessForgotten(ctx, call, func() { _ = f.cache.tiers.SetRemote(ctx, f.skey, e, index) }) // reported to Hooks.Tier
	}
}

func (f *fill[K, V]) setDue(e *tier.Entry[V]) {
	if e.Fresh() && !e.Absent {
		e.DueIn = dueIn(&f.cache.policy, e)
	}
}
