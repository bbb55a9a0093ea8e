package cache

import (
	"context"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/tier"
)

// Load is a load as its loader sees it: what is known of the key, and what the
// loader has to say about the value beyond the value. Get it from the loader's
// context with [LoadFrom]. It is safe for concurrent use, and does nothing once
// the loader has returned.
//
//	func fetch(ctx context.Context, id int) (User, error) {
//		l := cache.LoadFrom[User](ctx)
//		resp, err := ask(ctx, id, l.ETag())
//		switch {
//		case err != nil:
//			return User{}, err
//		case resp.StatusCode == http.StatusNotModified:
//			return l.NotModified()
//		}
//		l.SetETag(resp.Header.Get("ETag"))
//		...
type Load[V any] struct {
	// Of the key, before the load.
	stale *tier.Entry[V] // nil: none
	fence uint64
	clone func(V) V
	asOf  uint64 // by the store's time: no stamp that comes later is missed

	mu          sync.Mutex
	said        tier.Meta
	ttl         time.Duration // 0: the policy's
	staleFor    time.Duration // negative: the policy's
	noStore     bool
	notModified bool
}

type loadKey struct{}

// LoadFrom returns the load whose loader ctx was given to. It is never nil: to a
// context of no load, or of a cache of other values, it gives a load of which
// nothing is known and to which nothing can be said.
func LoadFrom[V any](ctx context.Context) *Load[V] {
	if l, ok := ctx.Value(loadKey{}).(*Load[V]); ok {
		return l
	}
	return newLoad[V](nil, 0, nil)
}

// LoadFor is LoadFrom for one key of a [LoadManyFunc].
func LoadFor[K comparable, V any](ctx context.Context, key K) *Load[V] {
	if loads, ok := ctx.Value(loadKey{}).(map[K]*Load[V]); ok && loads[key] != nil {
		return loads[key]
	}
	return newLoad[V](nil, 0, nil)
}

func newLoad[V any](stale *tier.Entry[V], fence uint64, clone func(V) V) *Load[V] {
	return &Load[V]{stale: stale, fence: fence, clone: clone, staleFor: -1}
}

// Stale returns the value that the cache still has, if it has one. An entry is
// kept beyond its TTL only if something says so: Policy.StaleIfError or
// StaleWhileRevalidate, or SetStaleFor of the load before. Without that there is
// nothing to revalidate.
func (l *Load[V]) Stale() (v V, ok bool) {
	if l.stale == nil {
		return v, false
	}
	if l.clone != nil {
		return l.clone(l.stale.Value), true
	}
	return l.stale.Value, true
}

// ETag is what the last load said with SetETag, in whatever process; "" if
// nothing, or if there is no stale value that a revalidation could confirm.
func (l *Load[V]) ETag() string {
	if l.stale == nil || l.stale.Meta == nil {
		return ""
	}
	return l.stale.Meta.ETag
}

// LastModified is what the last load said with SetLastModified: see ETag.
func (l *Load[V]) LastModified() time.Time {
	if l.stale == nil || l.stale.Meta == nil {
		return time.Time{}
	}
	return l.stale.Meta.LastModified
}

// Fence is greater than that of every load of the key before, in any process;
// 0 if the load runs without a lease. A loader that also writes should have the
// place it writes to refuse a fence below one that it has seen.
func (l *Load[V]) Fence() uint64 { return l.fence }

// SetTTL says how long this value is fresh, instead of Policy.TTL. What is not
// positive is ignored.
func (l *Load[V]) SetTTL(ttl time.Duration) {
	l.say(func() { l.ttl = max(ttl, 0) })
}

// SetStaleFor says how long this value is kept beyond its TTL. The policy says
// for how long of that it may be served; the next load sees it to the end. What
// is negative is ignored.
func (l *Load[V]) SetStaleFor(d time.Duration) {
	l.say(func() { l.staleFor = d })
}

// SetTags says what this value is made of: [Cache.DeleteTags] and
// [Cache.ExpireTags] find it by them. They come on top of those that Options.Tags
// gives. An entry with tags lives for 30 days at most.
func (l *Load[V]) SetTags(tags ...string) {
	l.say(func() { l.said.Tags = append([]string(nil), tags...) })
}

// SetETag keeps a validator with the entry, for the next load to revalidate it
// with, in whatever process that runs.
func (l *Load[V]) SetETag(etag string) {
	l.say(func() { l.said.ETag = etag })
}

// SetLastModified keeps a validator with the entry, to a microsecond.
func (l *Load[V]) SetLastModified(t time.Time) {
	l.say(func() { l.said.LastModified = t })
}

// NoStore gives the value to the callers that wait for it in this process, and
// keeps it nowhere.
func (l *Load[V]) NoStore() {
	l.say(func() { l.noStore = true })
}

// NotModified is what a loader returns when the source has confirmed the stale
// value: that is stored again, for a new lifetime, with the validators and tags
// it had unless new ones are set. Without a stale value the load fails with
// ErrNotModified.
func (l *Load[V]) NotModified() (V, error) {
	v, ok := l.Stale()
	if !ok {
		return v, ErrNotModified
	}
	l.say(func() { l.notModified = true })
	return v, nil
}

func (l *Load[V]) say(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// entry makes the entry of a value that was loaded. It is nil if it is not to be
// stored.
func (l *Load[V]) entry(p *Policy, v V, cost time.Duration) *tier.Entry[V] {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.noStore {
		return nil
	}
	ttl, staleFor := p.TTL, p.staleFor()
	if l.ttl > 0 {
		ttl = l.ttl
	}
	if l.staleFor >= 0 {
		staleFor = l.staleFor
	}
	e := &tier.Entry[V]{Value: v, Cost: cost, Meta: l.meta()}
	e.FreshFor, e.LivesFor = p.lifetime(ttl, staleFor)
	return e
}

// meta is what was said, or nil. The caller holds l.mu.
func (l *Load[V]) meta() *tier.Meta {
	m := l.said
	if l.notModified && l.stale.Meta != nil {
		old := l.stale.Meta
		if m.Tags == nil {
			m.Tags = old.Tags
		}
		if m.ETag == "" {
			m.ETag = old.ETag
		}
		if m.LastModified.IsZero() {
			m.LastModified = old.LastModified
		}
	}
	if m.Tags == nil && m.ETag == "" && m.LastModified.IsZero() {
		return nil
	}
	return &m
}
