package tier

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/internal/clock"
)

// ErrNoRange says that the nearest tier is not in this process, or of a store that
// cannot list what it holds (see backend.Ranger).
var ErrNoRange = errors.New("tier: the nearest tier is no Local one of a memory that can list what it holds (backend.Ranger)")

// Held is an entry of the nearest tier.
type Held[K comparable, V any] struct {
	tier *local[K, V]
	node *node[K, V]

	Heat uint32 // how often it is read lately, by a measure of this package's
}

// Held lists what the nearest tier holds, hottest first. It keeps the entries in
// memory for as long as the list is.
func (s *shared[K, V]) Held() ([]Held[K, V], error) {
	if len(s.locals) == 0 || s.locals[0].ranger == nil {
		return nil, ErrNoRange
	}
	l := s.locals[0]
	now := clock.Now()
	var list []Held[K, V]
	for m := range l.ranger.Range {
		if n, ok := m.(*node[K, V]); ok && n.key == n.key { // one that equals nothing is never found
			list = append(list, Held[K, V]{tier: l, node: n, Heat: n.heat.score(now)})
		}
	}
	slices.SortStableFunc(list, func(a, b Held[K, V]) int {
		return cmp.Or(cmp.Compare(b.Heat, a.Heat), cmp.Compare(b.node.created, a.node.created))
	})
	return list, nil
}

// Key is the entry's key.
func (h *Held[K, V]) Key() K { return h.node.key }

// Entry is the entry as it is now, if it lives.
func (h *Held[K, V]) Entry() (e Entry[V], ok bool) {
	if h.node.Dead() {
		return e, false
	}
	return h.tier.entry(h.node, clock.Now())
}

// SetHeat says how hot key's entry in the nearest tier was when it was saved.
func (s *shared[K, V]) SetHeat(key K, heat uint32) {
	if len(s.locals) == 0 {
		return
	}
	if n := s.locals[0].node(key); n != nil {
		n.heat.set(clock.Now(), heat)
	}
}

// Shared reports whether there is a tier outside of this process.
func (s *shared[K, V]) Shared() bool { return s.far != nil }

// AwaitNews waits until changes by other processes are told, for ctx or for d: what
// is in memory before is dropped then. Where they never will be it does not wait.
func (s *shared[K, V]) AwaitNews(ctx context.Context, d time.Duration) {
	if s.deaf == nil {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.first:
	case <-t.C:
	case <-ctx.Done():
	}
}

// Sealer turns entries into the bytes that a remote tier would store, as of one
// instant of this machine's clock, and back. Use it from one goroutine.
type Sealer[V any] struct{ r *remote[V] }

// NewSealer returns a sealer for the instant at.
func NewSealer[V any](c codec.Codec[V], schema uint32, at time.Time) *Sealer[V] {
	r := &remote[V]{
		codec: c, schema: schema, clock: instant(at.UnixMicro()), count: new(counters),
		opts: RemoteOptions{Budget: time.Minute},
		far:  new(remote[V]), // another: there are no stamps to compare with, and identities are kept
	}
	r.keyed, _ = c.(codec.Keyed[V])
	return &Sealer[V]{r: r}
}

// Seal returns the bytes of key's entry.
func (s *Sealer[V]) Seal(ctx context.Context, key string, e *Entry[V]) ([]byte, error) {
	b, _, err := s.r.encode(ctx, key, e)
	return b, err
}

// Open returns the entry that is in b, if it lives at the sealer's instant. sound
// says that b is key's entry, of this codec and schema.
func (s *Sealer[V]) Open(ctx context.Context, key string, b []byte) (e Entry[V], alive, sound bool) {
	before := s.r.count.Corrupt.Load() + s.r.count.Foreign.Load()
	l, err := s.r.decode(ctx, key, b, nil)
	sound = err == nil && s.r.count.Corrupt.Load()+s.r.count.Foreign.Load() == before
	return l.Entry, l.Found && sound, sound
}

// instant is a clock that stands.
type instant int64

func (i instant) Now(context.Context) (int64, error) { return int64(i), nil }

var _ backend.Clock = instant(0)
