package tier

import (
	"hash/maphash"
	"math/rand/v2"
	"reflect"
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
	seed   maphash.Seed
	salt   uint64 // the seed of integer keys
	kind   kind
	maxTTL time.Duration
}

func newLocal[K comparable, V any](m backend.Memory, maxTTL time.Duration) *local[K, V] {
	return &local[K, V]{memory: m, seed: maphash.MakeSeed(), salt: rand.Uint64(), kind: kindOf[K](), maxTTL: maxTTL}
}

// node is an entry in memory. Times are clock.Now nanoseconds. due comes
// before the value, so that a hit touches few cache lines.
type node[K comparable, V any] struct {
	backend.Life
	absent  bool
	capped  bool         // it ends before the entry that it is a copy of
	due     atomic.Int64 // from this instant on a read looks closer; never after fresh
	key     K
	value   V
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
	if !ok || n.key != key || n.absent || clock.Now() >= n.due.Load() {
		return v, false
	}
	return n.value, true
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
	if now >= n.until {
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
	capped := l.maxTTL > 0 && l.maxTTL < lives
	if capped {
		fresh, lives = min(fresh, l.maxTTL), l.maxTTL
	}
	if lives <= 0 {
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
	}
	due := n.fresh
	if e.DueIn != 0 {
		due = min(due, clock.After(now, e.DueIn))
	}
	n.due.Store(due)
	l.memory.Set(l.hash(key), n, 1, lives)
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
