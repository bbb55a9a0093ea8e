package cache

import (
	"context"
	"errors"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// store keeps a loaded entry: in the shared tier under the lease, then in this
// process. The callers may all have left, which is no reason not to.
func (f *fill[K, V]) store(ctx context.Context, call *flight.Call[outcome[V]], lease *lock.Lease, e *tier.Entry[V]) {
	c := f.cache
	ctx = context.WithoutCancel(ctx)
	switch {
	case lease != nil:
		e.Fence = lease.Fence()
		began := c.stack.Instant()
		ok, err := c.tiers.Commit(ctx, f.skey, lease.Token(), e)
		if ok {
			e.Begun = began // nobody has changed the key before, or the lease would be gone
		} else {
			e.ID = 0 // it is not there
		}
		if f.committed(ctx, lease, ok, err) {
			return
		}
		f.setNearer(ctx, call, e)
	case !c.tiers.Leases():
		f.setShared(ctx, call, e)
	}
	e.Unshared = e.ID == 0 && c.tiers.Leases()
	// Unprotected, only this process keeps it: elsewhere it could overwrite
	// what a holder, a Set or a Delete has done meanwhile.
	call.Publish(e.ID, func() { c.tiers.SetLocal(f.key, e) })
}

// setShared writes an entry to tiers that know no leases, unless this process has
// set or deleted the key meanwhile.
func (f *fill[K, V]) setShared(ctx context.Context, call *flight.Call[outcome[V]], e *tier.Entry[V]) {
	f.unlessForgotten(ctx, call, func() { f.shared(f.cache.tiers.SetRemote(ctx, f.skey, e, 0)) })
}

// setNearer writes an entry that was committed to the tiers between that and
// memory.
func (f *fill[K, V]) setNearer(ctx context.Context, call *flight.Call[outcome[V]], e *tier.Entry[V]) {
	if at := f.cache.tiers.LeasesAt(); f.cache.tiers.Between(at) {
		f.unlessForgotten(ctx, call, func() { _ = f.cache.tiers.SetRemote(ctx, f.skey, e, at) }) // reported to Hooks.Tier
	}
}

// unlessForgotten writes while no Set or Delete of this process does.
func (f *fill[K, V]) unlessForgotten(ctx context.Context, call *flight.Call[outcome[V]], write func()) {
	unlock, err := f.cache.writes.lock(ctx, f.skey)
	if err != nil {
		return
	}
	defer unlock()
	if !call.Forgotten() {
		write()
	}
}

// shared counts an entry that could not be written to the shared tier. The error
// itself is reported to Hooks.Tier.
func (f *fill[K, V]) shared(err error) {
	if err != nil {
		f.cache.count.notStored.Add(1)
	}
}

// committed ends a lease whose commit was tried. It reports whether the lease
// was lost.
func (f *fill[K, V]) committed(ctx context.Context, lease *lock.Lease, ok bool, err error) (lost bool) {
	c := f.cache
	_ = lease.Settle(ctx, func(context.Context) (bool, error) { return ok, err }) // reported to Hooks.Lock
	switch {
	case err == nil && !ok:
		// Another load, a Set or a Delete has come after ours.
		c.count.leasesLost.Add(1)
		return true
	case errors.Is(err, backend.ErrUnavailable):
		c.count.notStored.Add(1)
		c.locker.Abandon(ctx, f.skey, lock.Request{Token: lease.Token()}) // it may only have been slow
	case err != nil: // too large, no room: it stays here only
		c.count.notStored.Add(1)
		_, _ = c.tiers.Release(ctx, f.skey, lease.Token(), backend.Failure{})
	}
	return false
}
