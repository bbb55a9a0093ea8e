package cache_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/cache"
)

type policy = cache.Policy

func withPolicy(p policy) cache.Options[string, int] { return cache.Options[string, int]{Policy: p} }

// at fails unless the bubble's clock stands at d after began.
func at(t *testing.T, what string, began time.Time, d time.Duration) {
	t.Helper()
	if took := time.Since(began); took != d {
		t.Errorf("%s after %v, want %v", what, took, d)
	}
}

func (f *fleet) wantLoads(t *testing.T, n int32) {
	t.Helper()
	if got := f.loads.Load(); got != n {
		t.Errorf("%d loads, want %d", got, n)
	}
}

func TestColdLoadIsTwoRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, time.Second, cache.Options[string, int]{})
		want(t, 1)(f.caches[0].Get(t.Context(), "k"))
		time.Sleep(5 * time.Minute) // expired
		want(t, 2)(f.caches[0].Get(t.Context(), "k"))
		if n := len(f.calls); n != 2 || f.did("lease") != 2 || f.did("commit") != 2 {
			t.Errorf("calls = %v, want 2 leases and 2 commits, and nothing else", f.calls)
		}
	})
}

func TestLikelyHitsAreReadFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, loads := newServer(), 0
		c := open(t, count(&loads, 0), nil, s.tier(nil))
		for range 100 {
			want(t, 1)(c.Get(t.Context(), "k"))
		}
		leases := s.did("lease")
		want(t, 1)(c.Get(t.Context(), "k"))
		if s.did("lease") != leases || s.did("get") == 0 {
			t.Errorf("calls = %v after 100 hits, want a plain get", s.calls)
		}
		for i := range 100 {
			_, _ = c.Get(t.Context(), string(rune('A'+i)))
		}
		gets := s.did("get")
		_, _ = c.Get(t.Context(), "other")
		if s.did("get") != gets {
			t.Errorf("calls = %v after 100 misses, want a lease at once", s.calls)
		}
	})
}

func TestStaleWhileRevalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, time.Second, withPolicy(policy{TTL: time.Minute, StaleWhileRevalidate: time.Minute}))
		f.herd(t, 10, want(t, 1))
		time.Sleep(time.Minute)
		began := time.Now()
		f.herd(t, 50, want(t, 1))
		at(t, "stale values", began, 0)
		time.Sleep(time.Second) // the refresh
		synctest.Wait()
		f.wantLoads(t, 2)

		// Another process finds what the one that refreshed has stored. Those
		// who looked too early go on with what is stale until they look again.
		time.Sleep(10 * time.Second)
		for _, c := range f.caches {
			_, _ = c.Get(t.Context(), "k")
		}
		synctest.Wait()
		f.herd(t, 1, want(t, 2))
		f.wantLoads(t, 2)

		time.Sleep(2 * time.Minute) // beyond the window nobody is served what is stale
		began = time.Now()
		f.herd(t, 10, want(t, 3))
		at(t, "values", began, time.Second)
	})
}

func TestStaleFromTheSharedTier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, loads := newServer(), 0
		o := withPolicy(policy{TTL: time.Minute, StaleWhileRevalidate: time.Minute})
		a := open(t, count(&loads, time.Second), &o, s.tier(nil))
		want(t, 1)(a.Get(t.Context(), "k"))
		time.Sleep(time.Minute)
		b := open(t, count(&loads, time.Second), &o, memory(t), s.tier(nil)) // a new process
		began := time.Now()
		e, err := b.GetEntry(t.Context(), "k")
		if err != nil || e.Value != 1 || !e.Stale || e.Age != time.Minute || e.Why != nil || e.Result != cache.ResultStale {
			t.Errorf("GetEntry = %+v, %v, want 1, stale, a minute old", e, err)
		}
		at(t, "the stale value", began, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		want(t, 2)(b.Get(t.Context(), "k"))
		want(t, 2)(a.Get(t.Context(), "k"))
		if loads != 2 {
			t.Errorf("%d loads, want 2", loads)
		}
	})
}

var errSource = errors.New("source is down")

// failing is a loader that fails after d, and counts.
func failing(calls *int, d time.Duration) cache.LoadFunc[string, int] {
	return func(ctx context.Context, _ string) (int, error) {
		*calls++
		time.Sleep(d)
		return 0, errSource
	}
}

func TestStaleIfError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, 0, withPolicy(policy{TTL: time.Minute, StaleIfError: time.Hour}))
		f.herd(t, 1, want(t, 1))
		time.Sleep(time.Minute)
		calls := 0
		fail := failing(&calls, time.Second)
		began := time.Now()
		v, err := f.caches[0].GetOrLoad(t.Context(), "k", fail)
		want(t, 1)(v, err)
		at(t, "the stale value", began, time.Second) // it was tried
		for _, c := range f.caches {                 // and is not tried again yet, anywhere
			v, err := c.GetOrLoad(t.Context(), "k", fail)
			want(t, 1)(v, err)
		}
		at(t, "the stale values", began, time.Second)
		if calls != 1 {
			t.Errorf("%d calls of a failing source, want 1 a cool-down", calls)
		}
		e, err := f.caches[0].GetEntry(t.Context(), "k")
		if err != nil || !e.Stale || !errors.Is(e.Why, cache.ErrCooling) || !errors.Is(e.Why, errSource) {
			t.Errorf("GetEntry = %+v, %v, want it stale because of %v", e, err, errSource)
		}
		if s := f.caches[0].Stats(); s.StaleIfError != 3 || s.Stale != 3 || s.Errors != 0 {
			t.Errorf("Stats = %+v, want 3 stale instead of an error", s)
		}
		time.Sleep(time.Second)
		want(t, 2)(f.caches[0].Get(t.Context(), "k")) // the source is back

		time.Sleep(time.Minute + time.Hour)
		if _, err := f.caches[0].GetOrLoad(t.Context(), "k", fail); !errors.Is(err, errSource) {
			t.Errorf("Get beyond StaleIfError = %v, want the loader's error", err)
		}
	})
}

func TestWhoHoldsAStaleValueNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, 0, withPolicy(policy{TTL: time.Minute, StaleIfError: time.Hour}))
		f.herd(t, 1, want(t, 1))
		time.Sleep(time.Minute)
		f.took = 10 * time.Second
		var wg sync.WaitGroup
		wg.Go(func() { want(t, 2)(f.caches[0].Get(t.Context(), "k")) })
		synctest.Wait()
		began := time.Now()
		want(t, 1)(f.caches[0].Get(t.Context(), "k")) // in the process that loads
		e, err := f.caches[1].GetEntry(t.Context(), "k")
		if err != nil || e.Value != 1 || !e.Stale || !errors.Is(e.Why, cache.ErrInProgress) {
			t.Errorf("GetEntry elsewhere = %+v, %v, want 1, stale: in progress", e, err)
		}
		at(t, "stale values", began, 0)
		wg.Wait()
	})
	t.Run("that only the shared tier has", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, loads := newServer(), 0
			o := withPolicy(policy{TTL: time.Minute, StaleIfError: time.Hour})
			a := open(t, count(&loads, 10*time.Second), &o, s.tier(nil))
			want(t, 1)(a.Get(t.Context(), "k"))
			time.Sleep(2 * time.Minute)
			var wg sync.WaitGroup
			wg.Go(func() { want(t, 2)(a.Get(t.Context(), "k")) })
			synctest.Wait()
			began := time.Now()
			want(t, 1)(a.Get(t.Context(), "k"))
			at(t, "the stale value", began, 0)
			wg.Wait()
		})
	})
}

// Without memory of its own a process must not try a refresh at each read while
// another one is at it.
func TestStaleReadsWithoutMemoryDoNotAllRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, loads := newServer(), 0
		o := withPolicy(policy{TTL: time.Minute, StaleWhileRevalidate: time.Hour})
		a := open(t, count(&loads, 10*time.Second), &o, s.tier(nil))
		b := open(t, count(&loads, 10*time.Second), &o, s.tier(nil))
		want(t, 1)(a.Get(t.Context(), "k"))
		time.Sleep(time.Minute)
		want(t, 1)(a.Get(t.Context(), "k")) // begins the refresh
		synctest.Wait()
		before := s.did("lease") + s.did("get")
		for range 100 {
			want(t, 1)(b.Get(t.Context(), "k"))
			synctest.Wait()
		}
		if n := s.did("lease") + s.did("get") - before; n > 105 {
			t.Errorf("%d calls for 100 reads, want one each, one try for the refresh, and one look at the stamps", n)
		}
		time.Sleep(time.Minute)
	})
}

func TestRefreshAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, time.Second, withPolicy(policy{TTL: 100 * time.Second, RefreshAhead: 0.8}))
		f.herd(t, 5, want(t, 1))
		time.Sleep(78 * time.Second)
		f.herd(t, 5, want(t, 1))
		synctest.Wait()
		f.wantLoads(t, 1)
		time.Sleep(2 * time.Second)
		began := time.Now()
		f.herd(t, 50, want(t, 1)) // fresh, and due
		at(t, "fresh values", began, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		f.wantLoads(t, 2)
		for range 5 { // those who lost the lease look again, and find it done
			time.Sleep(3 * time.Second)
			f.herd(t, 1, func(int, error) {})
			synctest.Wait()
		}
		f.herd(t, 1, want(t, 2))
		f.wantLoads(t, 2)
		if s := f.caches[1].Stats(); s.Stale+s.Waits != 0 && s.Shared == 0 {
			t.Errorf("Stats = %+v, want nobody to have waited", s)
		}
	})
}

// With δ = 1 s and reads every 100 ms the refresh must come before the end, and
// on average δ·ln(λδ) before it, by the simulation in the design notes.
func TestXFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl, load, rounds = 60 * time.Second, time.Second, 60
		loads := 0
		o := withPolicy(policy{TTL: ttl, XFetch: 1})
		c := open(t, count(&loads, load), &o, memory(t))
		want(t, 1)(c.Get(t.Context(), "k"))
		var lead time.Duration
		for round := range rounds {
			began := time.Now()
			for loads == round+1 {
				time.Sleep(100 * time.Millisecond)
				_, _ = c.Get(t.Context(), "k")
				synctest.Wait()
			}
			lead += ttl - time.Since(began)
			time.Sleep(load)
			synctest.Wait()
		}
		if s := c.Stats(); s.Loaded != 1 {
			t.Errorf("%d reads had to load, want all but the first to be served from memory", s.Loaded)
		}
		want := time.Duration(math.Log(10) * float64(time.Second))
		if mean := lead / rounds; mean < want/2 || mean > 3*want {
			t.Errorf("refreshed %v before the end on average, want about %v", mean, want)
		}
	})
}

func TestTimeouts(t *testing.T) {
	t.Run("soft", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 1, 0, withPolicy(policy{TTL: time.Minute, StaleIfError: time.Hour, SoftTimeout: 50 * time.Millisecond}))
			want(t, 1)(f.caches[0].Get(t.Context(), "k"))
			time.Sleep(time.Minute)
			f.took = time.Second
			began := time.Now()
			want(t, 1)(f.caches[0].Get(t.Context(), "k"))
			at(t, "the stale value", began, 50*time.Millisecond)
			time.Sleep(time.Second)
			synctest.Wait()
			want(t, 2)(f.caches[0].Get(t.Context(), "k")) // done in the background
			f.wantLoads(t, 2)
		})
	})
	t.Run("soft, on a hung server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 1, 0, withPolicy(policy{TTL: time.Minute, StaleIfError: time.Hour, SoftTimeout: 10 * time.Millisecond}))
			want(t, 1)(f.caches[0].Get(t.Context(), "k"))
			time.Sleep(time.Minute)
			f.set(func() { f.hung = make(chan struct{}) })
			began := time.Now()
			want(t, 1)(f.caches[0].Get(t.Context(), "k"))
			at(t, "the stale value", began, 10*time.Millisecond)
			f.set(func() { close(f.hung); f.hung = nil })
			time.Sleep(time.Minute)
		})
	})
	t.Run("hard", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 1, time.Second, withPolicy(policy{HardTimeout: 50 * time.Millisecond}))
			began := time.Now()
			f.herd(t, 10, func(_ int, err error) {
				if !errors.Is(err, cache.ErrTimeout) {
					t.Errorf("Get = %v, want ErrTimeout", err)
				}
			})
			at(t, "ErrTimeout", began, 50*time.Millisecond)
			patient := f.caches[0].With(func(p *policy) { p.HardTimeout = 0 })
			want(t, 1)(patient.Get(t.Context(), "k"))
			at(t, "the value", began, time.Second)
			f.wantLoads(t, 1)
			if s := f.caches[0].Stats(); s.HardTimeouts != 10 || s.Errors != 10 {
				t.Errorf("Stats = %+v, want 10 hard timeouts", s)
			}
		})
	})
	t.Run("load, of a loader that ignores its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 2, 0, withPolicy(policy{LoadTimeout: time.Second, CoolDown: -1}))
			var cause error
			stuck := func(ctx context.Context, _ string) (int, error) {
				time.Sleep(3 * time.Second)
				cause = context.Cause(ctx)
				return 9, nil
			}
			began := time.Now()
			_, err := f.caches[0].GetOrLoad(t.Context(), "k", stuck)
			if !errors.Is(err, cache.ErrLoadTimeout) {
				t.Errorf("Get = %v, want ErrLoadTimeout", err)
			}
			at(t, "ErrLoadTimeout", began, time.Second)
			want(t, 1)(f.caches[1].Get(t.Context(), "k")) // the key is free
			want(t, 1)(f.caches[0].Get(t.Context(), "k"))
			at(t, "the value", began, time.Second)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			want(t, 1)(f.caches[0].Get(t.Context(), "k")) // the late value is thrown away
			if !errors.Is(cause, cache.ErrLoadTimeout) {
				t.Errorf("cause = %v, want ErrLoadTimeout", cause)
			}
			if s := f.caches[0].Stats(); s.LoadTimeouts != 1 {
				t.Errorf("Stats = %+v, want 1 load timeout", s)
			}
		})
	})
}

func TestJitterSpreadsExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, 0, withPolicy(policy{TTL: 100 * time.Second, Jitter: 0.2}))
		c := f.caches[0]
		keys := make([]string, 200)
		for i := range keys {
			keys[i] = string(rune('A' + i))
			_, _ = c.Get(t.Context(), keys[i])
		}
		alive := func() (n int) {
			for _, k := range keys {
				if _, err := c.Peek(t.Context(), k); err == nil {
					n++
				}
			}
			return n
		}
		time.Sleep(80*time.Second - time.Millisecond)
		if n := alive(); n != len(keys) {
			t.Errorf("%d alive before the earliest end", n)
		}
		time.Sleep(10 * time.Second)
		if n := alive(); n < 50 || n > 150 {
			t.Errorf("%d of 200 alive half way through the jitter, want about half", n)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		if n := alive(); n != 0 {
			t.Errorf("%d alive after TTL", n)
		}
	})
}
