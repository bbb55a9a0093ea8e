package cache_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

func TestSkipReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 1, cache.Options[string, int]{}, &tier.LocalOptions{NoInvalidation: true})
		p := ps[0]
		other := p.store.Peer()
		p.has("k", 1, false)
		ok(t, other.Delete(t.Context(), "k"))
		p.has("k", 1, true) // it is not told
		far := p.With(func(p *cache.Policy) { p.SkipReads = tier.Nth(1) })
		want(t, 2)(far.Get(t.Context(), "k"))
		p.has("k", 2, true) // it has written what it has read
		afresh := p.With(func(p *cache.Policy) { p.SkipReads = tier.Nth(1, 2) })
		want(t, 3)(afresh.Get(t.Context(), "k"))
		want(t, 3)(far.Get(t.Context(), "k"))
		p.has("k", 3, true)
	})
}

// TestSkipReadsIsNotShared: who passes a tier by does not join those who do not.
func TestSkipReadsIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcesses(t, 1, cache.Options[string, int]{}, nil)[0]
		p.took = time.Second
		afresh := p.With(func(p *cache.Policy) { p.SkipReads = tier.Nth(1, 2) })
		go p.has("k", 1, false)
		synctest.Wait()
		want(t, 1)(afresh.Get(t.Context(), "k")) // another's load, which it waits for
		want(t, 2)(afresh.Get(t.Context(), "k"))
		// A Delete ends both kinds.
		go func() { _, _ = afresh.Get(t.Context(), "k") }()
		synctest.Wait()
		ok(t, p.Delete(t.Context(), "k"))
		<-time.After(2 * time.Second)
		if _, err := p.Peek(t.Context(), "k"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("Peek = %v after a Delete during a load, want ErrMiss", err)
		}
	})
}

// TestDeleteDuringALoadWithoutLeases: what a load of this process had begun before
// is not stored after, though nothing but this process knows.
func TestDeleteDuringALoadWithoutLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		var loads int
		c := open(t, count(&loads, time.Second), nil, tier.Remote(dumb{s}, nil))
		afresh := c.With(func(p *cache.Policy) { p.SkipReads = tier.Nth(1) })
		for _, c := range []*cache.Cache[string, int]{c, afresh} {
			go func() { _, _ = c.Get(t.Context(), "k") }()
			synctest.Wait()
			ok(t, c.Delete(t.Context(), "k"))
			<-time.After(2 * time.Second)
			if !s.empty(t, "k") {
				t.Error("a load has stored what was deleted meanwhile")
			}
		}
	})
}

func TestSkipWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 2, cache.Options[string, int]{}, nil)
		a, b := ps[0], ps[1]
		light := a.With(func(p *cache.Policy) { p.SkipWrites = tier.Nth(1) })
		want(t, 1)(light.Get(t.Context(), "k"))
		a.has("k", 1, false)
		a.has("k", 1, true)
		own := a.With(func(p *cache.Policy) { p.SkipWrites = tier.Nth(2) })
		want(t, 2)(own.Get(t.Context(), "own"))
		a.has("own", 2, true)
		b.has("own", 1, false) // it was never shared
		nowhere := a.With(func(p *cache.Policy) { p.SkipWrites = tier.Nth(1, 2) })
		ok(t, nowhere.Set(t.Context(), "x", 5))
		if _, err := a.Peek(t.Context(), "x"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("Peek = %v, want ErrMiss: it was set nowhere", err)
		}
	})
}

// TestClone: nobody's changes to a value are seen by anybody else.
func TestClone(t *testing.T) {
	given, fails := []int{1, 2, 3}, false
	load := func(ctx context.Context, _ string) ([]int, error) {
		if old, ok := cache.LoadFrom[[]int](ctx).Stale(); ok {
			old[0] = -1
		}
		if fails {
			return nil, errors.New("fails")
		}
		return given, nil
	}
	c := open(t, load, &cache.Options[string, []int]{Clone: slices.Clone[[]int], Policy: cache.Policy{StaleIfError: time.Hour}},
		tier.Local(memstore.NewMemory(10), nil), tier.Remote(memstore.NewStore(), nil))
	check := func(what string, v []int, err error) {
		t.Helper()
		if !slices.Equal(v, []int{1, 2, 3}) || err != nil {
			t.Errorf("%s = %v, %v, want what was loaded", what, v, err)
		}
		if len(v) > 0 {
			v[0] = 99
		}
	}
	ctx := t.Context()
	spoil := func() { given[0] = 98 }
	mend := func() { given[0] = 1 }
	v, err := c.Get(ctx, "k")
	check("the load's", v, err)
	spoil() // what the loader keeps
	for range 2 {
		v, err = c.Get(ctx, "k")
		check("Get", v, err)
		e, err := c.GetEntry(ctx, "k")
		check("GetEntry", e.Value, err)
		v, err = c.Peek(ctx, "k")
		check("Peek", v, err)
		many, err := c.GetMany(ctx, []string{"k"})
		check("GetMany", many["k"], err)
	}
	mend()
	many, err := c.GetMany(ctx, []string{"a", "b"})
	check("the batch's a", many["a"], err)
	mend()
	many, err = c.GetMany(ctx, []string{"a", "b"})
	check("the batch's a again", many["a"], err)
	mine := []int{1, 2, 3}
	ok(t, c.Set(ctx, "set", mine))
	mine[0] = 97
	v, err = c.Get(ctx, "set")
	check("what was set", v, err)
	mend()
	ok(t, c.Expire(ctx, "set"))
	fails = true
	for range 2 {
		v, err = c.Get(ctx, "set") // its load spoils the stale value that it is given
		check("what is stale", v, err)
	}
}

// TestSetPassesBy: a Set that passes a tier by leaves nothing older in it, if it is
// nearer than one that is written.
func TestSetPassesBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mid, far := memstore.NewStore(), memstore.NewStore()
		c := open[string, int](t, nil, nil, tier.Local(memstore.NewMemory(10), nil), tier.Remote(mid, nil), tier.Remote(far, nil))
		skip := func(places ...int) *cache.Cache[string, int] {
			return c.With(func(p *cache.Policy) { p.SkipWrites = tier.Nth(places...) })
		}
		ok(t, c.Set(t.Context(), "k", 1))
		ok(t, skip(1, 2).Set(t.Context(), "k", 2))
		want(t, 2)(c.Peek(t.Context(), "k"))
		ok(t, skip(3).Set(t.Context(), "k", 3)) // what is farther stays
		want(t, 3)(c.Peek(t.Context(), "k"))
		want(t, 2)(c.With(func(p *cache.Policy) { p.SkipReads = tier.Nth(1, 2) }).Peek(t.Context(), "k"))
		ok(t, skip(1, 3).Set(t.Context(), "k", 4))
		want(t, 4)(c.Peek(t.Context(), "k"))
	})
}
