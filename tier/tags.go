package tier

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
)

// tags knows when entries were last removed or expired by tag: by the store's
// time, to judge entries that are read from it, and by this process's, to judge
// those that are in its memory.
type tags struct {
	all   tag          // the tag "", which is every entry's
	heard atomic.Int64 // since when every stamp has been told; 0: it is not
	last  atomic.Int64 // the last moment

	// No stamp that is later is forgotten: by this process's time, and by the store's.
	lostAt atomic.Int64
	lost   atomic.Uint64

	mu     sync.Mutex
	known  map[string]weak.Pointer[tag] // kept by entries in memory, and by recent
	recent [4096]*tag                   // the last to be made, or stamped
	next   int
	sweep  int // the size of known at which those that nobody keeps are dropped
}

// tag is what is known of one. An entry in memory points to its tags, so that
// a hit need not look them up.
type tag struct {
	name string

	// Instants of this process: when it heard of the last stamp of each kind. They
	// touch entries of which it is not known as of when they are by the store's
	// time: their load began by then.
	removedAt, expiredAt atomic.Int64

	removed, expired atomic.Uint64 // by the store's time
	// The store could not be told yet that it was removed, or expired.
	owesRemoved, owesExpired atomic.Bool

	asked  atomic.Int64 // since when they are known, if nothing was missed; 0: they are not
	asking atomic.Bool
}

func (g *tag) owes(expire bool) *atomic.Bool {
	if expire {
		return &g.owesExpired
	}
	return &g.owesRemoved
}

// instant is now, by clock.Now. What begins after a moment has a later one, even
// if the clock has not moved.
func (t *tags) instant() int64 { return max(clock.Now(), t.last.Load()+1) }

// moment is an instant of which nothing that begins later partakes.
func (t *tags) moment() int64 {
	for {
		last := t.last.Load()
		now := max(clock.Now(), last+1)
		if t.last.CompareAndSwap(last, now) {
			return now
		}
	}
}

// Instant is now, as Entry.Begun wants it.
func (s *shared[K, V]) Instant() int64 { return s.tags.instant() }

// tagsFor is for how long stamps that are not told are believed.
const tagsFor = int64(time.Second)

// tagsRefused is for how much longer that is so after the store has refused to tell.
const tagsRefused = int64(10 * time.Second)

// get returns what is known of a tag, or makes it.
func (t *tags) get(name string) *tag {
	if name == "" {
		return &t.all
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.known[name].Value(); g != nil {
		return g
	}
	g := &tag{name: name}
	if t.known == nil {
		t.known, t.sweep = make(map[string]weak.Pointer[tag]), 2*len(t.recent)
	}
	if len(t.known) >= t.sweep {
		for name, w := range t.known {
			if w.Value() == nil {
				delete(t.known, name)
			}
		}
		t.sweep = max(2*len(t.known), 2*len(t.recent))
	}
	t.known[name] = weak.Make(g)
	if old := t.recent[t.next]; old != nil {
		t.lostAt.Store(max(t.lostAt.Load(), old.removedAt.Load(), old.expiredAt.Load()))
		t.lost.Store(max(t.lost.Load(), old.removed.Load(), old.expired.Load()))
	}
	t.recent[t.next] = g
	t.next = (t.next + 1) % len(t.recent)
	return g
}

// unsure reports whether a stamp of an entry's own tags may be forgotten: of one that
// the store was not asked for.
func (t *tags) unsure(own []*tag, asOf uint64, begun int64) bool {
	late := asOf != 0 && asOf <= t.lost.Load() || asOf == 0 && begun != 0 && begun <= t.lostAt.Load()
	return late && slices.ContainsFunc(own, func(g *tag) bool { return g.asked.Load() == 0 })
}

// of returns the tags of an entry.
func (t *tags) of(m *Meta) []*tag {
	if m == nil || len(m.Tags) == 0 {
		return nil
	}
	list := make([]*tag, len(m.Tags))
	for i, name := range m.Tags {
		list[i] = t.get(name)
	}
	return list
}

// note takes in a stamp.
func (t *tags) note(g *tag, s backend.TagStamp) {
	if raise(&g.removed, s.Removed) {
		g.removedAt.Store(t.moment())
	}
	if raise(&g.expired, s.Expired) {
		g.expiredAt.Store(t.moment())
	}
}

func raise(at *atomic.Uint64, to uint64) bool {
	for {
		old := at.Load()
		if to <= old {
			return false
		}
		if at.CompareAndSwap(old, to) {
			return true
		}
	}
}

// current reports whether the stamps are known as they are now.
func (t *tags) current(g *tag, now int64) bool {
	asked := g.asked.Load()
	switch {
	case asked == 0:
		return false
	case now-asked < tagsFor:
		return true
	}
	since := t.heard.Load()
	if since != 0 && asked > since {
		return true
	}
	// One asks, and the others take what there is a little longer.
	return now-asked < 2*tagsFor && g.asking.Load()
}

// judge compares an entry that was read with the stamps of its tags. It reports
// whether the entry was removed, and makes one stale that was expired.
func judge[V any](ctx context.Context, t *tags, r *remote[V], e *Entry[V]) (removed bool, err error) {
	now := clock.Now()
	var unknown []*tag
	if !t.current(&t.all, now) {
		unknown = append(unknown, &t.all)
	}
	var own []*tag
	if e.Meta != nil {
		own = t.of(e.Meta)
		for _, g := range own {
			if !t.current(g, now) {
				unknown = append(unknown, g)
			}
		}
	}
	if len(unknown) > 0 {
		if err := ask(ctx, r, unknown); err != nil {
			return false, err
		}
	}
	last := backend.TagStamp{Removed: t.all.removed.Load(), Expired: t.all.expired.Load()}
	owed, expired := t.all.owesRemoved.Load(), t.all.owesExpired.Load()
	for _, g := range own {
		owed, expired = owed || g.owesRemoved.Load(), expired || g.owesExpired.Load()
		last.Removed, last.Expired = max(last.Removed, g.removed.Load()), max(last.Expired, g.expired.Load())
	}
	// What does not say as of when it is may be older than any stamp.
	if expired || last.Expired > 0 && e.AsOf <= last.Expired {
		e.FreshFor = min(e.FreshFor, 0)
	}
	return owed || last.Removed > 0 && e.AsOf <= last.Removed, nil
}

// StampTags removes all entries with one of tags, or with expire makes them stale,
// in all tiers and for all processes. The tag "" is every entry's. Entries whose
// load is under way are touched as well.
func (s *shared[K, V]) StampTags(ctx context.Context, expire bool, names ...string) (err error) {
	list := make([]*tag, len(names))
	for i, name := range names {
		list[i] = s.tags.get(name)
	}
	var stamp uint64
	then, taken := s.tags.moment(), false
	if s.far != nil {
		stamp, err = s.stampFar(ctx, expire, names)
		if taken = stamp != 0; !taken {
			stamp = s.passed(s.far.opts.Budget)
		}
	}
	for _, g := range list {
		s.tags.mark(g, expire, stamp)
		if g == &s.tags.all {
			for _, l := range s.locals {
				l.lookAgain()
			}
		}
	}
	switch {
	case s.far == nil:
	case err == nil:
		s.far.backlog.doneTags(list, expire, then, false)
	case taken || unreached(err) || ctx.Err() != nil: // a store that refuses has no tags
		owed := owedStamp{at: s.tags.moment(), told: taken}
		if taken {
			owed.stamp = stamp
		}
		err = s.far.backlog.oweTags(list, expire, owed, err)
	}
	return err
}

// stampFar returns a stamp that the store has taken, also if it could not be
// published.
func (s *shared[K, V]) stampFar(ctx context.Context, expire bool, names []string) (stamp uint64, err error) {
	r := s.far
	stamp, err = lease(ctx, r, OpStamp, func(ctx context.Context) (uint64, error) {
		return r.tagger.StampTags(ctx, expire, names...)
	})
	if err != nil || r.bus == nil {
		return stamp, err
	}
	errs := make([]error, len(names))
	each(len(names), func(i int) { errs[i] = r.publish(ctx, stampNews(names[i], expire, stamp)) })
	return stamp, errors.Join(errs...)
}

func stampNews(name string, expire bool, stamp uint64) backend.Invalidation {
	inv := backend.Invalidation{Kind: backend.TagStamped, Tag: name, Stamp: backend.TagStamp{Removed: stamp}}
	if expire {
		inv.Stamp = backend.TagStamp{Expired: stamp}
	}
	return inv
}

// mark notes a stamp of this process's own; 0: the store gave none.
func (t *tags) mark(g *tag, expire bool, stamp uint64) {
	at, by := &g.removedAt, &g.removed
	if expire {
		at, by = &g.expiredAt, &g.expired
	}
	raise(by, stamp)
	at.Store(t.moment())
}

// passed is an instant of the store's time that is mostly known without asking; 0: none
// is. A stamp that the store did not take stands at it in this process.
func (s *shared[K, V]) passed(within time.Duration) uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	stamp, err := s.far.tagger.AsOf(ctx)
	if err != nil {
		return 0
	}
	return stamp
}

// AsOf is a stamp for data that are about to be read or set, under a lease with
// this fence if it is not 0; 0: there is none to be had.
func (s *shared[K, V]) AsOf(ctx context.Context, fence uint64) uint64 {
	switch {
	case s.far == nil:
		return 0
	case fence != 0 && !s.far.own:
		return fence
	}
	// Not through the guard: it mostly asks nobody, which is no sign of life.
	ctx, cancel := context.WithTimeout(ctx, s.far.opts.Budget)
	defer cancel()
	stamp, err := s.far.tagger.AsOf(ctx)
	if err != nil {
		return 0
	}
	return stamp
}

// ask asks the store for stamps.
func ask[V any](ctx context.Context, r *remote[V], unknown []*tag) error {
	names := make([]string, len(unknown))
	for i, g := range unknown {
		names[i] = g.name
		g.asking.Store(true)
		defer g.asking.Store(false)
	}
	began, asked := clock.Now(), r.tags.instant()
	stamps, err := guarded(ctx, r.guard, func(ctx context.Context) ([]backend.TagStamp, error) {
		return r.tagger.TagStamps(ctx, names...)
	})
	r.end(ctx, OpTags, began, err)
	switch {
	case err != nil && (ctx.Err() != nil || errors.Is(err, backend.ErrUnavailable)):
		return err
	case err != nil: // refused, for want of rights: there are no tags then, and no reason to do without entries
		stamps = nil
		asked += tagsRefused
	}
	for i, g := range unknown {
		if i < len(stamps) {
			r.tags.note(g, stamps[i])
		}
		g.asked.Store(asked)
	}
	return nil
}
