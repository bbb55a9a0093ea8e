package tier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/internal/wire"
)

// remote is a tier of bytes.
type remote[V any] struct {
	index  int // 1 is the nearest tier
	store  backend.Store
	clock  backend.Clock // nil: this machine's
	codec  codec.Codec[V]
	keyed  codec.Keyed[V] // the codec, if it binds bytes to their key; else nil
	schema uint32
	old    map[shape]*Migration[V]
	opts   RemoteOptions
	guard  *guard
	hooks  *Hooks
	count  *counters
	hits   ratio

	// Abilities of the store; nil: it has them not, or shall not use them.
	swapper  backend.Swapper
	leaser   backend.Leaser
	multi    backend.MultiLeaser
	notifier backend.Notifier

	// Of the farthest tier alone.
	tagger backend.Tagger
	own    bool // the tagger is ours, and the store's fences are no stamps
	teller backend.Invalidator
	bus    backend.Bus // the teller, if the store is none

	far        *remote[V] // the farthest tier
	tags       *tags
	backlog    *backlog[V]
	distrusted atomic.Int64 // entries that were created before are passed by; 0: none
}

// Lookup is what a tier answered.
type Lookup[V any] struct {
	Entry Entry[V]
	Found bool

	// Seen begins the bytes that the key holds, usable entry or not; nil if it
	// holds none. A lease request that names them is not answered with them.
	Seen []byte
}

func (r *remote[V]) get(ctx context.Context, key string) (l Lookup[V], err error) {
	began, owed := r.begin(), r.hides(key)
	raw, err := r.read(ctx, key)
	switch {
	case errors.Is(err, backend.ErrMiss):
		err = nil
	case err == nil:
		l, err = r.decode(ctx, key, raw, owed)
	}
	r.end(ctx, OpGet, began, err)
	r.tally(l.Found, err)
	return l, err
}

// tally counts a lookup.
func (r *remote[V]) tally(found bool, err error) {
	switch {
	case err != nil:
		r.count.Errors.Add(1)
		return
	case found:
		r.count.Hits.Inc()
	default:
		r.count.Misses.Add(1)
	}
	r.hits.add(found)
}

// read is guarded's equal for the hottest call, without its closure.
func (r *remote[V]) read(ctx context.Context, key string) ([]byte, error) {
	c, err := r.guard.begin(ctx)
	if err != nil {
		return nil, err
	}
	if !c.direct {
		return apart(ctx, r.guard, c, func(ctx context.Context) ([]byte, error) { return r.store.Get(ctx, key) })
	}
	raw, err := r.store.Get(c, key)
	return raw, r.guard.end(ctx, c, err)
}

// hides is what is owed of a key before it is read: it may be made up for before the
// reply is looked at. A file owes nothing.
func (r *remote[V]) hides(key string) *owed[V] {
	if r.backlog == nil {
		return nil
	}
	return r.backlog.find(key)
}

// decode turns stored bytes into an entry. Bytes that do not check are a
// counted miss, not an error.
func (r *remote[V]) decode(ctx context.Context, key string, raw []byte, before *owed[V]) (l Lookup[V], err error) {
	now, err := r.now(ctx)
	if err != nil {
		return l, err
	}
	l.Seen = raw[:min(len(raw), wire.HeaderSize)]
	h, payload, err := wire.Parse(raw, key, r.codec.ID(), r.schema)
	var old *Migration[V] // nil: it is of our own shape
	if len(r.old) > 0 && errors.Is(err, wire.ErrForeign) {
		h, payload, old, err = r.migration(raw, key)
	}
	switch {
	case errors.Is(err, wire.ErrForeign):
		r.count.Foreign.Add(1)
		return l, nil
	case err != nil:
		r.count.Corrupt.Add(1)
		return l, nil
	}
	// A created in the future is the estimate's error, or a lie: not older
	// than new, and no longer of life than it was given.
	age := max(0, now-h.Created)
	if age >= h.LivesFor {
		return l, nil
	}
	l.Entry = Entry[V]{
		Absent:   h.Absent,
		Age:      micros(age),
		FreshFor: micros(h.FreshFor - age),
		LivesFor: micros(h.LivesFor - age),
		Fence:    h.Fence,
		Cost:     micros(h.Cost),
		Meta:     readMeta(&h.Meta),
		AsOf:     h.AsOf,
		ID:       h.Meta.CopyOf,
	}
	if r == r.far {
		l.Entry.ID = wire.Identity(raw)
	}
	if since := r.distrusted.Load(); since != 0 && l.Entry.Age > time.Duration(clock.Now()-since) {
		return Lookup[V]{Seen: l.Seen}, nil
	}
	if r.tags != nil { // it is a tier, and no file
		switch d := cmp.Or(r.backlog.find(key), before); {
		case d == nil:
		case d.op == OpExpire:
			l.Entry.FreshFor = min(l.Entry.FreshFor, 0)
		default:
			return Lookup[V]{Seen: l.Seen}, nil
		}
		switch gone, err := judge(ctx, r.tags, r.far, &l.Entry); {
		case err != nil:
			return Lookup[V]{}, err
		case gone:
			return Lookup[V]{Seen: l.Seen}, nil
		}
	}
	switch {
	case old != nil:
		if l.Entry.Value, err = r.migrate(old, &h, payload, key); err != nil {
			return Lookup[V]{Seen: l.Seen}, nil
		}
	case !h.Absent:
		if l.Entry.Value, err = r.unmarshal(payload, key); err != nil {
			r.count.Corrupt.Add(1)
			return Lookup[V]{Seen: l.Seen}, nil
		}
	}
	l.Found = true
	return l, nil
}

// unmarshal guards against a codec that panics.
func (r *remote[V]) unmarshal(data []byte, key string) (v V, err error) {
	defer recovered(&err)
	if r.keyed != nil {
		return r.keyed.DecodeKey(data, key)
	}
	return r.codec.Decode(data)
}

// recovered turns a codec's panic into an error that does not quote it: it may
// hold the value.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("tier: codec panicked with a %T", p)
	}
}

// encode makes the stored form of e. It is no part of the budget, which is for
// what the store takes: a large value takes its own time to encode.
func (r *remote[V]) encode(ctx context.Context, key string, e *Entry[V]) (b []byte, ttl time.Duration, err error) {
	fresh, lives := max(e.FreshFor, 0), e.LivesFor
	limit := r.opts.MaxTTL
	if e.Meta != nil && len(e.Meta.Tags) > 0 && (limit == 0 || limit > backend.MaxTagged) {
		limit = backend.MaxTagged
	}
	if limit > 0 {
		fresh, lives = min(fresh, limit), min(lives, limit)
	}
	asking, cancel := context.WithTimeout(ctx, r.opts.Budget)
	defer cancel()
	now, err := r.now(asking)
	if err != nil {
		return nil, 0, err
	}
	freshFor := (fresh + e.Age).Microseconds()
	if fresh == 0 { // made stale, perhaps just now: to a process whose estimate of the time is behind as well
		freshFor = max((e.Age - behind).Microseconds(), 0)
	}
	h := wire.Header{
		Absent: e.Absent, Codec: r.codec.ID(), Schema: r.schema, Fence: e.Fence,
		Created:  now - e.Age.Microseconds(),
		FreshFor: freshFor,
		LivesFor: max((lives + e.Age).Microseconds(), 1),
		Cost:     e.Cost.Microseconds(),
		AsOf:     e.AsOf,
	}
	if m := e.Meta; m != nil {
		h.Meta = wire.Meta{Tags: m.Tags, ETag: m.ETag}
		if !m.LastModified.IsZero() {
			h.Meta.LastModified = m.LastModified.UnixMicro()
		}
	}
	if r != r.far {
		h.Meta.CopyOf = e.ID
	}
	defer recovered(&err)
	b, err = wire.Append(nil, key, &h, func(dst []byte) ([]byte, error) { return r.marshal(dst, key, e) })
	if err == nil && r == r.far {
		e.ID = wire.Identity(b)
	}
	return b, lives, err
}

// marshal appends the payload of e to dst.
func (r *remote[V]) marshal(dst []byte, key string, e *Entry[V]) ([]byte, error) {
	switch {
	case e.Absent:
		return dst, nil
	case r.keyed != nil:
		return r.keyed.AppendKey(dst, key, e.Value)
	}
	return r.codec.Append(dst, e.Value)
}

// behind is by how much one process's estimate of the store's time may be behind
// another's.
const behind = time.Second

// set returns what it has written, or tried to; nil: it could not be encoded.
func (r *remote[V]) set(ctx context.Context, key string, e *Entry[V]) (b []byte, err error) {
	b, ttl, err := r.encode(ctx, key, e)
	if err != nil {
		return nil, err
	}
	began := r.begin()
	_, err = guarded(ctx, r.guard, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.store.Set(ctx, key, b, ttl)
	})
	r.end(ctx, OpSet, began, err)
	return b, told(err, r.publish(ctx, backend.Invalidation{Key: key, Head: b[:min(len(b), backend.HeadLen)]}))
}

// publish tells other processes of a change, where the store itself does not. It
// is told also of one that failed: it may have been made.
func (r *remote[V]) publish(ctx context.Context, inv backend.Invalidation) error {
	if r.bus == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.Budget)
	defer cancel()
	return r.bus.Publish(ctx, inv)
}

func (r *remote[V]) delete(ctx context.Context, key string) error {
	began := r.begin()
	_, err := guarded(ctx, r.guard, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.store.Delete(ctx, key)
	})
	r.end(ctx, OpDelete, began, err)
	return told(err, r.publish(ctx, backend.Invalidation{Key: key}))
}

// expire makes key's entry stale and ends the lease of its load. An entry that
// is replaced meanwhile is looked at again; with no end to that, or in a store
// that cannot compare, it is deleted.
func (r *remote[V]) expire(ctx context.Context, key string) error {
	if r.swapper == nil {
		return r.delete(ctx, key)
	}
	for range 3 {
		l, err := r.get(ctx, key)
		if err != nil {
			return err
		}
		if !l.Found {
			break
		}
		l.Entry.FreshFor = 0
		b, ttl, err := r.encode(ctx, key, &l.Entry)
		if err != nil {
			return err
		}
		began := r.begin()
		swapped, err := guarded(ctx, r.guard, func(ctx context.Context) (bool, error) {
			return r.swapper.Swap(ctx, key, l.Seen, b, ttl)
		})
		r.end(ctx, OpExpire, began, err)
		if err != nil || swapped {
			return told(err, r.publish(ctx, backend.Invalidation{Key: key, Head: b[:min(len(b), backend.HeadLen)]}))
		}
	}
	return r.delete(ctx, key)
}

func (r *remote[V]) wakeMode() backend.WakeMode {
	switch {
	case r.leaser == nil:
		return ""
	case r.notifier == nil:
		return backend.WakePoll
	}
	return r.notifier.WakeMode()
}

func (r *remote[V]) now(ctx context.Context) (int64, error) {
	if r.clock == nil {
		return time.Now().UnixMicro(), nil
	}
	return r.clock.Now(ctx)
}

func (r *remote[V]) begin() int64 {
	if r.hooks.OpDone == nil {
		return 0
	}
	return clock.Now()
}

func (r *remote[V]) end(ctx context.Context, op Op, began int64, err error) {
	skipped := errors.Is(err, ErrBreakerOpen) || errors.Is(err, ErrBusy)
	if skipped {
		r.count.Skipped.Add(1)
	}
	if h := r.hooks.OpDone; h != nil {
		h(ctx, OpDone{Tier: r.index, Op: op, Duration: time.Duration(clock.Now() - began), Err: err, Skipped: skipped})
	}
}

func readMeta(w *wire.Meta) *Meta {
	if w.Tags == nil && w.ETag == "" && w.LastModified == 0 {
		return nil
	}
	m := &Meta{Tags: w.Tags, ETag: w.ETag}
	if w.LastModified != 0 {
		m.LastModified = time.UnixMicro(w.LastModified)
	}
	return m
}

func micros(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
