package tier

import (
	"cmp"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
)

// local is a tier in memory. It keeps nodes with their whole key, because a
// Memory knows only hashes.
type local[K comparable, V any] struct {
	memory backend.Memory
	ranger backend.Ranger // the memory, if it can; else nil
	seed   maphash.Seed
	salt   uint64 // the seed of integer keys
	kind   kind
	index  int // 1 is the nearest tier
	opts   LocalOptions
	tags   *tags
	names  *names[K, V] // where a key cannot be told from its string; else nil

	// An entry that was born later than doubt needs no second look.
	doubt   atomic.Int64
	flushed atomic.Int64 // what was born by then is gone
	early   early[K, V]
	census  census
	deaf    atomic.Int64 // since when changes are not told; 0: they are, or never will be
}

func newLocal[K comparable, V any](m backend.Memory, opts LocalOptions, index int, t *tags, names *names[K, V]) *local[K, V] {
	ranger, _ := m.(backend.Ranger)
	return &local[K, V]{
		memory: m, ranger: ranger, seed: maphash.MakeSeed(), salt: rand.Uint64(), kind: kindOf[K](), index: index, opts: opts, tags: t, names: names,
	}
}

// node is an entry in memory. Times are clock.Now nanoseconds. due comes
// before the value, so that a hit touches few cache lines.
type node[K comparable, V any] struct {
	backend.Life
	absent  bool
	capped  bool         // it ends before the entry that it is a copy of
	due     atomic.Int64 // from this instant on a read looks closer; never after fresh
	born    atomic.Int64 // when its load or read began
	heat    heat
	tags    []*tag
	key     K
	value   V
	asOf    uint64
	id      uint64
	kept    int64 // of an unshared entry: when it was stored; else 0
	fresh   int64 // stale at this instant and later
	until   int64 // expired at this instant and later
	created int64
	claimed atomic.Int64 // until this instant somebody sees to its refresh
	fence   uint64
	cost    time.Duration
	meta    *Meta
}

// Expired implements backend.Node.
func (n *node[K, V]) Expired() bool { return clock.Now() >= n.until }

// kind is how keys are hashed.
type kind uint8

const (
	anyKey    kind = iota
	stringKey      // strings, of whatever name
	wordKey        // integers of 64 bits, of whatever name
)

func kindOf[K comparable]() kind {
	switch t := reflect.TypeFor[K](); {
	case t.Kind() == reflect.String:
		return stringKey
	case t.Size() == 8 && (t.Kind() >= reflect.Int && t.Kind() <= reflect.Uintptr):
		return wordKey
	}
	return anyKey
}

// hash is maphash.Comparable, with short cuts for the commonest kinds of key.
// They look at the key through a pointer to what its kind is represented as: a
// type switch on it would cost more than the hash of an integer.
func (l *local[K, V]) hash(key K) uint64 {
	switch l.kind {
	case stringKey:
		return maphash.String(l.seed, *(*string)(unsafe.Pointer(&key)))
	case wordKey:
		return mix(*(*uint64)(unsafe.Pointer(&key)) ^ l.salt)
	}
	return maphash.Comparable(l.seed, key)
}

// mix is the 64-bit finalizer of MurmurHash3 (A. Appleby): one to one, and each
// bit of x decides about half of the result's.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// freshValue is the hit path of the whole library.
func (l *local[K, V]) freshValue(key K) (v V, ok bool) {
	n, ok := l.memory.Get(l.hash(key)).(*node[K, V])
	if !ok || n.key != key || n.absent {
		return v, false
	}
	now := clock.Now()
	if now >= n.due.Load() {
		return v, false
	}
	if n.heat.cold(now) {
		n.heat.warm(now)
	}
	if (n.tags != nil || n.born.Load() <= l.doubt.Load()) && l.state(n) != alive {
		return v, false
	}
	return n.value, true
}

// spare is for how long an unshared entry is kept that was being loaded when
// memory was dropped.
const spare = time.Second

// state is what news from elsewhere has made of an entry.
type state uint8

const (
	alive state = iota
	expired
	removed
)

// state compares n with all that was heard.
func (l *local[K, V]) state(n *node[K, V]) state {
	born := n.born.Load()
	if flushed := l.flushed.Load(); born <= flushed && n.kept <= flushed {
		return removed
	}
	if deaf := l.deaf.Load(); deaf != 0 && l.opts.MaxDeaf > 0 && born <= deaf && clock.Now() >= clock.After(deaf, l.opts.MaxDeaf) {
		return removed
	}
	s := n.stamped(&l.tags.all)
	for _, g := range n.tags {
		s = max(s, n.stamped(g))
	}
	return s
}

// stamped is what the stamps of a tag say of n.
func (n *node[K, V]) stamped(g *tag) state {
	if n.asOf != 0 {
		switch {
		case n.asOf <= g.removed.Load():
			return removed
		case n.asOf <= g.expired.Load():
			return expired
		}
	}
	// Stamps of this process alone have no time of the store's.
	switch {
	case n.asOf == 0 && n.born.Load() <= g.removedAt.Load():
		return removed
	case n.asOf == 0 && n.born.Load() <= g.expiredAt.Load():
		return expired
	}
	return alive
}

// hear takes in that hearing of changes begins, or ends. What was missed before it
// begins is not known.
//
// The first time, what there is is not dropped but handed back, to be compared with
// the store: a process that begins would lose what it has loaded first, for the
// sake of the moment that it takes to subscribe.
func (l *local[K, V]) hear(hears bool) (doubtful []*node[K, V]) {
	if !hears {
		l.deaf.Store(l.tags.moment())
		if l.opts.MaxDeaf > 0 {
			l.doubt.Store(math.MaxInt64) // a time will come
		}
		return nil
	}
	doubtful = l.early.end()
	now := l.flush()
	for _, n := range doubtful {
		n.born.Store(now + 1)
	}
	l.deaf.Store(0)
	return doubtful
}

// early are the entries that were stored before hearing first began. The zero
// value notes none.
type early[K comparable, V any] struct {
	on atomic.Bool

	mu    sync.Mutex
	nodes []*node[K, V]
}

// maxEarly bounds them. Those beyond are dropped when hearing begins.
const maxEarly = 1024

func (x *early[K, V]) add(n *node[K, V]) {
	if !x.on.Load() {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.on.Load() && len(x.nodes) < maxEarly {
		x.nodes = append(x.nodes, n)
	}
}

func (x *early[K, V]) end() []*node[K, V] {
	x.mu.Lock()
	defer x.mu.Unlock()
	nodes := x.nodes
	x.nodes = nil
	x.on.Store(false)
	return nodes
}

// flush drops all there is.
func (l *local[K, V]) flush() (now int64) {
	now = l.tags.moment()
	l.flushed.Store(now)
	l.doubt.Store(now)
	return now
}

// lookAgain has every entry there is looked at twice: the tag "" was stamped.
func (l *local[K, V]) lookAgain() {
	now := l.tags.moment()
	for {
		old := l.doubt.Load()
		if now <= old || l.doubt.CompareAndSwap(old, now) {
			return
		}
	}
}

// changed drops the entry of a key that others have changed, unless it is what
// the key now holds.
func (l *local[K, V]) changed(key K, id uint64) {
	if n := l.node(key); n != nil && (n.id == 0 || n.id != id) {
		l.delete(key)
	}
}

func (l *local[K, V]) node(key K) *node[K, V] {
	n, ok := l.memory.Get(l.hash(key)).(*node[K, V])
	if !ok || n.key != key {
		return nil
	}
	return n
}

func (l *local[K, V]) get(key K) (e Entry[V], ok bool) {
	n := l.node(key)
	if n == nil {
		return e, false
	}
	now := clock.Now()
	if e, ok = l.entry(n, now); ok && n.heat.cold(now) {
		n.heat.warm(now)
	}
	return e, ok
}

// entry is n as it is now, if it lives.
func (l *local[K, V]) entry(n *node[K, V], now int64) (e Entry[V], ok bool) {
	state := l.state(n)
	if now >= n.until || state == removed {
		return e, false
	}
	e = Entry[V]{
		Value:    n.value,
		Absent:   n.absent,
		Age:      time.Duration(now - n.created),
		FreshFor: time.Duration(n.fresh - now),
		LivesFor: time.Duration(n.until - now),
		DueIn:    time.Duration(n.due.Load() - now),
		Fence:    n.fence,
		Cost:     n.cost,
		Meta:     n.meta,
		AsOf:     n.asOf,
		Begun:    n.born.Load(),
		ID:       n.id,
	}
	if state == expired {
		e.FreshFor = min(e.FreshFor, 0)
	}
	return e, true
}

// lapsed reports whether key's entry was here to the end of its life: then it
// has ended in the tiers below as well.
func (l *local[K, V]) lapsed(key K) bool {
	n := l.node(key)
	return n != nil && !n.capped && clock.Now() >= n.until
}

// claim makes the caller the one that sees to the refresh of key's entry, unless
// another claimed it less than d ago.
func (l *local[K, V]) claim(key K, d time.Duration) bool {
	n := l.node(key)
	if n == nil {
		return true
	}
	now := clock.Now()
	last := n.claimed.Load()
	if now < last || !n.claimed.CompareAndSwap(last, now+int64(d)) {
		return false
	}
	n.due.Store(min(now+int64(d), n.fresh))
	return true
}

func (l *local[K, V]) set(key K, e *Entry[V]) {
	fresh, lives := e.FreshFor, e.LivesFor
	limit := l.opts.MaxTTL
	if l.opts.MaxDeaf > 0 && (limit == 0 || l.opts.MaxDeaf < limit) && l.deaf.Load() != 0 {
		limit = l.opts.MaxDeaf
	}
	if e.Unshared && e.Begun != 0 && e.Begun <= l.flushed.Load() && (limit == 0 || limit > spare) {
		limit = spare
	}
	capped := limit > 0 && limit < lives
	if capped {
		fresh, lives = min(fresh, limit), limit
	}
	if lives <= 0 {
		return
	}
	own, asOf := l.tags.of(e.Meta), cmp.Or(e.AsOf, e.Fence)
	if l.tags.unsure(own, asOf, e.Begun) {
		l.delete(key) // whoever comes next asks the store
		return
	}
	now := clock.Now()
	n := &node[K, V]{
		absent:  e.Absent,
		capped:  capped,
		key:     key,
		value:   e.Value,
		fresh:   clock.After(now, fresh),
		until:   clock.After(now, lives),
		created: now - int64(e.Age),
		fence:   e.Fence,
		cost:    e.Cost,
		meta:    e.Meta,
		asOf:    asOf,
		id:      e.ID,
		tags:    own,
	}
	due := n.fresh
	if e.DueIn != 0 {
		due = min(due, clock.After(now, e.DueIn))
	}
	n.due.Store(due)
	if e.Unshared {
		n.kept = l.tags.instant()
	}
	n.born.Store(cmp.Or(e.Begun, l.tags.instant()))
	l.heatUp(n, now)
	if l.names != nil {
		l.names.add(key, n)
	}
	l.memory.Set(l.hash(key), n, 1, lives)
	l.early.add(n)
}

// expire makes key's entry stale.
func (l *local[K, V]) expire(key K) {
	e, ok := l.get(key)
	if !ok {
		l.delete(key)
		return
	}
	e.FreshFor, e.DueIn = min(e.FreshFor, 0), 0
	l.set(key, &e)
}

func (l *local[K, V]) delete(key K) { l.memory.Delete(l.hash(key)) }
