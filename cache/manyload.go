package cache

import (
	"cmp"
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// loadAll calls the loader once for all of loads, and keeps what it returns.
func (b *batch[K, V]) loadAll(ctx context.Context, loads []*fill[K, V]) {
	c := b.cache
	leases, role := b.hold(ctx, loads)
	keys, said := make([]K, len(loads)), make(map[K]*Load[V], len(loads))
	for i, f := range loads {
		keys[i] = f.key
		fence := uint64(0)
		if leases[i] != nil {
			fence = leases[i].Fence()
			// Also on panic and Goexit, so that nobody waits for a load that is over.
			defer func() { _ = leases[i].Release(context.WithoutCancel(ctx)) }()
		}
		said[f.key] = newLoad(cmp.Or(f.known, f.stale), fence, c.opts.Clone)
		if role != RoleUnprotected {
			said[f.key].asOf = c.tiers.AsOf(ctx, fence)
		}
		if f.stale != nil {
			f.call.Offer(*stale(f.stale, 0, nil))
		}
	}
	var found map[K]V
	var took = c.usual.get()
	err := ErrNoLoader
	if b.load != nil {
		loadCtx := context.WithValue(ctx, loadKey{}, said)
		found, took, err = runLoader(loadCtx, c.core, &c.policy, alarm{}, LoadStart{Role: role, Keys: len(keys)}, func(ctx context.Context) (map[K]V, error) {
			return b.load(ctx, keys)
		})
	}
	results := make([]manyResult[V], len(loads))
	for i, f := range loads {
		r := &results[i]
		v, err := pick(found, err, f.key)
		r.out, r.entry, r.err = f.judge(v, took, err, said[f.key])
		if r.entry == nil && r.err != nil && !errors.Is(r.err, ErrNotFound) {
			r.out, r.err = f.fail(ctx, leases[i], r.err)
		}
	}
	b.store(ctx, loads, leases, results)
	for i, f := range loads {
		f.call.Finish(results[i].out, results[i].err)
	}
}

// manyResult is a key's part of a load of many.
type manyResult[V any] struct {
	out   outcome[V]
	entry *tier.Entry[V] // nil: nothing to store
	err   error
}

// hold turns won attempts into leases, which renew themselves.
func (b *batch[K, V]) hold(ctx context.Context, loads []*fill[K, V]) (leases []*lock.Lease, role Role) {
	c := b.cache
	leases, role = make([]*lock.Lease, len(loads)), RoleUnprotected
	if !c.tiers.Leases() {
		role = RoleHolder
	}
	for i, f := range loads {
		if f.first != nil {
			leases[i], _ = c.locker.AcquireWith(ctx, f.skey, lock.Acquisition{First: f.first, NoWait: true})
			f.first = nil
			role = RoleHolder
		}
		f.endWatch()
	}
	return leases, role
}

// store keeps entries in the shared tier under their leases, then in this
// process.
func (b *batch[K, V]) store(ctx context.Context, loads []*fill[K, V], leases []*lock.Lease, results []manyResult[V]) {
	c := b.cache
	ctx = context.WithoutCancel(ctx)
	var commits []tier.CommitOne[V]
	var at []int
	for i, f := range loads {
		if e := results[i].entry; e != nil && leases[i] != nil {
			e.Fence = leases[i].Fence()
			commits, at = append(commits, tier.CommitOne[V]{Key: f.skey, Token: leases[i].Token(), Entry: e}), append(at, i)
		}
	}
	var free errgroup.Group
	free.SetLimit(16)
	for i := range loads {
		if leases[i] != nil && results[i].entry == nil { // before the flight ends: who comes next is to find the key free
			free.Go(func() error { return leases[i].Release(ctx) })
		}
	}
	_ = free.Wait() // reported to Hooks.Lock
	lost := make([]bool, len(loads))
	if len(commits) > 0 {
		began := c.stack.Instant()
		oks, errs := c.tiers.CommitMulti(ctx, commits)
		for n, i := range at {
			if e := results[i].entry; oks[n] {
				e.Begun = began
			} else {
				e.ID = 0
			}
			lost[i] = loads[i].committed(ctx, leases[i], oks[n], errs[n])
		}
	}
	var g errgroup.Group
	g.SetLimit(16)
	for i, f := range loads {
		e := results[i].entry
		if e == nil || lost[i] {
			continue
		}
		g.Go(func() error {
			if c.tiers.Leases() {
				f.setNearer(ctx, &f.call, e)
			} else {
				f.setShared(ctx, &f.call, e)
			}
			e.Unshared = e.ID == 0 && c.tiers.Leases()
			f.call.Publish(e.ID, func() { c.tiers.SetLocal(f.key, e) })
			return nil
		})
	}
	_ = g.Wait() // there are no errors
}
