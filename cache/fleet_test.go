package cache_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// fleet is n caches on one server, as n processes would have.
type fleet struct {
	*server
	caches []*cache.Cache[string, int]
	loads  atomic.Int32
	took   time.Duration
}

func newFleet(t *testing.T, n int, took time.Duration, opts cache.Options[string, int]) *fleet {
	t.Helper()
	f := &fleet{server: newServer(), took: took}
	for range n {
		f.caches = append(f.caches, open(t, f.load, &opts, memory(t), f.tier(nil)))
	}
	return f
}

// load returns how many loads have begun.
func (f *fleet) load(ctx context.Context, _ string) (int, error) {
	n := int(f.loads.Add(1))
	select {
	case <-time.After(f.took):
		return n, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// herd calls Get of one key so many times in each cache at once.
func (f *fleet) herd(t *testing.T, each int, check func(v int, err error)) {
	t.Helper()
	var wg sync.WaitGroup
	for _, c := range f.caches {
		for range each {
			wg.Go(func() { check(c.Get(t.Context(), "k")) })
		}
	}
	wg.Wait()
}

func TestOneLoadForTheFleet(t *testing.T) {
	// Far shorter and far longer than the lease: neither needs a tuned TTL.
	for _, took := range []time.Duration{0, time.Millisecond, 300 * time.Millisecond, 29 * time.Second} {
		t.Run(took.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 4, took, cache.Options[string, int]{Lease: lock.Options{TTL: 100 * time.Millisecond}})
				f.herd(t, 50, want(t, 1))
				if n := f.loads.Load(); n != 1 {
					t.Errorf("%d loads, want 1", n)
				}
				for _, c := range f.caches {
					want(t, 1)(c.Get(t.Context(), "k"))
					if s := c.Stats(); s.Hits == 0 || s.Unprotected != 0 {
						t.Errorf("Stats = %+v, want the value in every L1 and no unprotected load", s)
					}
				}
				if !f.free(t, "k") {
					t.Error("the lease is left")
				}
			})
		})
	}
}

func TestPromotionKeepsTheRemainingLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, 0, cache.Options[string, int]{Policy: cache.Policy{TTL: time.Minute}})
		want(t, 1)(f.caches[0].Get(t.Context(), "k"))
		time.Sleep(40 * time.Second)
		want(t, 1)(f.caches[1].Get(t.Context(), "k")) // from L2, into L1
		_ = f.store.Delete(t.Context(), "k")
		time.Sleep(20*time.Second - time.Millisecond)
		want(t, 1)(f.caches[1].Get(t.Context(), "k"))
		time.Sleep(time.Millisecond)
		want(t, 2)(f.caches[1].Get(t.Context(), "k"))
	})
}

func TestWaitPolicies(t *testing.T) {
	// A holder that is alive and renews, but does not finish in time.
	stuck := func(t *testing.T, opts cache.Options[string, int]) (*fleet, func()) {
		f := newFleet(t, 2, time.Hour, opts)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = f.caches[0].Get(ctx, "k") })
		synctest.Wait()
		f.took = 0 // for the second
		return f, func() { cancel(); wg.Wait() }
	}
	t.Run("load anyway", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, end := stuck(t, cache.Options[string, int]{})
			defer end()
			began := time.Now()
			want(t, 2)(f.caches[1].Get(t.Context(), "k"))
			if d := time.Since(began); d != 30*time.Second {
				t.Errorf("waited %v, want MaxWait (30s)", d)
			}
			if !f.empty(t, "k") || f.free(t, "k") {
				t.Error("an unprotected load wrote to the shared tier")
			}
			want(t, 2)(f.caches[1].Get(t.Context(), "k")) // kept in this process
		})
	})
	t.Run("fail fast after the textbook's retries", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, end := stuck(t, cache.Options[string, int]{Policy: cache.Policy{Wait: cache.FailFast}, Lease: lock.Options{Retries: 5}})
			defer end()
			began := time.Now()
			_, err := f.caches[1].Get(t.Context(), "k")
			held := new(lock.HeldError)
			if !errors.Is(err, cache.ErrInProgress) || !errors.As(err, &held) || held.Attempts != 6 {
				t.Errorf("Get = %v, want ErrInProgress after 6 attempts", err)
			}
			if d := time.Since(began); d < 3100*time.Millisecond || d >= 3600*time.Millisecond {
				t.Errorf("waited %v, want 100+200+400+800+1600 ms and up to 5x100 ms of jitter", d)
			}
		})
	})
	t.Run("serve stale at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 2, 0, cache.Options[string, int]{Policy: cache.Policy{TTL: time.Minute, StaleIfError: time.Hour}})
			for _, c := range f.caches {
				want(t, 1)(c.Get(t.Context(), "k"))
			}
			time.Sleep(time.Minute)
			f.took = time.Second
			var wg sync.WaitGroup
			wg.Go(func() { want(t, 2)(f.caches[0].Get(t.Context(), "k")) })
			synctest.Wait()
			began := time.Now()
			want(t, 1)(f.caches[1].Get(t.Context(), "k"))
			if d := time.Since(began); d != 0 {
				t.Errorf("waited %v with a stale value at hand", d)
			}
			if s := f.caches[1].Stats(); s.Stale != 1 {
				t.Errorf("Stats = %+v, want 1 stale", s)
			}
			wg.Wait()
		})
	})
}

func TestHolderThatFailsFreesTheKeyAtOnce(t *testing.T) {
	for name, fail := range map[string]func() (int, error){
		"error": func() (int, error) { return 0, errors.New("boom") },
		"panic": func() (int, error) { panic("boom") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 1, 0, cache.Options[string, int]{})
				if _, err := f.caches[0].GetOrLoad(t.Context(), "k", func(context.Context, string) (int, error) { return fail() }); err == nil {
					t.Error("Get = nil, want the loader's error")
				}
				time.Sleep(100 * time.Millisecond) // the cool-down
				if !f.free(t, "k") {
					t.Error("the lease was not released")
				}
			})
		})
	}
	t.Run("canceled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 1, time.Hour, cache.Options[string, int]{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := f.caches[0].Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Get = %v, want DeadlineExceeded", err)
			}
			synctest.Wait()
			if !f.free(t, "k") {
				t.Error("the lease of a load that nobody waits for was not released")
			}
		})
	})
}

func TestHolderThatDiesIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, 0, cache.Options[string, int]{Lease: lock.Options{TTL: 5 * time.Second}})
		_, _ = f.Lease(t.Context(), "k", backend.LeaseRequest{Token: "dead", TTL: 5 * time.Second})
		began := time.Now()
		want(t, 1)(f.caches[0].Get(t.Context(), "k"))
		if d := time.Since(began); d > 5*time.Second+1600*time.Millisecond {
			t.Errorf("recovered after %v, want within the lease's TTL and a poll", d)
		}
	})
}

func TestLateLoadNeverReplacesWhatCameAfterIt(t *testing.T) {
	// A loader that ignores its context goes on and gives its callers what it
	// loaded; one that heeds it ends, and what came after is looked up.
	for _, heeds := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 2, time.Minute, cache.Options[string, int]{Policy: cache.Policy{LoadTimeout: time.Hour}})
			load := func(ctx context.Context, _ string) (int, error) {
				if heeds {
					<-ctx.Done()
					if cause := context.Cause(ctx); !errors.Is(cause, lock.ErrLost) {
						t.Errorf("cause = %v, want ErrLost", cause)
					}
					return 0, ctx.Err()
				}
				time.Sleep(time.Minute)
				return 1, nil
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				wanted := 1
				if heeds {
					wanted = 50
				}
				want(t, wanted)(f.caches[0].GetOrLoad(t.Context(), "k", load))
			})
			synctest.Wait()
			if err := f.caches[1].Set(t.Context(), "k", 50); err != nil { // another process
				t.Fatal(err)
			}
			wg.Wait()
			for _, c := range f.caches {
				want(t, 50)(c.Get(t.Context(), "k"))
			}
			if s := f.caches[0].Stats(); s.LeasesLost != 1 {
				t.Errorf("Stats = %+v, want 1 lease lost", s)
			}
		})
	}
}

func TestServerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, time.Second, cache.Options[string, int]{Policy: cache.Policy{TTL: time.Minute}})
		f.set(func() { f.down = true })
		began := time.Now()
		want(t, 1)(f.caches[0].Get(t.Context(), "k"))
		if d := time.Since(began); d > f.took+10*time.Millisecond {
			t.Errorf("Get took %v, want the loader's time and at most 10ms", d)
		}
		want(t, 1)(f.caches[0].Get(t.Context(), "k")) // L1 goes on
		if err := f.caches[0].Set(t.Context(), "k", 7); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Set = %v, want ErrUnavailable", err)
		}
		want(t, 7)(f.caches[0].Get(t.Context(), "k"))
		if _, err := f.caches[0].Peek(t.Context(), "other"); !errors.Is(err, cache.ErrMiss) || !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Peek = %v, want ErrMiss and ErrUnavailable", err)
		}
		f.set(func() { f.down = false })
		time.Sleep(3 * time.Second) // breaker 1s + 2s
		if err := f.caches[0].Set(t.Context(), "k", 8); err != nil {
			t.Errorf("Set after the server returned = %v", err)
		}
		want(t, 8)(f.caches[1].Get(t.Context(), "k"))
	})
}

func TestServerHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, 100*time.Millisecond, cache.Options[string, int]{})
		c := f.caches[0]
		want(t, 1)(c.Get(t.Context(), "warm"))
		f.set(func() { f.hung = make(chan struct{}) })
		const budget, patrol = 100 * time.Millisecond, 5 * time.Millisecond
		for i, key := range []string{"a", "b", "c", "d", "e", "f", "g"} {
			limit := f.took + budget + patrol
			if i >= 5 { // the breaker is open
				limit = f.took
			}
			began := time.Now()
			if _, err := c.Get(t.Context(), key); err != nil {
				t.Errorf("Get(%s) = %v", key, err)
			}
			if d := time.Since(began); d > limit {
				t.Errorf("Get(%s) took %v, want at most %v", key, d, limit)
			}
		}
		want(t, 1)(c.Get(t.Context(), "warm"))

		impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := c.Get(impatient, "z"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 30*time.Millisecond {
			t.Errorf("impatient Get = %v after %v", err, time.Since(began))
		}
		f.set(func() { close(f.hung); f.hung = nil })
	})
}

// A client that has to dial first ignores contexts for as long as that takes.
func TestServerHungAndClientDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, 0, cache.Options[string, int]{})
		want(t, 1)(f.caches[0].Get(t.Context(), "a"))
		time.Sleep(time.Second) // idle: the connection may have gone
		f.set(func() { f.hung, f.deaf = make(chan struct{}), true })
		began := time.Now()
		want(t, 2)(f.caches[0].Get(t.Context(), "b"))
		if d := time.Since(began); d > 105*time.Millisecond {
			t.Errorf("Get took %v, want one budget", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		began = time.Now()
		if _, err := f.caches[0].Get(ctx, "c"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 25*time.Millisecond {
			t.Errorf("Get = %v after %v, want the caller's deadline", err, time.Since(began))
		}
		f.set(func() { close(f.hung); f.hung = nil })
	})
}

func TestServerHangsInMidLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, time.Second, cache.Options[string, int]{})
		var wg sync.WaitGroup
		began := time.Now()
		wg.Go(func() { want(t, 1)(f.caches[0].Get(t.Context(), "k")) })
		synctest.Wait()
		f.set(func() { f.hung = make(chan struct{}) })
		wg.Wait()
		if d := time.Since(began); d > f.took+110*time.Millisecond {
			t.Errorf("Get took %v, want the loader's second and one budget", d)
		}
		want(t, 1)(f.caches[0].Get(t.Context(), "k"))
		f.set(func() { close(f.hung); f.hung = nil })
	})
}

func TestForeignBytesAreACountedMiss(t *testing.T) {
	for name, data := range map[string]string{
		"empty": "", "text": "hello", "old": `{"v":1}`, "magic": "BW\x01", "long": strings.Repeat("BW\x01\x00", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 2, 0, cache.Options[string, int]{})
				_ = f.Set(t.Context(), "k", []byte(data), time.Hour)
				want(t, 1)(f.caches[0].Get(t.Context(), "k"))
				want(t, 1)(f.caches[1].Get(t.Context(), "k")) // overwritten with a sound entry
				if s := f.caches[0].Stats().Tiers[0]; s.Corrupt == 0 || s.Errors != 0 {
					t.Errorf("Stats = %+v, want it counted as corrupt, not as an error", s)
				}
			})
		})
	}
	t.Run("another key's entry", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 2, 0, cache.Options[string, int]{})
			want(t, 1)(f.caches[0].Get(t.Context(), "a"))
			moved, _ := f.store.Get(t.Context(), "a")
			_ = f.store.Set(t.Context(), "b", moved, time.Hour)
			want(t, 2)(f.caches[1].Get(t.Context(), "b"))
			if s := f.caches[1].Stats().Tiers[0]; s.Foreign == 0 {
				t.Errorf("Stats = %+v, want it counted as foreign", s)
			}
		})
	})
}

func TestStoreWithoutLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, loads := newServer(), 0
		load := count(&loads, 0)
		a := open(t, load, nil, memory(t), tier.Remote(dumb{s}, nil))
		b := open(t, load, nil, memory(t), tier.Remote(dumb{s}, nil))
		want(t, 1)(a.Get(t.Context(), "k"))
		want(t, 1)(b.Get(t.Context(), "k"))
	})
}

func TestAdviceOnEntryTTL(t *testing.T) {
	var got []lock.WarningCode
	hooks := cache.Hooks{Warn: func(_ context.Context, w lock.Warning) {
		if w.Code != cache.WarnFallback {
			got = append(got, w.Code)
		}
	}}
	s := newServer()
	open[string, int](t, nil, &cache.Options[string, int]{Policy: cache.Policy{TTL: time.Second}, Hooks: hooks}, s.tier(nil))
	open[string, int](t, nil, &cache.Options[string, int]{Policy: cache.Policy{TTL: time.Minute}, Hooks: hooks}, s.tier(nil))
	if len(got) != 1 || got[0] != lock.WarnEntryTTL {
		t.Errorf("warnings = %v, want one %v", got, lock.WarnEntryTTL)
	}
}
