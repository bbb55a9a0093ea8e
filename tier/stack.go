package tier

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/internal/striped"
)

// Stack is the tiers of one cache, bound to its types. The cache makes it; it
// is safe for concurrent use.
type Stack[K comparable, V any] struct {
	*shared[K, V]

	// What this view of the stack reads and writes.
	near     *local[K, V] // the first tier if it is local
	nearby   []*local[K, V]
	asked    []*remote[V]
	leases   *remote[V] // the farthest tier that leases, or nil
	blind    bool       // it is asked for leases, and not for entries
	nearbyTo []*local[K, V]
	written  []*remote[V]

	// What a Set must not leave as it was: nearer than a tier that it writes.
	passedNear []*local[K, V]
	passedFar  []*remote[V]
}

// shared is what all views of a stack share.
type shared[K comparable, V any] struct {
	locals []*local[K, V]
	remote []*remote[V]
	far    *remote[V] // the farthest tier, if that is not in this process
	count  []*counters

	tags      tags
	lock      func(ctx context.Context, key string) (unlock func(), err error)
	request   func() backend.LeaseRequest
	names     *names[K, V] // where a key cannot be told from its string; else nil
	key       func(K) string
	parse     func(string) (K, bool)
	news      News
	deaf      func() // ends hearing; nil: it never began
	heardOnce atomic.Bool
	first     chan struct{} // closed when it first hears
	hearing   ear
	changes   atomic.Uint64 // heard of
	errands   *errands
}

// Config binds tiers to a cache's types.
type Config[K comparable, V any] struct {
	Codec  codec.Codec[V] // required
	Schema uint32
	Hooks  *Hooks // required

	// Migrations read entries of other shapes. Each is of another one.
	Migrations []Migration[V]

	// Key and Parse turn keys into strings and back. Parse may be nil: then
	// what is in memory is also kept by name.
	Key   func(K) string
	Parse func(string) (K, bool)

	// News are the cache's ears.
	News News

	// Lock keeps others from writing a key while a change of it is replayed;
	// nil: nobody else writes. Request makes the request for a lease under which
	// a Set is replayed; nil: it takes none.
	Lock    func(ctx context.Context, key string) (unlock func(), err error)
	Request func() backend.LeaseRequest
}

// counters of one remote tier.
type counters struct {
	Hits                                                striped.Counter
	Misses, Errors, Corrupt, Foreign, Migrated, Skipped atomic.Uint64
}

// Stats are the counts of one remote tier since it was made.
type Stats struct {
	Hits     uint64
	Misses   uint64
	Errors   uint64 // lookups that got no answer
	Corrupt  uint64 // entries that were damaged or could not be decoded; also misses
	Foreign  uint64 // entries of another key, or of another codec or schema that no Migration could read; also misses
	Migrated uint64 // entries of another codec or schema that a Migration has read
	Skipped  uint64 // calls not made: breaker open or queue full

	// Changes that the store could not be told of: see RemoteOptions.Backlog.
	Queued   int    // right now
	Replayed uint64 // made up for, or overtaken by something newer; a Set may have ended as a removal
	Dropped  uint64 // not queued for want of room, refused again and again, or still queued at Close

	BreakerOpen bool // since its last call: the next one after BreakerOpen tries

	// CoherenceMode is how this tier tells of changes by other processes:
	// [backend.CoherenceOff] if its store, or its Bus, tells nothing, and for
	// every tier but the farthest, which is the only one that is asked.
	CoherenceMode backend.CoherenceMode
	Changes       uint64 // that were told

	WakeMode backend.WakeMode // how those who wait for a lease of this tier are woken; "": it does not lease
}

// LocalStats are those of one in-process tier.
type LocalStats struct {
	Counted bool // its memory counts (see backend.Counted); else the rest is 0

	// Entries are those that are held right now. What was dropped with all else,
	// by Clear or a gap in the news, is none of them; what has expired, or was
	// removed by a tag, may count until its room is given back.
	Entries int

	Evicted uint64 // entries dropped, or not taken in, for want of room
}

// Sub returns the counts since an earlier Stats of the same tier.
func (s *Stats) Sub(since *Stats) Stats {
	d := *s
	d.Hits -= since.Hits
	d.Misses -= since.Misses
	d.Errors -= since.Errors
	d.Corrupt -= since.Corrupt
	d.Foreign -= since.Foreign
	d.Migrated -= since.Migrated
	d.Skipped -= since.Skipped
	d.Changes -= since.Changes
	d.Replayed -= since.Replayed
	d.Dropped -= since.Dropped
	return d
}

// NewStack binds tiers, nearest first: any number of Local ones, and then any
// number of Remote ones.
func NewStack[K comparable, V any](cfg Config[K, V], tiers ...Tier) (*Stack[K, V], error) {
	if len(tiers) == 0 {
		return nil, errors.New("tier: none given; pass tier.Local, tier.Remote or both")
	}
	old, err := migrations(&cfg)
	if err != nil {
		return nil, err
	}
	s := &Stack[K, V]{shared: &shared[K, V]{
		news: cfg.News, key: cfg.Key, parse: cfg.Parse, lock: cfg.Lock, request: cfg.Request, first: make(chan struct{}),
	}}
	if cfg.Parse == nil {
		s.names = newNames[K, V](cfg.Key)
	}
	if err := ordered(tiers); err != nil { // before anything runs that would have to be ended
		return nil, err
	}
	for i, t := range tiers {
		if t.memory == nil {
			s.addRemote(cfg, i+1, t).old = old
			continue
		}
		s.locals = append(s.locals, newLocal(t.memory, t.local, i+1, &s.tags, s.names))
	}
	s.connect()
	return s.Skip(0, 0), nil
}

// Skip returns a view of the stack that passes some tiers by when it reads, and
// some when it writes what was loaded or set. It leases only from a tier that it
// writes. Deleting, expiring and tags concern all tiers in any view.
func (s *Stack[K, V]) Skip(reads, writes Tiers) *Stack[K, V] {
	v := &Stack[K, V]{shared: s.shared}
	for i, l := range s.locals {
		if !reads.Has(l.index) {
			v.nearby = append(v.nearby, l)
			if i == 0 {
				v.near = l
			}
		}
		if !writes.Has(l.index) {
			v.nearbyTo = append(v.nearbyTo, l)
		} else {
			v.passedNear = append(v.passedNear, l)
		}
	}
	for _, r := range s.remote {
		if !reads.Has(r.index) {
			v.asked = append(v.asked, r)
		}
		if !writes.Has(r.index) {
			v.written = append(v.written, r)
		}
		if r.leaser != nil && !writes.Has(r.index) {
			v.leases, v.blind = r, reads.Has(r.index)
		}
	}
	for _, r := range s.remote {
		if n := len(v.written); writes.Has(r.index) && n > 0 && r.index < v.written[n-1].index {
			v.passedFar = append(v.passedFar, r)
		}
	}
	if len(v.written) == 0 {
		v.passedNear = slices.DeleteFunc(v.passedNear, func(l *local[K, V]) bool {
			return len(v.nearbyTo) == 0 || l.index > v.nearbyTo[len(v.nearbyTo)-1].index
		})
	}
	return v
}

// connect gives the farthest tier the abilities that only it is asked for.
func (s *shared[K, V]) connect() {
	if len(s.remote) == 0 {
		return
	}
	far := s.remote[len(s.remote)-1]
	s.far = far
	if far.tagger, _ = far.store.(backend.Tagger); far.tagger == nil {
		far.tagger, far.own = &tagger{store: far.store, clock: far.clock}, true
	}
	far.teller, _ = far.store.(backend.Invalidator)
	if far.opts.Bus != nil {
		far.teller, far.bus = far.opts.Bus, far.opts.Bus
	}
	for _, r := range s.remote {
		r.tags, r.far = &s.tags, far
	}
	s.errands = newErrands(s.errand, func() {
		for _, l := range s.listeners() {
			l.flush()
		}
		s.distrust()
	})
	s.hear()
}

func (s *shared[K, V]) addRemote(cfg Config[K, V], index int, t Tier) *remote[V] {
	r := &remote[V]{
		index: index, store: t.store, codec: cfg.Codec, schema: cfg.Schema,
		opts: t.remote, guard: newGuard(t.remote), hooks: cfg.Hooks, count: new(counters),
	}
	r.keyed, _ = cfg.Codec.(codec.Keyed[V])
	r.clock, _ = t.store.(backend.Clock)
	r.swapper, _ = t.store.(backend.Swapper)
	if leaser, ok := t.store.(backend.Leaser); ok && !t.remote.NoLease {
		r.leaser = leaser
		r.multi, _ = t.store.(backend.MultiLeaser)
		r.notifier, _ = t.store.(backend.Notifier)
	}
	r.backlog = newBacklog[V](t.remote.Backlog)
	r.backlog.pay = func(ctx context.Context) bool { return s.repay(ctx, r) }
	r.guard.brk.changed = func(open bool) {
		if !open {
			r.backlog.back()
		}
		if h := cfg.Hooks.Breaker; h != nil {
			h(context.Background(), Breaker{Tier: index, Open: open})
		}
	}
	s.remote = append(s.remote, r)
	s.count = append(s.count, r.count)
	return r
}

// Fresh returns the nearest tier's value if it is there and fresh. It does no
// I/O and allocates nothing.
func (s *Stack[K, V]) Fresh(key K) (v V, ok bool) {
	if s.near == nil {
		return v, false
	}
	return s.near.freshValue(key)
}

// Local looks key up in the in-process tiers.
func (s *Stack[K, V]) Local(key K) (e Entry[V], ok bool) {
	for _, l := range s.nearby {
		if e, ok = l.get(key); ok {
			return e, true
		}
	}
	return e, false
}

// Lapsed reports whether the nearest tier held key until its life was over, so
// that those below hold it no more either.
func (s *Stack[K, V]) Lapsed(key K) bool { return s.near != nil && s.near.lapsed(key) }

// Near reports whether the nearest tier is in this process.
func (s *Stack[K, V]) Near() bool { return s.near != nil }

// Claim makes the caller the one that sees to the refresh of key's entry in the
// nearest tier, unless another did less than d ago. Without such an entry every
// caller is.
func (s *Stack[K, V]) Claim(key K, d time.Duration) bool {
	return s.near == nil || s.near.claim(key, d)
}

// SetRemote writes what was loaded or found to the tiers outside of this process,
// farthest first, and joins their errors. Those nearer than index are meant when index
// is positive: that is how a hit of tier index travels up.
func (s *Stack[K, V]) SetRemote(ctx context.Context, key string, e *Entry[V], index int) error {
	var errs []error
	for i := len(s.written) - 1; i >= 0; i-- {
		if r := s.written[i]; index <= 0 || r.index < index {
			_, err := r.set(ctx, key, e)
			if err == nil {
				r.backlog.settle(key, e.Begun)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Stats returns the counts of the remote tiers, nearest first.
func (s *shared[K, V]) Stats() []Stats {
	all := make([]Stats, len(s.count))
	for i, c := range s.count {
		all[i] = Stats{
			Hits: c.Hits.Load(), Misses: c.Misses.Load(), Errors: c.Errors.Load(),
			Corrupt: c.Corrupt.Load(), Foreign: c.Foreign.Load(), Migrated: c.Migrated.Load(), Skipped: c.Skipped.Load(),
			WakeMode: s.remote[i].wakeMode(), BreakerOpen: s.remote[i].guard.brk.until.Load() != 0,
			Queued: int(s.remote[i].backlog.size.Load()), Replayed: s.remote[i].backlog.replayed.Load(), Dropped: s.remote[i].backlog.dropped.Load(),
			CoherenceMode: backend.CoherenceOff,
		}
		if s.remote[i] == s.far && s.deaf != nil {
			all[i].CoherenceMode, all[i].Changes = s.far.teller.CoherenceMode(), s.changes.Load()
		}
	}
	return all
}

// LocalStats returns the counts of the in-process tiers, nearest first.
func (s *shared[K, V]) LocalStats() []LocalStats {
	all := make([]LocalStats, len(s.locals))
	for i, l := range s.locals {
		all[i] = l.stats()
	}
	return all
}

// Close closes all stores.
func (s *shared[K, V]) Close() error {
	var errs []error
	if s.deaf != nil {
		s.deaf()
	}
	s.hearing.close()
	if s.errands != nil {
		s.errands.close()
	}
	for _, r := range s.remote {
		errs = append(errs, r.backlog.close())
	}
	if s.far != nil && s.far.bus != nil {
		errs = append(errs, s.far.bus.Close())
	}
	for _, l := range s.locals {
		errs = append(errs, l.memory.Close())
	}
	for _, r := range s.remote {
		errs = append(errs, r.store.Close())
		r.guard.close()
	}
	return errors.Join(errs...)
}
