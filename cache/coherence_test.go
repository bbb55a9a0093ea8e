package cache_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// peer is what one of several processes sees of a shared store.
type peer struct {
	*memstore.Store
	got  func(key string) // called with what Get has read in hand
	set  func(key string) // called when Set has been done, before its caller hears of it
	on   func(backend.Invalidation)
	away atomic.Bool // the server is
	mute atomic.Bool // what others change is not told
}

func (p *peer) Get(ctx context.Context, key string) ([]byte, error) {
	v, err := p.Store.Get(ctx, key)
	if p.got != nil {
		p.got(key)
	}
	return v, err
}

func (p *peer) Lease(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	if p.away.Load() {
		return backend.LeaseReply{}, backend.ErrUnavailable
	}
	return p.Store.Lease(ctx, key, req)
}

func (p *peer) Set(ctx context.Context, key string, v []byte, ttl time.Duration) error {
	err := p.Store.Set(ctx, key, v, ttl)
	if p.set != nil {
		p.set(key)
	}
	return err
}

func (p *peer) Invalidations(what backend.Interest, on func(backend.Invalidation)) (stop func()) {
	p.on = on
	return p.Store.Invalidations(what, func(inv backend.Invalidation) {
		if !p.mute.Load() {
			on(inv)
		}
	})
}

// process is a cache with a memory of its own on a shared store. Each of its loads
// gives the next number.
type process struct {
	*cache.Cache[string, int]
	t     *testing.T
	store *peer
	loads atomic.Int32
	took  time.Duration
	tags  []string
}

func newProcesses(t *testing.T, n int, opts cache.Options[string, int], local *tier.LocalOptions, between ...func() tier.Tier) []*process {
	t.Helper()
	first := memstore.NewStore()
	t.Cleanup(func() { _ = first.Close() })
	all := make([]*process, n)
	for i := range all {
		p := &process{t: t, store: &peer{Store: first.Peer()}}
		tiers := []tier.Tier{tier.Local(memstore.NewMemory(1000), local)}
		for _, b := range between {
			tiers = append(tiers, b())
		}
		p.Cache = open(t, p.load, &opts, append(tiers, tier.Remote(p.store, nil))...)
		all[i] = p
	}
	return all
}

func (p *process) load(ctx context.Context, _ string) (int, error) {
	cache.LoadFrom[int](ctx).SetTags(p.tags...)
	n := int(p.loads.Add(1))
	<-time.After(p.took)
	return n, nil
}

// has fails unless the process gives v, from memory or not.
func (p *process) has(key string, v int, fromMemory bool) {
	p.t.Helper()
	before := p.Stats()
	got, err := p.Get(p.t.Context(), key)
	after := p.Stats()
	if hit := after.Hits > before.Hits; got != v || err != nil || hit != fromMemory {
		p.t.Errorf("Get = %d, %v, from memory %t, want %d, %t", got, err, hit, v, fromMemory)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func TestChangesReachOtherMemories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 2, cache.Options[string, int]{Policy: cache.Policy{StaleIfError: time.Hour}}, nil)
		a, b := ps[0], ps[1]
		a.has("k", 1, false)
		b.has("k", 1, false)
		b.has("k", 1, true)

		ok(t, a.Set(t.Context(), "k", 7))
		a.has("k", 7, true) // nobody is told of his own
		b.has("k", 7, false)
		b.has("k", 7, true)
		a.has("k", 7, true) // b's read is no change

		ok(t, b.Delete(t.Context(), "k"))
		a.has("k", 2, false)
		b.has("k", 2, false)

		ok(t, a.Expire(t.Context(), "k"))
		b.has("k", 1, false) // its own first load
		a.has("k", 1, false)
		b.has("k", 1, true)
		ok(t, b.Set(t.Context(), "other", 1))
		a.has("k", 1, true) // others' other keys are none of its business
		if n := a.Stats().Tiers[0].Changes; n < 3 {
			t.Errorf("Changes = %d, want those that were told counted", n)
		}
	})
}

// TestRefreshReachesOtherMemories: a load that replaces what others hold is told.
func TestRefreshReachesOtherMemories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 2, cache.Options[string, int]{Policy: cache.Policy{TTL: time.Minute, RefreshAhead: 0.5}}, nil)
		a, b := ps[0], ps[1]
		a.has("k", 1, false)
		b.has("k", 1, false)
		<-time.After(40 * time.Second)
		a.has("k", 1, true) // and refreshes
		synctest.Wait()
		a.has("k", 2, true)
		b.has("k", 2, false)
		if b.loads.Load() != 0 {
			t.Errorf("%d loads by who had only to read, want 0", b.loads.Load())
		}
	})
}

// TestWaitersKeepWhatTheyWaitedFor: the news of the load they waited for is no
// reason to drop it.
func TestWaitersKeepWhatTheyWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 2, cache.Options[string, int]{Policy: cache.Policy{TTL: time.Minute, StaleIfError: time.Hour}}, nil)
		a, b := ps[0], ps[1]
		a.took = time.Second
		a.has("k", 1, false)
		b.has("k", 1, false)
		ok(t, b.Delete(t.Context(), "k"))
		go a.has("k", 2, false)
		synctest.Wait()
		b.has("k", 2, false)
		b.has("k", 2, true)
		synctest.Wait() // for a
	})
}

// TestNewsOvertakesARead: what a flight had read before the change is not kept.
func TestNewsOvertakesARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 2, cache.Options[string, int]{}, nil)
		a, b := ps[0], ps[1]
		ok(t, a.Set(t.Context(), "k", 1))
		for range 60 { // b's reads hit, so that they are plain reads
			ok(t, a.Set(t.Context(), "k", 1))
			b.has("k", 1, false)
		}
		read := false
		b.store.got = func(string) {
			b.store.got, read = nil, true
			ok(t, a.Set(t.Context(), "k", 2))
		}
		ok(t, a.Set(t.Context(), "k", 1))
		b.has("k", 1, false) // it began before
		if !read {
			t.Error("the hook was not called: nothing was overtaken")
		}
		b.has("k", 2, false)
		b.has("k", 2, true)
	})
}

// TestNewsOvertakesASet: two processes set a key, and the news of the one comes
// before the reply to the other. Whichever came last, both must end with it.
func TestNewsOvertakesASet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 2, cache.Options[string, int]{}, nil)
		a, b := ps[0], ps[1]
		b.store.set = func(string) {
			b.store.set = nil
			ok(t, a.Set(t.Context(), "k", 2))
		}
		ok(t, b.Set(t.Context(), "k", 1))
		b.has("k", 2, false)
		a.has("k", 2, true)
	})
}

// TestDeafness: what was missed is dropped when hearing begins again, and with
// MaxDeaf before.
func TestDeafness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcesses(t, 1, cache.Options[string, int]{}, nil)[0]
		p.has("k", 1, false)
		p.store.on(backend.Invalidation{Kind: backend.Deaf})
		<-time.After(time.Minute)
		p.has("k", 1, true)
		p.store.on(backend.Invalidation{Kind: backend.Heard})
		p.has("k", 1, false)
		p.has("k", 1, true)
		// Nobody has changed what was loaded under a lease and committed since.
		p.took = time.Second
		go p.has("loading", 2, false)
		synctest.Wait()
		p.store.on(backend.Invalidation{Kind: backend.Heard})
		<-time.After(2 * time.Second)
		p.has("loading", 2, true)
		// What could not be shared is kept for a second.
		p.store.away.Store(true)
		go p.has("alone", 3, false)
		synctest.Wait()
		p.store.on(backend.Invalidation{Kind: backend.Heard})
		<-time.After(time.Second + time.Millisecond)
		p.has("alone", 3, true)
		<-time.After(time.Second)
		p.has("alone", 4, false)
		p.has("alone", 4, true)
		p.store.on(backend.Invalidation{Kind: backend.Heard})
		p.has("alone", 5, false)
	})
	synctest.Test(t, func(t *testing.T) {
		p := newProcesses(t, 1, cache.Options[string, int]{}, &tier.LocalOptions{MaxDeaf: 5 * time.Second})[0]
		p.has("k", 1, false)
		p.store.on(backend.Invalidation{Kind: backend.Deaf})
		<-time.After(4 * time.Second)
		p.has("k", 1, true)
		p.has("late", 2, false)
		<-time.After(time.Second + time.Millisecond)
		p.has("k", 1, false)
		p.has("late", 2, true) // it came while deaf, and has a life of its own
		<-time.After(4 * time.Second)
		p.has("late", 2, false)
		p.has("k", 1, true)
		p.store.on(backend.Invalidation{Kind: backend.Heard})
		p.has("k", 1, false)
		<-time.After(6 * time.Second)
		p.has("k", 1, true)
	})
}

// late hears only when it is told to.
type late struct {
	*peer
	mode backend.CoherenceMode
}

func (l *late) Invalidations(_ backend.Interest, on func(backend.Invalidation)) (stop func()) {
	l.on = on
	return func() {}
}
func (l *late) CoherenceMode() backend.CoherenceMode { return l.mode }

// TestHearingBeginsLate: what was there before is compared with the store, and
// kept if it is the same.
func TestHearingBeginsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{t: t}
		first := memstore.NewStore()
		defer first.Close()
		l := &late{peer: &peer{Store: first.Peer()}, mode: backend.CoherenceDeaf}
		p.Cache = open(t, p.load, nil, tier.Local(memstore.NewMemory(100), nil), tier.Remote(l, nil))
		p.has("same", 1, false)
		p.has("deleted", 2, false)
		p.has("changed", 3, false)
		layout := first.Peer()
		ok(t, layout.Delete(t.Context(), "deleted"))
		same, err := first.Get(t.Context(), "same")
		ok(t, err)
		ok(t, first.Set(t.Context(), "changed", same, time.Hour)) // another key's: it will not be served either
		p.has("changed", 3, true)
		l.on(backend.Invalidation{Kind: backend.Heard})
		synctest.Wait()
		p.has("same", 1, true)
		p.has("deleted", 4, false)
		p.has("changed", 5, false)
	})
}

// TestUnsureNews: a store that cannot tell whose change it was is asked.
func TestUnsureNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcesses(t, 1, cache.Options[string, int]{}, nil)[0]
		p.has("k", 1, false)
		p.store.on(backend.Invalidation{Kind: backend.KeyChanged, Key: "k", Unsure: true})
		synctest.Wait()
		p.has("k", 1, true)
		ok(t, p.store.Store.Delete(t.Context(), "k")) // not told: it is its own
		p.store.on(backend.Invalidation{Kind: backend.KeyChanged, Key: "k", Unsure: true})
		synctest.Wait()
		p.has("k", 2, false)
	})
}

type place struct{ x, y int }

// TestKeysOfAnyType: entries are found by the names of their keys.
func TestKeysOfAnyType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := memstore.NewStore()
		defer first.Close()
		name := func(p place) string { return fmt.Sprint(p.x, ",", p.y) }
		var loads int
		load := func(context.Context, place) (int, error) { loads++; return loads, nil }
		opts := &cache.Options[place, int]{Key: name}
		a := open(t, load, opts, tier.Local(memstore.NewMemory(100), nil), tier.Remote(first.Peer(), nil))
		b := open(t, load, opts, tier.Local(memstore.NewMemory(100), nil), tier.Remote(first.Peer(), nil))
		want(t, 1)(a.Get(t.Context(), place{1, 2}))
		want(t, 1)(b.Get(t.Context(), place{1, 2}))
		want(t, 2)(b.Get(t.Context(), place{12, 0}))
		ok(t, a.Delete(t.Context(), place{1, 2}))
		want(t, 3)(b.Get(t.Context(), place{1, 2}))
		want(t, 2)(b.Get(t.Context(), place{12, 0}))
	})
	synctest.Test(t, func(t *testing.T) {
		first := memstore.NewStore()
		defer first.Close()
		var loads int
		load := func(context.Context, int16) (int, error) { loads++; return loads, nil }
		a := open(t, load, nil, tier.Local(memstore.NewMemory(100), nil), tier.Remote(first.Peer(), nil))
		b := open(t, load, nil, tier.Local(memstore.NewMemory(100), nil), tier.Remote(first.Peer(), nil))
		want(t, 1)(a.Get(t.Context(), -7))
		want(t, 1)(b.Get(t.Context(), -7))
		ok(t, a.Delete(t.Context(), -7))
		want(t, 2)(b.Get(t.Context(), -7))
	})
}

// TestTierBetween: what is held between memory and the shared tier follows too.
func TestTierBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disks []*memstore.Store
		between := func() tier.Tier {
			disks = append(disks, memstore.NewStore())
			return tier.Remote(disks[len(disks)-1], &tier.RemoteOptions{NoLease: true})
		}
		ps := newProcesses(t, 2, cache.Options[string, int]{}, nil, between)
		a, b := ps[0], ps[1]
		a.has("k", 1, false)
		if _, err := disks[0].Get(t.Context(), "k"); err != nil {
			t.Errorf("a's tier between = %v, want what was loaded", err)
		}
		b.has("k", 1, false)
		synctest.Wait()
		if _, err := disks[1].Get(t.Context(), "k"); err != nil {
			t.Fatalf("b's tier between = %v, want what was read", err)
		}
		ok(t, a.Set(t.Context(), "k", 7))
		synctest.Wait()
		if _, err := disks[0].Get(t.Context(), "k"); err != nil {
			t.Errorf("a's tier between = %v, want what was set", err)
		}
		if _, err := disks[1].Get(t.Context(), "k"); err != backend.ErrMiss { //nolint:errorlint // bare, the rule says
			t.Errorf("b's tier between = %v, want ErrMiss", err)
		}
		b.has("k", 7, false)
		// What was missed is passed by: it was made before hearing began again.
		<-time.After(time.Minute)
		b.store.mute.Store(true)
		b.store.on(backend.Invalidation{Kind: backend.Deaf})
		ok(t, a.Delete(t.Context(), "k"))
		b.has("k", 7, true)
		b.store.mute.Store(false)
		b.store.on(backend.Invalidation{Kind: backend.Heard})
		b.has("k", 1, false) // its own first load
	})
}
