package tier

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bellwethercache/bellwether/backend"
)

// LeaseReply is one of four answers: Lookup.Found, Won, Cooling, or none of
// them.
type LeaseReply[V any] struct {
	Lookup Lookup[V]
	backend.LeaseReply
}

// Leases reports whether a tier of the stack leases: whether loads are
// coordinated between processes.
func (s *Stack[K, V]) Leases() bool { return s.leases != nil }

// LeasesAt is the place of the tier that leases; 0: none does.
func (s *Stack[K, V]) LeasesAt() int {
	if s.leases == nil {
		return 0
	}
	return s.leases.index
}

// Between reports whether there is a tier outside of this process that is written
// and nearer than the one at a place.
func (s *Stack[K, V]) Between(place int) bool {
	return len(s.written) > 0 && s.written[0].index < place
}

// Watch lets the leasing tier tell of key's lease: see backend.Notifier. It
// reports false if the tier cannot.
func (s *Stack[K, V]) Watch(key string, wake func(backend.Notice)) (stop func(), ok bool) {
	if s.leases == nil || s.leases.notifier == nil {
		return nil, false
	}
	return s.leases.notifier.Watch(key, wake), true
}

// Notifies reports whether Watch will.
func (s *Stack[K, V]) Notifies() bool { return s.leases != nil && s.leases.notifier != nil }

// Decode reads what a Notice brought.
func (s *Stack[K, V]) Decode(ctx context.Context, key string, raw []byte) (Lookup[V], error) {
	return s.leases.decode(ctx, key, raw, nil)
}

// Lease asks the shared tier for key's entry and, if it holds nothing but
// bytes that begin with req.Rejected, for the lease of its load.
func (s *Stack[K, V]) Lease(ctx context.Context, key string, req backend.LeaseRequest) (reply LeaseReply[V], err error) {
	r := s.leases
	if s.blind {
		req.Rejected = []byte{} // every value begins with nothing
	}
	owed := r.hides(key)
	reply.LeaseReply, err = lease(ctx, r, OpLease, func(ctx context.Context) (backend.LeaseReply, error) {
		return r.leaser.Lease(ctx, key, req)
	})
	if err == nil && reply.Value != nil {
		reply.Lookup, err = r.decode(ctx, key, reply.Value, owed)
	}
	return reply, err
}

// Commit writes the entry and ends the lease, if token holds it.
func (s *Stack[K, V]) Commit(ctx context.Context, key, token string, e *Entry[V]) (bool, error) {
	r := s.leases
	if r.backlog.newer(key, e.Begun) { // which the store does not know, or the lease would be gone
		_, err := s.Release(ctx, key, token, backend.Failure{})
		return false, err
	}
	b, ttl, err := r.encode(ctx, key, e)
	if err != nil {
		return false, err
	}
	ok, err := lease(ctx, r, OpCommit, func(ctx context.Context) (bool, error) {
		return r.leaser.Commit(ctx, key, token, b, ttl)
	})
	r.tellCommit(ctx, key, b, ok, err)
	if ok {
		r.backlog.settle(key, e.Begun)
	}
	return ok, err
}

// tellCommit publishes what a load has replaced, or may have. That this fails is
// reported to Hooks alone: the commit has succeeded all the same.
func (r *remote[V]) tellCommit(ctx context.Context, key string, b []byte, ok bool, err error) {
	if r.bus == nil || !ok && err == nil {
		return
	}
	began := r.begin()
	if err := r.publish(ctx, backend.Invalidation{Key: key, Head: b[:min(len(b), backend.HeadLen)]}); err != nil {
		r.end(ctx, OpCommit, began, err)
	}
}

// Renew extends the lease if token holds it.
func (s *Stack[K, V]) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	r := s.leases
	return lease(ctx, r, OpRenew, func(ctx context.Context) (bool, error) {
		return r.leaser.Renew(ctx, key, token, ttl)
	})
}

// Release ends the lease if token holds it, leaving a cool-down behind if the
// load has failed.
func (s *Stack[K, V]) Release(ctx context.Context, key, token string, f backend.Failure) (bool, error) {
	r := s.leases
	return lease(ctx, r, OpRelease, func(ctx context.Context) (bool, error) {
		return r.leaser.Release(ctx, key, token, f)
	})
}

// lease is a guarded, observed call of the tier that leases.
func lease[V, T any](ctx context.Context, r *remote[V], op Op, fn func(ctx context.Context) (T, error)) (T, error) {
	began := r.begin()
	val, err := guarded(ctx, r.guard, fn)
	r.end(ctx, op, began, err)
	return val, err
}

// LeaseMulti is Lease for many keys, in one call of a store that can.
func (s *Stack[K, V]) LeaseMulti(ctx context.Context, asks []backend.LeaseAsk) ([]LeaseReply[V], []error) {
	r := s.leases
	replies, errs := make([]LeaseReply[V], len(asks)), make([]error, len(asks))
	if r.multi == nil {
		each(len(asks), func(i int) { replies[i], errs[i] = s.Lease(ctx, asks[i].Key, asks[i].LeaseRequest) })
	} else {
		hidden := make([]*owed[V], len(asks))
		for i := range asks {
			hidden[i] = r.hides(asks[i].Key)
		}
		answers, err := lease(ctx, r, OpLease, func(ctx context.Context) ([]backend.LeaseAnswer, error) {
			answers := r.multi.LeaseMulti(ctx, asks)
			return answers, commonError(len(answers), func(i int) error { return answers[i].Err })
		})
		for i := range asks {
			if i >= len(answers) {
				errs[i] = err
				continue
			}
			replies[i].LeaseReply, errs[i] = answers[i].LeaseReply, answers[i].Err
			if errs[i] == nil && replies[i].Value != nil {
				replies[i].Lookup, errs[i] = r.decode(ctx, asks[i].Key, replies[i].Value, hidden[i])
			}
		}
	}
	for i := range replies {
		r.tally(replies[i].Lookup.Found, errs[i])
	}
	return replies, errs
}

// CommitOne is one entry of a CommitMulti.
type CommitOne[V any] struct {
	Key, Token string
	Entry      *Entry[V]
}

// CommitMulti is Commit for many keys, in one call of a store that can.
func (s *Stack[K, V]) CommitMulti(ctx context.Context, all []CommitOne[V]) ([]bool, []error) {
	r := s.leases
	oks, errs := make([]bool, len(all)), make([]error, len(all))
	if r.multi == nil {
		each(len(all), func(i int) { oks[i], errs[i] = s.Commit(ctx, all[i].Key, all[i].Token, all[i].Entry) })
		return oks, errs
	}
	var asks []backend.CommitAsk
	var at []int // of each ask in all
	for i, one := range all {
		if r.backlog.newer(one.Key, one.Entry.Begun) {
			_, errs[i] = s.Release(ctx, one.Key, one.Token, backend.Failure{})
			continue
		}
		b, ttl, err := r.encode(ctx, one.Key, one.Entry)
		if err != nil {
			errs[i] = err
			continue
		}
		asks, at = append(asks, backend.CommitAsk{Key: one.Key, Token: one.Token, Value: b, TTL: ttl}), append(at, i)
	}
	if len(asks) == 0 {
		return oks, errs
	}
	answers, err := lease(ctx, r, OpCommit, func(ctx context.Context) ([]backend.CommitAnswer, error) {
		answers := r.multi.CommitMulti(ctx, asks)
		return answers, commonError(len(answers), func(i int) error { return answers[i].Err })
	})
	for n, i := range at {
		if n >= len(answers) {
			errs[i] = err
			continue
		}
		if oks[i], errs[i] = answers[n].OK, answers[n].Err; oks[i] {
			r.backlog.settle(all[i].Key, all[i].Entry.Begun)
		}
	}
	if r.bus != nil {
		each(len(asks), func(n int) { r.tellCommit(ctx, asks[n].Key, asks[n].Value, oks[at[n]], errs[at[n]]) })
	}
	return oks, errs
}

// commonError is what the breaker is to hear of a call for many keys: an error
// only if no key got an answer.
func commonError(n int, at func(i int) error) (err error) {
	for i := range n {
		if err = at(i); err == nil {
			return nil
		}
	}
	return err
}

// each calls fn for 0 to n-1, a few at a time.
func each(n int, fn func(i int)) {
	var g errgroup.Group
	g.SetLimit(16)
	for i := range n {
		g.Go(func() error {
			fn(i)
			return nil
		})
	}
	_ = g.Wait() // fn reports by itself
}
