package tier

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/internal/striped"
)

// Stack is the tiers of one cache, bound to its types. The cache makes it; it
// is safe for concurrent use.
type Stack[K comparable, V any] struct {
	near   *local[K, V] // the first tier if it is local
	locals []*local[K, V]
	remote []*remote[V]
	leases *remote[V] // the farthest tier that leases, or nil
	count  []*counters
}

// Config binds tiers to a cache's types.
type Config[V any] struct {
	Codec  codec.Codec[V] // required
	Schema uint32
	Hooks  *Hooks // required
}

// counters of one remote tier.
type counters struct {
	Hits                                      striped.Counter
	Misses, Errors, Corrupt, Foreign, Skipped atomic.Uint64
}

// Stats are the counts of one remote tier since it was made.
type Stats struct {
	Hits    uint64
	Misses  uint64
	Errors  uint64 // lookups that got no answer
	Corrupt uint64 // entries that were damaged or could not be decoded; also misses
	Foreign uint64 // entries of another key, codec or schema; also misses
	Skipped uint64 // calls not made: breaker open or queue full

	WakeMode backend.WakeMode // how those who wait for a lease of this tier are woken; "": it does not lease
}

// Sub returns the counts since an earlier Stats of the same tier.
func (s *Stats) Sub(since *Stats) Stats {
	d := *s
	d.Hits -= since.Hits
	d.Misses -= since.Misses
	d.Errors -= since.Errors
	d.Corrupt -= since.Corrupt
	d.Foreign -= since.Foreign
	d.Skipped -= since.Skipped
	return d
}

// NewStack binds tiers, nearest first. In-process tiers come before others.
func NewStack[K comparable, V any](cfg Config[V], tiers ...Tier) (*Stack[K, V], error) {
	if len(tiers) == 0 {
		return nil, errors.New("tier: none given; pass tier.Local, tier.Remote or both")
	}
	s := &Stack[K, V]{}
	for i, t := range tiers {
		if err := t.validate(); err != nil {
			return nil, err
		}
		if t.memory == nil {
			s.addRemote(cfg, i+1, t)
			continue
		}
		if len(s.remote) > 0 {
			return nil, errors.New("tier: a Local tier behind a Remote one would never be asked first; put it before")
		}
		s.locals = append(s.locals, newLocal[K, V](t.memory, t.local.MaxTTL))
		s.near = s.locals[0]
	}
	return s, nil
}

func (s *Stack[K, V]) addRemote(cfg Config[V], index int, t Tier) {
	r := &remote[V]{
		index: index, store: t.store, codec: cfg.Codec, schema: cfg.Schema,
		opts: t.remote, guard: newGuard(t.remote), hooks: cfg.Hooks, count: new(counters),
	}
	r.keyed, _ = cfg.Codec.(codec.Keyed[V])
	r.clock, _ = t.store.(backend.Clock)
	r.swapper, _ = t.store.(backend.Swapper)
	if leaser, ok := t.store.(backend.Leaser); ok && !t.remote.NoLease {
		r.leaser, s.leases = leaser, r
		r.multi, _ = t.store.(backend.MultiLeaser)
		r.notifier, _ = t.store.(backend.Notifier)
	}
	if h := cfg.Hooks.Breaker; h != nil {
		r.guard.brk.changed = func(open bool) { h(context.Background(), Breaker{Tier: index, Open: open}) }
	}
	s.remote = append(s.remote, r)
	s.count = append(s.count, r.count)
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
	for _, l := range s.locals {
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

// SetLocal writes e to the in-process tiers.
func (s *Stack[K, V]) SetLocal(key K, e *Entry[V]) {
	for _, l := range s.locals {
		l.set(key, e)
	}
}

// DeleteLocal removes key from the in-process tiers.
func (s *Stack[K, V]) DeleteLocal(key K) {
	for _, l := range s.locals {
		l.delete(key)
	}
}

// ExpireLocal makes key's entry stale in the in-process tiers.
func (s *Stack[K, V]) ExpireLocal(key K) {
	for _, l := range s.locals {
		l.expire(key)
	}
}

// SetRemote writes e to the tiers outside of this process, farthest first, and
// joins their errors. Those nearer than index are meant when index is positive:
// that is how a hit of tier index travels up.
func (s *Stack[K, V]) SetRemote(ctx context.Context, key string, e *Entry[V], index int) error {
	var errs []error
	for i := len(s.remote) - 1; i >= 0; i-- {
		if r := s.remote[i]; index <= 0 || r.index < index {
			errs = append(errs, r.set(ctx, key, e))
		}
	}
	return errors.Join(errs...)
}

// DeleteRemote removes key from the tiers outside of this process, farthest
// first, and joins their errors.
func (s *Stack[K, V]) DeleteRemote(ctx context.Context, key string) error {
	var errs []error
	for i := len(s.remote) - 1; i >= 0; i-- {
		errs = append(errs, s.remote[i].delete(ctx, key))
	}
	return errors.Join(errs...)
}

// ExpireRemote makes key's entry stale in the tiers outside of this process,
// farthest first, and joins their errors.
func (s *Stack[K, V]) ExpireRemote(ctx context.Context, key string) error {
	var errs []error
	for i := len(s.remote) - 1; i >= 0; i-- {
		errs = append(errs, s.remote[i].expire(ctx, key))
	}
	return errors.Join(errs...)
}

// Stats returns the counts of the remote tiers, nearest first.
func (s *Stack[K, V]) Stats() []Stats {
	all := make([]Stats, len(s.count))
	for i, c := range s.count {
		all[i] = Stats{
			Hits: c.Hits.Load(), Misses: c.Misses.Load(), Errors: c.Errors.Load(),
			Corrupt: c.Corrupt.Load(), Foreign: c.Foreign.Load(), Skipped: c.Skipped.Load(),
			WakeMode: s.remote[i].wakeMode(),
		}
	}
	return all
}

// Close closes all stores.
func (s *Stack[K, V]) Close() error {
	var errs []error
	for _, l := range s.locals {
		errs = append(errs, l.memory.Close())
	}
	for _, r := range s.remote {
		errs = append(errs, r.store.Close())
		r.guard.close()
	}
	return errors.Join(errs...)
}
