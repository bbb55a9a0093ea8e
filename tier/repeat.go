package tier

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/internal/wire"
)

// errLater says that a Set can be repeated later and not now.
var errLater = errors.New("tier: not now")

// By how much one thing must have come before another for us to believe it, if the one
// is stamped by the server and the other by an estimate of its time: some round trips.
// Where a store gives no stamps, both are estimates.
const (
	surely     = 100 * time.Millisecond
	surelyBare = time.Second
)

// repeat writes what a Set could not, unless something newer has come since. With
// no way to tell, both go: the next read asks the source.
//
// What it cannot see is that another process has deleted the key meanwhile: of
// that nothing is left to be seen.
func (r *remote[V]) repeat(ctx context.Context, key string, d *owed[V]) error {
	x := &repeated[V]{remote: r, key: key, entry: *d.entry, over: d.over, req: d.request, margin: surely}
	if r.own {
		x.margin = surelyBare
	}
	x.late = time.Duration(clock.Now() - d.entry.Begun)
	e := &x.entry
	e.Age, e.FreshFor, e.LivesFor = e.Age+x.late, e.FreshFor-x.late, e.LivesFor-x.late
	if e.LivesFor <= 0 || r != r.far { // a tier between has copies
		return r.delete(ctx, key)
	}
	raw, err := x.look(ctx)
	switch {
	case err != nil:
		return err
	case x.made(raw): // the reply was lost
		return x.tell(ctx, raw)
	}
	if x.req.Token == "" {
		return x.bare(ctx)
	}
	again, err := x.leased(ctx)
	if again && err == nil {
		x.seen, x.id, x.held = nil, 0, nil // deleted, with the lease of a load that is older than the Set
		again, err = x.leased(ctx)
	}
	if again && err == nil {
		return errLater
	}
	return err
}

// repeated is a Set that is made up for.
type repeated[V any] struct {
	*remote[V]
	key    string
	entry  Entry[V]
	over   []uint64      // as in owed
	late   time.Duration // since it was made
	margin time.Duration
	req    backend.LeaseRequest

	// What the store holds: how it begins, nil if that is nothing; and what is known
	// of it, which is nothing of bytes that are not ours.
	seen    []byte
	id      uint64
	held    *wire.Header
	payload []byte
}

func (x *repeated[V]) look(ctx context.Context) (raw []byte, err error) {
	began := x.begin()
	raw, err = x.read(ctx, x.key)
	if errors.Is(err, backend.ErrMiss) {
		x.end(ctx, OpGet, began, nil)
		return nil, nil
	}
	x.end(ctx, OpGet, began, err)
	if err != nil {
		return nil, err
	}
	h, payload, err := wire.Parse(raw, x.key, x.codec.ID(), x.schema)
	if err != nil {
		h, payload = wire.Header{}, nil
	}
	x.id = wire.Identity(raw)
	x.seen, x.held, x.payload = raw[:min(len(raw), wire.HeaderSize)], &h, payload
	return raw, nil
}

// made reports whether the store holds the Set already: its reply, or that of the
// commit of an earlier attempt, was lost.
func (x *repeated[V]) made(raw []byte) bool {
	switch {
	case x.held == nil || x.held.AsOf == 0 || x.held.AsOf != x.entry.AsOf || x.held.Absent != x.entry.Absent, x.entry.FreshFor <= 0:
		return false
	case x.id == x.entry.ID:
		return true
	}
	b, err := x.safely(func() ([]byte, error) { return x.marshal(nil, x.key, &x.entry) })
	return err == nil && bytes.Equal(b, x.payload)
}

func (x *repeated[V]) safely(fn func() ([]byte, error)) (b []byte, err error) {
	defer recovered(&err)
	return fn()
}

// bare is for a store that does not lease.
func (x *repeated[V]) bare(ctx context.Context) error {
	now, err := x.now(ctx)
	if err != nil {
		return err
	}
	switch order := x.compare(now); {
	case order == newer:
		return nil
	case order == older && x.held == nil:
		_, err := x.set(ctx, x.key, &x.entry)
		return err
	case order == unsure || x.swapper == nil:
		return x.delete(ctx, x.key)
	}
	b, ttl, err := x.encode(ctx, x.key, &x.entry)
	if err != nil {
		return errors.Join(err, x.delete(ctx, x.key))
	}
	swapped, err := lease(ctx, x.remote, OpSet, func(ctx context.Context) (bool, error) {
		return x.swapper.Swap(ctx, x.key, x.seen, b, ttl)
	})
	if err == nil && !swapped {
		err = errLater // another has written meanwhile: perhaps what it had loaded before
	}
	if err != nil {
		return err
	}
	return x.tell(ctx, b)
}

// leased takes the key's lease, so that nothing can come in between what was read
// and what it writes. With again, it has to be tried again: the key was deleted.
func (x *repeated[V]) leased(ctx context.Context) (again bool, err error) {
	x.req.Rejected = x.seen
	reply, err := lease(ctx, x.remote, OpLease, func(ctx context.Context) (backend.LeaseReply, error) {
		return x.leaser.Lease(ctx, x.key, x.req)
	})
	switch {
	case err != nil: // it may have been won
		return false, x.release(ctx, err)
	case reply.Value != nil: // written since we looked, perhaps by a load that is older
		return false, errLater
	case reply.Cooling != nil: // a Set ends that
		return true, x.delete(ctx, x.key)
	case reply.Won:
		return false, x.commit(ctx, &reply)
	case reply.Since < x.late-x.margin: // of a load, which may fail, or of a replay, which may be older
		return false, errLater
	}
	return reply.Since > x.late+x.margin, x.delete(ctx, x.key)
}

func (x *repeated[V]) commit(ctx context.Context, won *backend.LeaseReply) error {
	now, err := x.now(ctx)
	if err != nil {
		return x.release(ctx, err)
	}
	if !x.own { // a fence may be that of an earlier attempt, whose reply was lost
		now = max(now, int64(min(won.Fence, math.MaxInt64)))
	}
	order := x.compare(now)
	if order == newer {
		return x.release(ctx, nil)
	}
	b, ttl, err := x.encode(ctx, x.key, &x.entry)
	if order == unsure || err != nil {
		if err = x.delete(ctx, x.key); err == nil || untold(err) { // and the lease
			return err
		}
		return x.release(ctx, err)
	}
	ok, err := lease(ctx, x.remote, OpCommit, func(ctx context.Context) (bool, error) {
		return x.leaser.Commit(ctx, x.key, won.Token, b, ttl)
	})
	switch {
	case err != nil:
		return x.release(ctx, err)
	case !ok: // lost to what is newer
		return nil
	}
	return x.tell(ctx, b)
}

// release gives the lease back, if it was won, and returns err.
func (x *repeated[V]) release(ctx context.Context, err error) error {
	ctx = context.WithoutCancel(ctx)
	_, failed := lease(ctx, x.remote, OpRelease, func(ctx context.Context) (bool, error) {
		return x.leaser.Release(ctx, x.key, x.req.Token, backend.Failure{})
	})
	return errors.Join(err, failed)
}

func (x *repeated[V]) tell(ctx context.Context, b []byte) error {
	return told(nil, x.publish(ctx, backend.Invalidation{Key: x.key, Head: b[:min(len(b), backend.HeadLen)]}))
}

// order is which of two things came first.
type order uint8

const (
	older  order = iota // the store holds nothing, or what is older
	newer               // than the Set
	unsure              // there is no telling
)

// compare tells what the store holds from the Set; now is the server's time. A Set
// that does not know as of when it is learns it.
//
// Older is what is so by the stamp that the Set was given, which is never too late;
// newer what is so by the time that has passed since, which is never too much: this
// process's clock stands still while its machine sleeps.
func (x *repeated[V]) compare(now int64) order {
	if x.own && x.clock == nil { // stamps are of many machines' clocks
		if x.held != nil && !slices.Contains(x.over, x.id) {
			return unsure
		}
		return older
	}
	at, margin := now-x.late.Microseconds(), x.margin.Microseconds()
	if x.entry.AsOf == 0 || x.entry.AsOf > uint64(max(at+margin, 0)) { // or of another server's clock
		x.entry.AsOf = uint64(max(at-margin, 1))
	}
	asOf := int64(min(x.entry.AsOf, math.MaxInt64))
	switch {
	case x.held == nil:
		return older
	case slices.Contains(x.over, x.id): // never 0
		return older
	case x.held.AsOf == 0:
		return unsure
	case x.held.AsOf > uint64(max(at+margin, 0)):
		return newer
	case x.held.AsOf < uint64(max(asOf-margin, 0)):
		return older
	}
	return unsure
}
