package tier

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/bellwethercache/bellwether/backend"
)

// Look is what the tiers outside of this process answered.
type Look[V any] struct {
	Lookup[V]
	Index int // of the tier that has the entry, 1 the nearest of all

	// Asked says that the leasing tier was asked for the entry or its lease in
	// one step. Reply is its answer, if there was no error.
	Asked bool
	Reply backend.LeaseReply
}

// Asker makes the request for a lease: see [Stack.Look].
type Asker interface{ Ask() backend.LeaseRequest }

// Look looks key up in the tiers outside of this process, nearest first. A tier
// that fails is passed by; its error is returned only with no value from any
// other.
//
// asker makes the request for the lease of a load. It is called if the tier that
// leases is to be asked for entry and lease in one step: when it seems unlikely
// to hold the entry, because it lapsed or because recent lookups missed. Else
// the tier is read first, which costs it a fraction of that step, but costs a
// miss a second round trip. With asker nil it is always read.
func (s *Stack[K, V]) Look(ctx context.Context, key string, lapsed bool, asker Asker) (l Look[V], err error) {
	var errs []error
	for _, r := range s.asked {
		if err = s.repayFirst(ctx, r, key); err != nil {
			errs = append(errs, err)
			continue
		}
		var found Lookup[V]
		if asker != nil && r == s.leases && (lapsed || !r.hits.likely()) {
			l.Asked = true
			var reply LeaseReply[V]
			reply, err = s.Lease(ctx, key, asker.Ask())
			l.Reply, found = reply.LeaseReply, reply.Lookup
			r.tally(found.Found, err)
		} else {
			found, err = r.get(ctx, key)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.Lookup = found // the last one's, if none has it: it is the one that leases
		if found.Found {
			l.Index = r.index
			return l, nil
		}
	}
	return l, errors.Join(errs...)
}

// LookMulti is Look for many keys, each of which the leasing tier is asked for
// with its lease, in as few round trips as it allows. askers may be nil.
func (s *Stack[K, V]) LookMulti(ctx context.Context, keys []string, askers []Asker) ([]Look[V], []error) {
	looks, errs := make([]Look[V], len(keys)), make([]error, len(keys))
	missing := make([]int, len(keys)) // indices of keys
	for i := range missing {
		missing[i] = i
	}
	for _, r := range s.asked {
		var passed []int
		missing, passed = s.repayMulti(ctx, r, keys, missing, errs)
		if len(missing) == 0 { // a call for nothing would close the breaker
			missing = passed
			continue
		}
		found, failed := make([]Lookup[V], len(missing)), make([]error, len(missing))
		if askers != nil && r == s.leases {
			asks := make([]backend.LeaseAsk, len(missing))
			for n, i := range missing {
				asks[n] = backend.LeaseAsk{Key: keys[i], LeaseRequest: askers[i].Ask()}
			}
			var replies []LeaseReply[V]
			replies, failed = s.LeaseMulti(ctx, asks)
			for n, i := range missing {
				looks[i].Asked, looks[i].Reply, found[n] = true, replies[n].LeaseReply, replies[n].Lookup
			}
		} else {
			each(len(missing), func(n int) { found[n], failed[n] = r.get(ctx, keys[missing[n]]) })
		}
		rest := missing[:0]
		for n, i := range missing {
			if failed[n] != nil {
				errs[i] = errors.Join(errs[i], failed[n])
			} else {
				looks[i].Lookup = found[n]
			}
			if looks[i].Found {
				looks[i].Index, errs[i] = r.index, nil
			} else {
				rest = append(rest, i)
			}
		}
		missing = append(rest, passed...)
	}
	return looks, errs
}

// repayMulti is repayFirst for many keys, within one budget. It returns those that r can be
// asked for, and those that it passes by.
func (s *shared[K, V]) repayMulti(ctx context.Context, r *remote[V], keys []string, missing []int, errs []error) (ask, passed []int) {
	if r.backlog.size.Load() == 0 {
		return missing, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Budget)
	defer cancel()
	var owed []int
	for _, i := range missing {
		if r.backlog.find(keys[i]) == nil {
			ask = append(ask, i)
		} else {
			owed = append(owed, i)
		}
	}
	failed := make([]error, len(owed))
	each(len(owed), func(n int) { failed[n] = s.repayFirst(ctx, r, keys[owed[n]]) })
	for n, i := range owed {
		if failed[n] == nil {
			ask = append(ask, i)
			continue
		}
		errs[i] = errors.Join(errs[i], failed[n])
		passed = append(passed, i)
	}
	return ask, passed
}

// ratio is the share of hits among recent lookups: an average in which each
// lookup counts for a sixteenth.
type ratio struct{ hits atomic.Int32 }

const (
	one = 1 << 16

	// readFirst is the share of hits from which on reading first pays. Measured
	// on loopback (valkey-server 8.0, one caller): a GET takes 53 µs, the
	// script that reads or leases 70 µs when it finds the entry, so that with
	// hits below 0.76 reading first is slower on average; over a network,
	// where the round trip outweighs both, it is so nearly always. But at the server the
	// script costs 1.5 times a GET at 8 callers and 4 times at 512, and the callers get
	// half the throughput.
	readFirst = one * 9 / 10

	// enough is where hits are no longer noted: a fleet that hits writes to no
	// shared memory.
	enough = one * 95 / 100
)

func (r *ratio) add(hit bool) {
	hits := r.hits.Load()
	switch {
	case !hit:
		r.hits.Store(hits - hits/16)
	case hits < enough:
		r.hits.Store(hits + (one-hits)/16)
	}
}

func (r *ratio) likely() bool { return r.hits.Load() >= readFirst }
