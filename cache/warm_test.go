package cache_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/cache"
)

// upTo yields the first n numbers.
func upTo(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		var loads, running, most atomic.Int32
		opts := hour[int, int]()
		opts.Policy.AbsentTTL = time.Hour
		opts.LoadMany = func(_ context.Context, keys []int) (map[int]int, error) {
			loads.Add(1)
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			time.Sleep(time.Second)
			found, failed := map[int]int{}, map[int]error{}
			for _, key := range keys {
				switch {
				case key == 5:
					failed[key] = broken
				case key != 7:
					found[key] = 2 * key
				}
			}
			if len(failed) > 0 {
				return found, &cache.BatchError[int]{Errs: failed}
			}
			return found, nil
		}
		c := open(t, nil, opts, near(10000))
		var told []cache.WarmStats
		stats, err := c.Warm(t.Context(), upTo(1010), cache.WarmOptions{
			Concurrency: 3, Progress: func(s cache.WarmStats) { told = append(told, s) },
		})
		if want := (cache.WarmStats{Done: 1010, Found: 1008, Absent: 1, Failed: 1}); stats != want || !errors.Is(err, broken) {
			t.Errorf("Warm = %+v, %v, want %+v and the failed key's error", stats, err, want)
		}
		if loads.Load() != 11 || most.Load() != 3 {
			t.Errorf("%d loads, at most %d at once, want 11 and 3", loads.Load(), most.Load())
		}
		if len(told) != 11 || told[10] != stats || !slices.IsSortedFunc(told, func(a, b cache.WarmStats) int { return a.Done - b.Done }) {
			t.Errorf("the progress was %+v", told)
		}
		want[int](t, 2018)(c.Peek(t.Context(), 1009))
	})
}

// A fleet that warms up at once loads each key once.
func TestWarmOfAFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		var mu sync.Mutex
		loaded := map[int]int{}
		opts := hour[int, int]()
		opts.LoadMany = func(_ context.Context, keys []int) (map[int]int, error) {
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			found := map[int]int{}
			for _, key := range keys {
				loaded[key]++
				found[key] = 2 * key
			}
			return found, nil
		}
		var wg sync.WaitGroup
		for range 4 {
			c := open(t, nil, opts, near(10000), s.tier(nil))
			wg.Go(func() {
				if stats, err := c.Warm(t.Context(), upTo(500), cache.WarmOptions{}); err != nil || stats.Found != 500 {
					t.Errorf("Warm = %+v, %v", stats, err)
				}
			})
		}
		wg.Wait()
		for key := range 500 {
			if loaded[key] != 1 {
				t.Fatalf("key %d was loaded %d times", key, loaded[key])
			}
		}
	})
}

func TestWarmWithoutLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		c := open(t, double, hour[int, int](), near(1000), s.tier(nil))
		for key := range 50 {
			_, _ = c.Get(t.Context(), key)
		}
		load := func(context.Context, int) (int, error) { t.Error("loaded"); return 0, nil }
		d := open(t, load, hour[int, int](), near(1000), s.tier(nil))
		stats, err := d.Warm(t.Context(), upTo(80), cache.WarmOptions{NoLoad: true, Batch: 7})
		if want := (cache.WarmStats{Done: 80, Found: 50, Missing: 30}); stats != want || err != nil {
			t.Errorf("Warm = %+v, %v, want %+v", stats, err, want)
		}
		if n := s.did("lease") + s.did("leasemulti"); n != 50 {
			t.Errorf("%d leases were asked for, want the 50 of the first cache's loads", n)
		}
		gets := s.did("get")
		want[int](t, 2)(d.Get(t.Context(), 1))
		if s.did("get") != gets {
			t.Error("what was warmed is not in memory")
		}
		s.set(func() { s.down = true })
		e := open(t, load, hour[int, int](), near(1000), s.tier(nil))
		if stats, err := e.Warm(t.Context(), upTo(8), cache.WarmOptions{NoLoad: true}); err == nil || stats.Failed != 8 {
			t.Errorf("Warm with the server away = %+v, %v", stats, err)
		}
	})
}

// A Get that joins a flight that loads nothing loads by itself.
func TestGetDuringWarmWithoutLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		release := make(chan struct{})
		s.set(func() { s.hung = release })
		c := open(t, double, hour[int, int](), near(1000), s.tier(nil))
		var wg sync.WaitGroup
		wg.Go(func() {
			if stats, err := c.Warm(t.Context(), upTo(1), cache.WarmOptions{NoLoad: true}); err != nil || stats.Missing != 1 {
				t.Errorf("Warm = %+v, %v", stats, err)
			}
		})
		synctest.Wait()
		wg.Go(func() { want[int](t, 0)(c.Get(t.Context(), 0)) })
		wg.Go(func() {
			if m, err := c.GetMany(t.Context(), []int{0}); err != nil || len(m) != 1 {
				t.Errorf("GetMany = %v, %v", m, err)
			}
		})
		synctest.Wait()
		s.set(func() { s.hung = nil })
		close(release)
		wg.Wait()
	})
}

func TestWarmStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		slow := func(ctx context.Context, key int) (int, error) {
			select {
			case <-time.After(time.Second):
				return key, nil
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
		}
		c := open(t, slow, hour[int, int](), near(1000))
		drawn := 0
		keys := func(yield func(int) bool) { // without end
			for drawn = 0; yield(drawn); drawn++ {
			}
		}
		time.AfterFunc(2500*time.Millisecond, func() { cancel(why) })
		stats, err := c.Warm(ctx, keys, cache.WarmOptions{Batch: 5, Concurrency: 2})
		if !errors.Is(err, why) || stats.Found != 20 || stats.Failed != 0 || drawn > 40 {
			t.Errorf("Warm = %+v, %v, after %d keys", stats, err, drawn)
		}
		if _, err := open(t, nil, hour[int, int](), near(10)).Warm(t.Context(), upTo(1), cache.WarmOptions{}); !errors.Is(err, cache.ErrNoLoader) {
			t.Errorf("without a loader: %v", err)
		}
		time.AfterFunc(1500*time.Millisecond, func() { _ = c.Close() })
		if _, err := c.Warm(t.Context(), func(yield func(int) bool) {
			for i := 1000; yield(i); i++ {
			}
		}, cache.WarmOptions{Batch: 5}); !errors.Is(err, cache.ErrClosed) {
			t.Errorf("Warm of a cache that is closed meanwhile: %v", err)
		}
	})
}
