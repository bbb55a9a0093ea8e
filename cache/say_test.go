package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// saying is a cache of a loader that says something of its load.
func saying(t *testing.T, s *server, p policy, say func(l *cache.Load[int]) (int, error)) *cache.Cache[string, int] {
	t.Helper()
	o := withPolicy(p)
	return open(t, func(ctx context.Context, _ string) (int, error) { return say(cache.LoadFrom[int](ctx)) }, &o, memory(t), s.tier(nil))
}

func TestLoaderSaysLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, loads := newServer(), 0
		c := saying(t, s, policy{TTL: time.Hour, StaleIfError: time.Hour}, func(l *cache.Load[int]) (int, error) {
			if loads++; loads > 1 {
				return 0, errSource
			}
			l.SetTTL(time.Minute)
			l.SetStaleFor(time.Minute)
			return 1, nil
		})
		want(t, 1)(c.Get(t.Context(), "k"))
		time.Sleep(time.Minute)
		want(t, 1)(c.Get(t.Context(), "k")) // stale
		if loads != 2 {
			t.Errorf("%d loads, want a second after the loader's own TTL", loads)
		}
		time.Sleep(time.Minute)
		if _, err := c.Get(t.Context(), "k"); !errors.Is(err, errSource) && !errors.Is(err, cache.ErrCooling) {
			t.Errorf("Get = %v, want nothing left", err)
		}
	})
}

func TestLoaderSaysNoStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, loads := newServer(), 0
		c := saying(t, s, policy{}, func(l *cache.Load[int]) (int, error) {
			loads++
			l.NoStore()
			return loads, nil
		})
		want(t, 1)(c.Get(t.Context(), "k"))
		if !s.empty(t, "k") || !s.free(t, "k") {
			t.Error("it was stored, or the lease is left")
		}
		want(t, 2)(c.Get(t.Context(), "k"))
	})
}

func TestRevalidationOnAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		modified := time.UnixMicro(1e15)
		p := policy{TTL: time.Minute, StaleIfError: time.Hour}
		a := saying(t, s, p, func(l *cache.Load[int]) (int, error) {
			if v, ok := l.Stale(); ok || l.ETag() != "" {
				t.Errorf("a first load sees a stale %d", v)
			}
			l.SetETag(`"v1"`)
			l.SetLastModified(modified)
			l.SetTags("city", "london")
			return 1, nil
		})
		want(t, 1)(a.Get(t.Context(), "k"))
		time.Sleep(time.Minute)
		var fence uint64
		b := saying(t, s, p, func(l *cache.Load[int]) (int, error) {
			v, ok := l.Stale()
			if !ok || v != 1 || l.ETag() != `"v1"` || !l.LastModified().Equal(modified) {
				t.Errorf("Stale = %d, %t, ETag %q, LastModified %v", v, ok, l.ETag(), l.LastModified())
			}
			if l.Fence() <= fence {
				t.Errorf("fence %d after %d", l.Fence(), fence)
			}
			fence = l.Fence()
			return l.NotModified()
		})
		for range 3 { // what is confirmed can be confirmed again
			e, err := b.GetEntry(t.Context(), "k")
			if err != nil || e.Value != 1 || e.Stale || e.ETag != `"v1"` || !e.LastModified.Equal(modified) || fmt.Sprint(e.Tags) != "[city london]" {
				t.Errorf("GetEntry = %+v, %v", e, err)
			}
			time.Sleep(30 * time.Second)
			want(t, 1)(b.Get(t.Context(), "k"))
			time.Sleep(30 * time.Second)
		}
		fresh := saying(t, newServer(), p, func(l *cache.Load[int]) (int, error) { return l.NotModified() })
		if _, err := fresh.Get(t.Context(), "k"); !errors.Is(err, cache.ErrNotModified) {
			t.Errorf("Get = %v, want ErrNotModified: there was nothing to confirm", err)
		}
	})
}

func TestLoadFromNowhere(t *testing.T) {
	l := cache.LoadFrom[int](t.Context())
	l.SetTTL(time.Second)
	l.NoStore()
	if _, ok := l.Stale(); ok || l.ETag() != "" || l.Fence() != 0 || !l.LastModified().IsZero() {
		t.Error("a load from no loader knows something")
	}
}

func TestLossOfTheLeaseCancelsTheLoad(t *testing.T) {
	for name, after := range map[string]time.Duration{"told": 0, "found out": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, calls := newServer(), 0
				shared := s.tier(nil)
				if after > 0 {
					shared = tier.Remote(s.mute(), nil) // it hears of it at the next renewal
				}
				c := open(t, func(ctx context.Context, _ string) (int, error) {
					if calls++; calls > 1 {
						return 9, nil
					}
					<-ctx.Done()
					if cause := context.Cause(ctx); !errors.Is(cause, lock.ErrLost) {
						t.Errorf("cause = %v, want ErrLost", cause)
					}
					return 0, ctx.Err()
				}, &cache.Options[string, int]{Lease: lock.Options{TTL: 3 * time.Second}}, memory(t), shared)
				began := time.Now()
				var wg sync.WaitGroup
				wg.Go(func() { want(t, 9)(c.Get(t.Context(), "k")) })
				synctest.Wait()
				_ = s.store.Delete(t.Context(), "k") // another process
				wg.Wait()
				at(t, "the value", began, after)
				if st := c.Stats(); st.LeasesLost != 1 || calls != 2 {
					t.Errorf("%d calls, Stats = %+v, want a second load after the lost one", calls, st)
				}
			})
		})
	}
}

func TestNobodyJoinsALoadWhoseLeaseWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, 0, cache.Options[string, int]{})
		release := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			v, err := f.caches[0].GetOrLoad(t.Context(), "k", func(context.Context, string) (int, error) {
				<-release
				return 7, nil
			})
			want(t, 7)(v, err)
		})
		synctest.Wait()
		_ = f.store.Delete(t.Context(), "k") // another process
		synctest.Wait()
		want(t, 1)(f.caches[0].Get(t.Context(), "k"))
		close(release)
		wg.Wait()
		want(t, 1)(f.caches[0].Get(t.Context(), "k"))
	})
}

func TestBulkhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most, refused atomic.Int32
		load := func(context.Context, string) (int, error) {
			n := running.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(100 * time.Millisecond)
			running.Add(-1)
			return 1, nil
		}
		c := open(t, load, &cache.Options[string, int]{MaxLoads: 8, MaxWaiters: 4000}, memory(t), newServer().tier(nil))
		var wg sync.WaitGroup
		for i := range 10_000 {
			wg.Go(func() {
				switch _, err := c.Get(t.Context(), fmt.Sprint(i%100)); {
				case errors.Is(err, cache.ErrOverloaded):
					refused.Add(1)
				case err != nil:
					t.Errorf("Get = %v", err)
				}
			})
		}
		synctest.Wait()
		if s := c.Stats(); s.Waiting != 4000 || s.Loading != 8 {
			t.Errorf("right now %d wait and %d loads run; want 4000 and 8", s.Waiting, s.Loading)
		}
		past := c.With(func(p *cache.Policy) { p.SkipReads = tier.Nth(1) }) // has flights of its own
		wg.Go(func() { _, _ = past.Get(t.Context(), "0") })
		synctest.Wait()
		if s := c.Stats(); s.Waiting != 4001 {
			t.Errorf("%d wait, with one who passes memory by; want 4001", s.Waiting)
		}
		wg.Wait()
		if most.Load() != 8 || refused.Load() != 6000 {
			t.Errorf("%d loads at once, %d refused; want 8 and 6000", most.Load(), refused.Load())
		}
		if s := c.Stats(); s.Loads != 100 || s.Overloads != 6000 || s.Waiting != 0 || s.Loading != 0 {
			t.Errorf("Stats = %+v", s)
		}
	})
}

func TestFiguresAndAdvice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		c := open(t, func(context.Context, string) (int, error) {
			time.Sleep(4 * time.Second)
			return 1, nil
		}, &cache.Options[string, int]{
			Name: "users", Lease: lock.Options{TTL: 5 * time.Second, RenewEvery: -1}, Policy: policy{LoadTimeout: 5 * time.Second},
		}, memory(t), s.tier(nil))
		if got := c.Advise(cache.Stats{}); got != nil {
			t.Errorf("advice before anything has happened: %v", got)
		}
		var wg sync.WaitGroup
		for i := range 2000 {
			wg.Go(func() { _, _ = c.Get(t.Context(), fmt.Sprint(i%200)) })
		}
		wg.Wait()
		before := c.Stats()
		for range 98 {
			_, _ = c.Get(t.Context(), "1")
		}
		_, _ = c.Get(t.Context(), "new")
		if d := c.Stats(); d.HitRate() > 0.1 || d.APICallReduction() < 0.9 || d.LockWaitRate() < 0.8 || d.AverageWait() != 4*time.Second || d.TimeoutRate() != 0 {
			t.Errorf("hits %v, reduction %v, waits %v of %v, timeouts %v", d.HitRate(), d.APICallReduction(), d.LockWaitRate(), d.AverageWait(), d.TimeoutRate())
		}
		now := c.Stats()
		if d := now.Sub(&before); d.Gets() != 99 || d.Hits != 98 || d.Loads != 1 || d.HitRate() < 0.98 || d.Waits != 0 {
			t.Errorf("Sub = %+v", d)
		}
		said := map[lock.WarningCode]string{}
		for _, w := range c.Advise(cache.Stats{}) {
			said[w.Code] = w.Message
		}
		for _, code := range []lock.WarningCode{cache.WarnLoadTooLong, cache.WarnHitRate, cache.WarnLongWaits} {
			if !strings.HasPrefix(said[code], `cache "users": `) {
				t.Errorf("no advice %s: %v", code, said)
			}
		}
		if !strings.Contains(said[cache.WarnLongWaits], "4s") {
			t.Errorf("advice without the figure: %s", said[cache.WarnLongWaits])
		}
	})
}

// slowCodec takes longer to encode than the shared tier has for a call, or
// cannot encode at all.
type slowCodec struct {
	codec.Codec[int]
	err error
}

func (c slowCodec) Append(dst []byte, v int) ([]byte, error) {
	if c.err != nil {
		return dst, c.err
	}
	time.Sleep(time.Second)
	return c.Codec.Append(dst, v)
}

func TestEncodingIsNoMatterOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, loads := newServer(), 0
		o := &cache.Options[string, int]{Codec: slowCodec{codec.JSON[int](), nil}}
		a := open(t, count(&loads, 0), o, memory(t), s.tier(nil))
		b := open(t, count(&loads, 0), o, memory(t), s.tier(nil))
		want(t, 1)(a.Get(t.Context(), "k"))
		want(t, 1)(b.Get(t.Context(), "k"))
	})
}

func TestWhatCannotBeStoredIsToldAndHoldsNobodyUp(t *testing.T) {
	for name, wreck := range map[string]func(s *server, o *cache.Options[string, int]){
		"not to be encoded": func(_ *server, o *cache.Options[string, int]) {
			o.Codec = slowCodec{codec.JSON[int](), errors.New("no")}
		},
		"slow commit": func(s *server, _ *cache.Options[string, int]) {
			s.fault = func(op string) error {
				if op == "commit" {
					return errors.Join(backend.ErrUnavailable, errors.New("budget"))
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, loads := newServer(), 0
				o := &cache.Options[string, int]{}
				wreck(s, o)
				a := open(t, count(&loads, 0), o, memory(t), s.tier(nil))
				b := open(t, count(&loads, 0), o, memory(t), s.tier(nil))
				began := time.Now()
				for i := range 30 {
					_, _ = a.Get(t.Context(), fmt.Sprint(i))
					synctest.Wait()
					_, _ = b.Get(t.Context(), fmt.Sprint(i))
				}
				at(t, "all values", began, 0)
				if st := a.Stats(); st.NotStored != 30 {
					t.Errorf("Stats = %+v, want 30 not stored", st)
				}
				said := a.Advise(cache.Stats{})
				if len(said) != 1 || said[0].Code != cache.WarnNotStored {
					t.Errorf("advice = %v, want that nothing is stored", said)
				}
			})
		})
	}
}

func TestARefusedSetLeavesNothingOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, 0, cache.Options[string, int]{})
		_ = f.caches[0].Set(t.Context(), "k", 5)
		f.set(func() {
			f.fault = func(op string) error {
				if op == "set" {
					return errors.New("too large")
				}
				return nil
			}
		})
		if err := f.caches[0].Set(t.Context(), "k", 6); err == nil {
			t.Error("Set = nil, want the refusal")
		}
		if v, err := f.caches[1].Peek(t.Context(), "k"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("Peek elsewhere = %d, %v, want a miss", v, err)
		}
	})
}

func TestLoaderSeesWhatIsKeptBeyondThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loads := 0
		c := saying(t, newServer(), policy{TTL: time.Minute}, func(l *cache.Load[int]) (int, error) {
			if loads++; loads > 1 && l.ETag() != "v1" {
				t.Errorf("ETag = %q, want that of the load before", l.ETag())
			}
			l.SetETag("v1")
			l.SetStaleFor(time.Hour)
			return loads, nil
		})
		want(t, 1)(c.Get(t.Context(), "k"))
		time.Sleep(2 * time.Minute)
		want(t, 2)(c.Get(t.Context(), "k")) // not served stale: the policy does not say so
	})
}

type (
	userRow  struct{ N int }
	orderRow struct{ N int }
)

func TestTypesThatShareANamespaceAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		users := open(t, func(context.Context, int) (userRow, error) { return userRow{1}, nil }, nil, s.tier(nil))
		orders := open(t, func(context.Context, int) (orderRow, error) { return orderRow{2}, nil }, nil, s.tier(nil))
		want(t, userRow{1})(users.Get(t.Context(), 1))
		want(t, orderRow{2})(orders.Get(t.Context(), 1))
	})
}
