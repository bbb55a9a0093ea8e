package tier

import (
	"context"
	"errors"
	"sync/atomic"

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
	r.clock, _ = t.store.(backend.Clock)
	if leaser, ok := t.store.(backend.Leaser); ok && !t.remote.NoLease {
		r.leaser, s.leases = leaser, r
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

// Remote looks key up in the tiers outside of this process, nearest first. A
// tier that fails is passed by; its error is returned only with no value from
// any other. index is the tier that answered, 1 the nearest of all.
func (s *Stack[K, V]) Remote(ctx context.Context, key string) (l Lookup[V], index int, err error) {
	var errs []error
	for _, r := range s.remote {
		found, err := r.get(ctx, key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if found.Found {
			return found, r.index, nil
		}
		l = found // the last one's: it is the one that leases
	}
	return l, 0, errors.Join(errs...)
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

// Stats returns the counts of the remote tiers, nearest first.
func (s *Stack[K, V]) Stats() []Stats {
	all := make([]Stats, len(s.count))
	for i, c := range s.count {
		all[i] = Stats{
			Hits: c.Hits.Load(), Misses: c.Misses.Load(), Errors: c.Errors.Load(),
			Corrupt: c.Corrupt.Load(), Foreign: c.Foreign.Load(), Skipped: c.Skipped.Load(),
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
