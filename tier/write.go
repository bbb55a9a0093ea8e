package tier

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// WriteRemote writes what was set to the tiers outside of this process, farthest
// first, and joins their errors. One that refuses it (too large, not to be
// encoded) is made to hold nothing older, and so is one that is passed by and nearer
// than one that is written. What could not be done is queued, so one
// writer of a key must be at work at a time.
func (s *Stack[K, V]) WriteRemote(ctx context.Context, key string, e *Entry[V]) error {
	var errs []error
	for i := len(s.written) - 1; i >= 0; i-- {
		r := s.written[i]
		b, err := r.set(ctx, key, e)
		switch {
		case err == nil:
			r.backlog.settle(key, math.MaxInt64)
		case untold(err):
			err = r.backlog.owe(key, owed[V]{op: OpSet, told: true, at: s.tags.moment()}, err)
		case unreached(err) || ctx.Err() != nil:
			kept, d := *e, owed[V]{op: OpSet, bytes: len(b), at: s.tags.moment()}
			d.entry, d.over = &kept, s.inMemory(key)
			if b == nil { // the time is not known yet
				d.bytes = r.weigh(key, e)
			}
			if r.leaser != nil && s.request != nil {
				d.request = s.request()
			}
			err = r.backlog.owe(key, d, err)
		default:
			err = errors.Join(err, s.change(r, OpDelete, key, r.delete(ctx, key)))
		}
		errs = append(errs, err)
	}
	for _, r := range s.passedFar {
		errs = append(errs, s.change(r, OpDelete, key, r.delete(ctx, key)))
	}
	return errors.Join(errs...)
}

// inMemory returns the IDs of what is in memory under a key.
func (s *shared[K, V]) inMemory(key string) (ids []uint64) {
	k, ok := s.keyOf(key)
	if !ok {
		return nil
	}
	for _, l := range s.locals {
		if n := l.node(k); n != nil && n.id != 0 {
			ids = append(ids, n.id)
		}
	}
	return ids
}

// prompt is for how long a writer waits for what is mostly known without asking.
const prompt = 5 * time.Millisecond

// weigh is how much a value takes; 0: it cannot be encoded.
func (r *remote[V]) weigh(key string, e *Entry[V]) (bytes int) {
	var err error
	defer recovered(&err)
	b, _ := r.marshal(nil, key, e)
	return len(b)
}

// DeleteRemote removes key from the tiers outside of this process as WriteRemote
// writes them.
func (s *shared[K, V]) DeleteRemote(ctx context.Context, key string) error {
	var errs []error
	for i := len(s.remote) - 1; i >= 0; i-- {
		r := s.remote[i]
		errs = append(errs, s.change(r, OpDelete, key, r.delete(ctx, key)))
	}
	return errors.Join(errs...)
}

// ExpireRemote makes key's entry stale in the tiers outside of this process as
// WriteRemote writes them.
func (s *shared[K, V]) ExpireRemote(ctx context.Context, key string) error {
	var errs []error
	for i := len(s.remote) - 1; i >= 0; i-- {
		r := s.remote[i]
		errs = append(errs, s.change(r, OpExpire, key, r.expire(ctx, key)))
	}
	return errors.Join(errs...)
}

// change takes in what came of a change of key: what was to be made up for has been,
// or this is.
func (s *shared[K, V]) change(r *remote[V], op Op, key string, err error) error {
	if err == nil {
		r.backlog.settle(key, math.MaxInt64)
		return nil
	}
	d := owed[V]{op: op, told: untold(err), at: s.tags.moment()}
	if op == OpDelete && r == s.far && !r.own {
		d.asOf = s.passed(prompt)
	}
	return r.backlog.owe(key, d, err)
}

// SetLocal writes e to the in-process tiers. Where the store tells only of what was
// read, it will not tell of what could not be shared with it.
func (s *Stack[K, V]) SetLocal(key K, e *Entry[V]) {
	if e.Unshared && s.deaf != nil && s.far.teller.CoherenceMode() == backend.CoherenceKeys {
		short := *e
		short.FreshFor, short.LivesFor = min(e.FreshFor, spare), min(e.LivesFor, spare)
		e = &short
	}
	for _, l := range s.nearbyTo {
		l.set(key, e)
	}
}

// PutLocal is SetLocal for what was set: tiers that are passed by and nearer than one
// that is written hold nothing older then.
func (s *Stack[K, V]) PutLocal(key K, e *Entry[V]) {
	for _, l := range s.passedNear {
		l.delete(key)
	}
	s.SetLocal(key, e)
}

// DeleteLocal removes key from the in-process tiers.
func (s *shared[K, V]) DeleteLocal(key K) {
	for _, l := range s.locals {
		l.delete(key)
	}
}

// ExpireLocal makes key's entry stale in the in-process tiers.
func (s *shared[K, V]) ExpireLocal(key K) {
	for _, l := range s.locals {
		l.expire(key)
	}
}
