package cache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// source loads many keys, remembers which, and takes d. The value of a key is
// its length, that of "absent..." none, and "bad..." fail.
type source struct {
	mu    sync.Mutex
	calls [][]string
	took  time.Duration
}

func (s *source) load(ctx context.Context, keys []string) (map[string]int, error) {
	s.mu.Lock()
	s.calls = append(s.calls, slices.Sorted(slices.Values(keys)))
	s.mu.Unlock()
	select {
	case <-time.After(s.took):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	found, bad := map[string]int{}, map[string]error{}
	for _, k := range keys {
		switch k[0] {
		case 'b':
			bad[k] = errSource
		case 'a':
		default:
			found[k] = len(k)
		}
	}
	if len(bad) > 0 {
		return found, &cache.BatchError[string]{Errs: bad}
	}
	return found, nil
}

func (s *source) loaded() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{}
	for _, call := range s.calls {
		for _, k := range call {
			n[k]++
		}
	}
	return n
}

func many(t *testing.T, s *source, p policy, tiers ...tier.Tier) *cache.Cache[string, int] {
	return open(t, nil, &cache.Options[string, int]{Policy: p, LoadMany: s.load}, tiers...)
}

func wantMany(t *testing.T, found map[string]int, err error, want ...string) {
	t.Helper()
	got := slices.Sorted(maps.Keys(found))
	if !slices.Equal(got, want) {
		t.Errorf("GetMany gave %v, want %v (%v)", got, want, err)
	}
	for k, v := range found {
		if v != len(k) {
			t.Errorf("%s = %d, want %d", k, v, len(k))
		}
	}
}

func TestGetMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, src := newServer(), &source{took: time.Second}
		c := many(t, src, policy{AbsentTTL: time.Minute}, memory(t), f.tier(nil))
		found, err := c.GetMany(t.Context(), []string{"one", "three", "one", "absent"})
		wantMany(t, found, err, "one", "three")
		if err != nil {
			t.Errorf("err = %v", err)
		}
		if f.did("leasemulti") != 1 || f.did("commitmulti") != 1 || len(f.calls) != 2 {
			t.Errorf("calls = %v, want one leasemulti and one commitmulti", f.calls)
		}
		found, err = c.GetMany(t.Context(), []string{"one", "absent", "other"})
		wantMany(t, found, err, "one", "other")
		if n := src.calls; len(n) != 2 || !slices.Equal(n[1], []string{"other"}) {
			t.Errorf("loads = %v, want the second of what was missing", n)
		}
		for _, k := range []string{"one", "three", "absent", "other"} {
			if !f.free(t, k) {
				t.Errorf("the lease of %s is left", k)
			}
		}
		if s := c.Stats(); s.Loads != 2 || s.Hits != 1 || s.Negative != 1 || s.Loaded != 4 || s.Gets() != 6 {
			t.Errorf("Stats = %+v", s)
		}
		if v, err := c.Get(t.Context(), "one"); v != 3 || err != nil {
			t.Errorf("Get = %d, %v", v, err)
		}
	})
}

func TestGetManyFailsInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{}
		for name, tiers := range map[string][]tier.Tier{
			"shared": {memory(t), newServer().tier(nil)}, "process": {memory(t)}, "dumb": {memory(t), tier.Remote(dumb{newServer()}, nil)},
		} {
			src.calls = nil
			c := many(t, src, policy{}, tiers...)
			found, err := c.GetMany(t.Context(), []string{"one", "bad1", "absent", "bad2"})
			wantMany(t, found, err, "one")
			several := new(cache.BatchError[string])
			if !errors.As(err, &several) || len(several.Errs) != 2 || !errors.Is(several.Errs["bad1"], errSource) || !errors.Is(err, errSource) {
				t.Errorf("%s: err = %v, want bad1 and bad2 to have failed", name, err)
			}
			_, err = c.GetMany(t.Context(), []string{"one", "bad1"})
			if !errors.Is(err, cache.ErrCooling) || src.loaded()["bad1"] != 1 {
				t.Errorf("%s: err = %v after %v, want bad1 to cool down", name, err, src.calls)
			}
		}
	})
}

func TestOverlappingBatchesShareLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, src := newServer(), &source{took: time.Second}
		var caches []*cache.Cache[string, int]
		for range 3 {
			caches = append(caches, many(t, src, policy{}, memory(t), f.tier(nil)))
		}
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				var keys []string
				for k := range 10 {
					keys = append(keys, fmt.Sprintf("k%02d", (i+k)%20))
				}
				found, err := caches[i%3].GetMany(t.Context(), keys)
				wantMany(t, found, err, slices.Sorted(slices.Values(keys))...)
			})
			wg.Go(func() {
				k := fmt.Sprintf("k%02d", i%20)
				v, err := caches[i%3].GetOrLoad(t.Context(), k, func(ctx context.Context, k string) (int, error) {
					m, err := src.load(ctx, []string{k})
					return m[k], err
				})
				want(t, 3)(v, err)
			})
		}
		wg.Wait()
		for k, n := range src.loaded() {
			if n != 1 {
				t.Errorf("%s was loaded %d times, want once", k, n)
			}
		}
	})
}

func TestGetManyOfOneLoader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		load := func(_ context.Context, k string) (int, error) {
			switch k[0] {
			case 'a':
				return 0, cache.ErrNotFound
			case 'b':
				return 0, errSource
			case 'p':
				panic("boom")
			}
			return len(k), nil
		}
		c := open(t, load, nil, memory(t), newServer().tier(nil))
		found, err := c.GetMany(t.Context(), []string{"one", "absent", "bad", "panic", "three"})
		wantMany(t, found, err, "one", "three")
		several, panicked := new(cache.BatchError[string]), new(cache.PanicError)
		if !errors.As(err, &several) || len(several.Errs) != 2 || !errors.As(several.Errs["panic"], &panicked) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestGetManyLeavesOnItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, src := newServer(), &source{took: time.Hour}
		c := many(t, src, policy{}, memory(t), f.tier(nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := c.GetMany(ctx, []string{"one", "three"})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v, want DeadlineExceeded", err)
		}
		at(t, "GetMany", began, time.Second)
		synctest.Wait()
		if !f.free(t, "one") || !f.free(t, "three") {
			t.Error("the leases of a load that nobody waits for were not released")
		}
	})
}

func TestGetManyStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, src := newServer(), &source{}
		c := many(t, src, policy{TTL: time.Minute, StaleWhileRevalidate: time.Minute, StaleIfError: time.Hour}, memory(t), f.tier(nil))
		_, _ = c.GetMany(t.Context(), []string{"one", "three"})
		time.Sleep(time.Minute)
		src.took = time.Second
		began := time.Now()
		found, err := c.GetMany(t.Context(), []string{"one", "three"})
		wantMany(t, found, err, "one", "three")
		at(t, "stale values", began, 0)
		time.Sleep(time.Minute)
		if n := src.loaded(); n["one"] != 2 || n["three"] != 2 {
			t.Errorf("loads = %v, want both refreshed", n)
		}
		time.Sleep(10 * time.Minute)
		f.set(func() { f.down = true })
		fail := func(context.Context, []string) (map[string]int, error) { return nil, errSource }
		found, err = c.GetOrLoadMany(t.Context(), []string{"one", "three", "never"}, fail)
		wantMany(t, found, err, "one", "three")
		if !errors.Is(err, errSource) {
			t.Errorf("err = %v, want that of the key that was never there", err)
		}
	})
}

func TestGetManyWithoutTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, src := newServer(), &source{}
		c := many(t, src, policy{}, memory(t), f.tier(nil))
		f.set(func() { f.hung = make(chan struct{}) })
		began := time.Now()
		found, err := c.GetMany(t.Context(), []string{"one", "three"})
		wantMany(t, found, err, "one", "three")
		if d := time.Since(began); d > 110*time.Millisecond {
			t.Errorf("GetMany took %v on a hung server, want one budget", d)
		}
		f.set(func() { close(f.hung); f.hung = nil })
	})
}

func TestLoaderOfManySays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newServer()
		load := func(ctx context.Context, keys []string) (map[string]int, error) {
			found := map[string]int{}
			for _, k := range keys {
				l := cache.LoadFor[string, int](ctx, k)
				if l.Fence() == 0 {
					t.Errorf("no fence for %s", k)
				}
				l.SetTTL(time.Duration(len(k)) * time.Second)
				found[k] = len(k)
			}
			return found, nil
		}
		c := open(t, nil, &cache.Options[string, int]{LoadMany: load}, memory(t), f.tier(nil))
		_, _ = c.GetMany(t.Context(), []string{"one", "three"})
		time.Sleep(4 * time.Second)
		_, gone := c.Peek(t.Context(), "one")
		if v, err := c.Peek(t.Context(), "three"); v != 5 || err != nil || !errors.Is(gone, cache.ErrMiss) {
			t.Errorf("after 4s: one %v, three %d, %v", gone, v, err)
		}
	})
}

func TestGetManyOfAbsentKeysLoadsOnceEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, src := newServer(), &source{}
		c := many(t, src, policy{}, memory(t), f.tier(nil))
		for range 50 {
			found, err := c.GetMany(t.Context(), []string{"a1", "a2", "a3"})
			wantMany(t, found, err)
		}
		if s := c.Stats(); len(src.calls) != 50 || s.Waits != 0 {
			t.Errorf("%d calls and %d waits, want one call each time", len(src.calls), s.Waits)
		}
	})
}

func TestDeleteOfManyOnAHungServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, 0, cache.Options[string, int]{})
		f.set(func() { f.hung = make(chan struct{}) })
		began := time.Now()
		var keys []string
		for i := range 20 {
			keys = append(keys, fmt.Sprint(i))
		}
		if err := f.caches[0].Delete(t.Context(), keys...); err == nil || strings.Count(err.Error(), "\n") > 1 {
			t.Errorf("Delete = %v, want it said once", err)
		}
		if d := time.Since(began); d > 110*time.Millisecond {
			t.Errorf("Delete took %v, want one budget", d)
		}
		f.set(func() { close(f.hung); f.hung = nil })
		time.Sleep(3 * time.Second) // until they are made up for
	})
}
