package tier

import (
	"context"
	"sync"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/internal/wire"
)

// News is what a cache does about changes by other processes. None of it may
// block.
type News struct {
	// Changed is called when others have changed a key: drop is to be called
	// in one step with forgetting what of the key is under way here, unless that is what
	// id names.
	Changed func(key string, id uint64, drop func())

	// Busy reports whether a read, a load or a write of a key is under way here,
	// which may have seen what the key held before.
	Busy func(key string) bool

	// Stamped is called when entries were removed or expired by tag: what is
	// under way here may have begun before.
	Stamped func()
}

// hear subscribes to changes by other processes, if there is anything here that
// they could concern.
func (s *shared[K, V]) hear() {
	far := s.far
	if far == nil || far.teller == nil || far.teller.CoherenceMode() == backend.CoherenceOff {
		return
	}
	near := false
	for _, l := range s.locals {
		if !l.opts.NoInvalidation {
			near = true
			l.early.on.Store(true)
			l.hear(false) // until it is said that it hears
		}
	}
	what := backend.Interest{Keys: near || len(s.remote) > 1, Tags: true}
	s.deaf = far.teller.Invalidations(what, s.heed)
}

// heed takes in what the farthest tier tells.
func (s *shared[K, V]) heed(inv backend.Invalidation) {
	switch inv.Kind {
	case backend.Heard:
		s.hears(inv.Stamp)
		s.far.backlog.back()
		s.report(true)
	case backend.Deaf:
		s.tags.heard.Store(0)
		for _, l := range s.listeners() {
			l.hear(false)
		}
		s.report(false)
	case backend.TagStamped:
		s.stamped(inv.Tag, inv.Stamp)
	case backend.KeyChanged:
		s.changes.Add(1)
		if inv.Unsure {
			// In this order: what is no longer under way is in memory by then.
			if s.news.Busy != nil && s.news.Busy(inv.Key) || s.holds(inv.Key) {
				s.errands.add(errand{key: inv.Key, unsure: true})
			}
			return
		}
		s.drop(inv.Key, wire.Identity(inv.Head))
	}
}

// report tells Hooks that hearing has begun or ended, once.
func (s *shared[K, V]) report(heard bool) {
	if !s.hearing.set(heard) {
		return
	}
	if h := s.far.hooks.Hearing; h != nil {
		h(context.Background(), Hearing{Tier: s.far.index, Heard: heard})
	}
}

// hears begins a time in which all is told. What was missed before is not known.
func (s *shared[K, V]) hears(all backend.TagStamp) {
	s.tags.note(&s.tags.all, all)
	now := s.tags.moment()
	s.tags.heard.Store(now)
	s.tags.all.asked.Store(now + 1)
	for _, l := range s.listeners() {
		for _, n := range l.hear(true) {
			if !n.Dead() {
				s.errands.add(errand{key: s.key(n.key), unsure: true})
			}
		}
	}
	if !s.heardOnce.Swap(true) {
		close(s.first)
		return
	}
	s.distrust()
	if s.news.Stamped != nil {
		s.news.Stamped()
	}
}

// distrust has entries of the tiers between, of before now, passed by.
func (s *shared[K, V]) distrust() {
	for _, r := range s.remote {
		if r != s.far {
			r.distrusted.Store(clock.Now())
		}
	}
}

func (s *shared[K, V]) listeners() []*local[K, V] {
	var list []*local[K, V]
	for _, l := range s.locals {
		if !l.opts.NoInvalidation {
			list = append(list, l)
		}
	}
	return list
}

// drop drops what is held of a key that others have changed.
func (s *shared[K, V]) drop(key string, id uint64) {
	s.forget(key, id)
	if len(s.remote) > 1 {
		s.errands.add(errand{key: key, id: id})
	}
}

func (s *shared[K, V]) forget(key string, id uint64) {
	s.news.Changed(key, id, func() {
		if k, ok := s.keyOf(key); ok {
			for _, l := range s.listeners() {
				l.changed(k, id)
			}
		}
	})
}

// holds reports whether a tier nearer than the farthest may hold key.
func (s *shared[K, V]) holds(key string) bool {
	if len(s.remote) > 1 {
		return true
	}
	k, ok := s.keyOf(key)
	if !ok {
		return false
	}
	for _, l := range s.listeners() {
		if l.node(k) != nil {
			return true
		}
	}
	return false
}

// keyOf is the key whose string is name, if it can be told and may be held.
func (s *shared[K, V]) keyOf(name string) (key K, ok bool) {
	if s.names != nil {
		return s.names.key(name)
	}
	return s.parse(name)
}

// stamped takes in a stamp of a tag.
func (s *shared[K, V]) stamped(name string, stamp backend.TagStamp) {
	s.tags.note(s.tags.get(name), stamp) // also if nobody has it: a load may be under way whose entry will
	if name == "" {
		for _, l := range s.locals {
			l.lookAgain()
		}
	}
	if s.news.Stamped != nil {
		s.news.Stamped()
	}
}

// errand is what hearing of a change leaves to do that takes I/O.
type errand struct {
	key    string
	id     uint64 // of what the key holds now
	unsure bool   // that is not known, nor whether it is another's
}

// maxErrands bounds those that wait. Beyond it everything is dropped, rather than
// too little.
const maxErrands = 4096

// errands are run one after another, by a goroutine that ends when there are
// none.
type errands struct {
	run      func(ctx context.Context, e errand)
	overflow func()

	mu      sync.Mutex
	waiting map[string]errand // the newest of each key
	order   []string
	running bool
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

func newErrands(run func(context.Context, errand), overflow func()) *errands {
	e := &errands{run: run, overflow: overflow, waiting: make(map[string]errand)}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

func (q *errands) add(e errand) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.ctx.Err() != nil:
		return
	case len(q.waiting) >= maxErrands:
		clear(q.waiting)
		q.order = nil
		q.overflow()
		return
	}
	before, twice := q.waiting[e.key]
	if !twice {
		q.order = append(q.order, e.key)
	}
	if twice && before.id != e.id { // which of them came last we cannot tell
		e.unsure = true
	}
	q.waiting[e.key] = e
	if !q.running {
		q.running = true
		q.wg.Go(q.work)
	}
}

func (q *errands) work() {
	for {
		q.mu.Lock()
		if len(q.order) == 0 || q.ctx.Err() != nil {
			q.running = false
			q.mu.Unlock()
			return
		}
		key := q.order[0]
		q.order = q.order[1:]
		e := q.waiting[key]
		delete(q.waiting, key)
		q.mu.Unlock()
		q.run(q.ctx, e)
	}
}

// close ends the errand under way and waits for that.
func (q *errands) close() {
	q.mu.Lock()
	q.cancel()
	q.mu.Unlock()
	q.wg.Wait()
}

// errand finds out what a key holds now, if that is not known, and drops what the
// tiers between hold of it that is another.
func (s *shared[K, V]) errand(ctx context.Context, e errand) {
	if e.unsure {
		l, err := s.far.get(ctx, e.key)
		if err == nil {
			e.id = wire.Identity(l.Seen)
		}
		s.forget(e.key, e.id)
	}
	for _, r := range s.remote {
		if r == s.far {
			continue
		}
		l, err := r.get(ctx, e.key)
		if err != nil || l.Found && (l.Entry.ID == 0 || l.Entry.ID != e.id) {
			_ = r.delete(ctx, e.key) // reported to Hooks; its MaxTTL is the bound
		}
	}
}
