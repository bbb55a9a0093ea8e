package cache_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

func TestCoolDown(t *testing.T) {
	for name, tiers := range map[string]func(t *testing.T, s *server) []tier.Tier{
		"shared":       func(t *testing.T, s *server) []tier.Tier { return []tier.Tier{memory(t), s.tier(nil)} },
		"that polls":   func(t *testing.T, s *server) []tier.Tier { return []tier.Tier{memory(t), tier.Remote(s.mute(), nil)} },
		"process only": func(t *testing.T, _ *server) []tier.Tier { return []tier.Tier{memory(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, calls := newServer(), 0
				var failed time.Time // the last load
				load := func(ctx context.Context, k string) (int, error) {
					defer func() { failed = time.Now() }()
					return failing(&calls, 100*time.Millisecond)(ctx, k)
				}
				o := withPolicy(policy{CoolDown: time.Second, CoolDownMax: 3 * time.Second})
				a := open(t, load, &o, tiers(t, s)...)
				b := a
				if name != "process only" {
					b = open(t, load, &o, tiers(t, s)...)
				}
				var wg sync.WaitGroup
				for _, c := range []*cache.Cache[string, int]{a, b} {
					for range 50 {
						wg.Go(func() {
							_, err := c.Get(t.Context(), "k")
							if !errors.Is(err, errSource) && !errors.Is(err, cache.ErrCooling) {
								t.Errorf("Get = %v, want the failure", err)
							}
						})
					}
				}
				wg.Wait()
				if calls != 1 {
					t.Errorf("%d calls for 100 callers, want 1", calls)
				}
				_, err := a.Get(t.Context(), "k")
				cool := new(cache.CoolingError)
				if !errors.As(err, &cool) || cool.Failures != 1 || cool.RetryAfter <= 0 || cool.RetryAfter > time.Second {
					t.Errorf("Get = %v (%+v), want it cooling down for up to a second after 1 failure", err, cool)
				}
				// 0.75 to 1 s after the first failure, 1.5 to 2 s after the
				// second, 2.25 to 3 s after those that follow.
				for i, d := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second} {
					before := calls
					time.Sleep(time.Until(failed.Add(d * 74 / 100)))
					_, _ = a.Get(t.Context(), "k")
					_, _ = b.Get(t.Context(), "k")
					if calls != before {
						t.Errorf("tried during cool-down %d", i+1)
					}
					time.Sleep(time.Until(failed.Add(d)))
					_, _ = b.Get(t.Context(), "k")
					if calls != before+1 {
						t.Errorf("%d calls after cool-down %d, want one more", calls-before, i+1)
					}
				}
				_ = b.Set(t.Context(), "k", 5) // ends it
				want(t, 5)(a.Get(t.Context(), "k"))
			})
		})
	}
	t.Run("tells other processes what it may", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			f := newFleet(t, 1, 0, cache.Options[string, int]{FailureText: func(err error) string { return "told: " + err.Error() }})
			_, _ = f.caches[0].GetOrLoad(t.Context(), "k", failing(&calls, 0))
			other := open(t, failing(&calls, 0), nil, f.tier(nil))
			_, err := other.Get(t.Context(), "k")
			cool := new(cache.CoolingError)
			if !errors.As(err, &cool) || cool.Text != "told: source is down" || cool.Err != nil {
				t.Errorf("Get = %v, want the text and no error of this process", err)
			}
		})
	})
	t.Run("not when callers give up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 1, time.Minute, cache.Options[string, int]{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, _ = f.caches[0].Get(ctx, "k")
			f.took = 0
			want(t, 2)(f.caches[0].Get(t.Context(), "k"))
		})
	})
}

func TestExpireKeepsWhatIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, 0, withPolicy(policy{TTL: time.Minute, StaleIfError: time.Hour}))
		f.herd(t, 1, want(t, 1))
		if err := f.caches[0].Expire(t.Context(), "k", "unknown"); err != nil {
			t.Errorf("Expire = %v", err)
		}
		calls := 0
		v, err := f.caches[0].GetOrLoad(t.Context(), "k", failing(&calls, 0))
		want(t, 1)(v, err)
		if calls != 1 {
			t.Errorf("%d loads after Expire, want 1", calls)
		}
		time.Sleep(time.Second)
		want(t, 2)(f.caches[0].Get(t.Context(), "k"))
		if err := f.caches[0].Delete(t.Context(), "k"); err != nil {
			t.Errorf("Delete = %v", err)
		}
		if _, err := f.caches[0].GetOrLoad(t.Context(), "k", failing(&calls, 0)); !errors.Is(err, errSource) {
			t.Errorf("Get after Delete = %v, want the loader's error: nothing is left", err)
		}
	})
	t.Run("during a load", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 2, 0, withPolicy(policy{TTL: time.Minute, StaleIfError: time.Hour}))
			f.herd(t, 1, want(t, 1))
			time.Sleep(time.Minute)
			var wg sync.WaitGroup
			wg.Go(func() {
				v, err := f.caches[0].GetOrLoad(t.Context(), "k", func(context.Context, string) (int, error) {
					time.Sleep(time.Second)
					return 7, nil
				})
				want(t, 7)(v, err)
			})
			synctest.Wait()
			_ = f.caches[1].Expire(t.Context(), "k")
			wg.Wait()
			want(t, 2)(f.caches[1].Get(t.Context(), "k")) // the 7 was loaded before the Expire
			want(t, 2)(f.caches[0].Get(t.Context(), "k"))
		})
	})
	t.Run("in a store that cannot compare", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, loads := newServer(), 0
			c := open(t, count(&loads, 0), nil, tier.Remote(dumb{s}, nil))
			want(t, 1)(c.Get(t.Context(), "k"))
			if err := c.Expire(t.Context(), "k"); err != nil || !s.empty(t, "k") {
				t.Errorf("Expire = %v, want the entry deleted", err)
			}
		})
	})
}

func TestWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, 0, cache.Options[string, int]{})
		c := f.caches[0]
		short := c.With(func(p *policy) { p.TTL = time.Second })
		want(t, 1)(short.Get(t.Context(), "k"))
		want(t, 1)(c.Get(t.Context(), "k")) // the same entries
		time.Sleep(time.Second)
		want(t, 2)(c.Get(t.Context(), "k"))
		if s := short.Stats(); s.Loads != 2 {
			t.Errorf("%d loads, want them counted together", s.Loads)
		}
		bad := c.With(func(p *policy) { p.RefreshAhead = 7 })
		if _, err := bad.Get(t.Context(), "k"); err == nil {
			t.Error("Get under a policy that makes no sense = nil")
		}
		if err := bad.Set(t.Context(), "k", 1); err == nil {
			t.Error("Set under a policy that makes no sense = nil")
		}
	})
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, 20*time.Second, withPolicy(policy{TTL: time.Hour}))
		want(t, 1)(f.caches[0].Get(t.Context(), "warm")) // now it is known how long loads take
		var wg sync.WaitGroup
		wg.Go(func() { want(t, 2)(f.caches[0].Get(t.Context(), "k")) })
		time.Sleep(time.Second)
		for i, c := range f.caches { // in the process that loads, and in another
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			began := time.Now()
			if _, err := c.Get(ctx, "k"); !errors.Is(err, cache.ErrInProgress) {
				t.Errorf("%d: Get = %v, want ErrInProgress", i, err)
			}
			at(t, "ErrInProgress", began, 0)
			cancel()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 19500*time.Millisecond)
		defer cancel()
		want(t, 2)(f.caches[1].Get(ctx, "k")) // enough
		wg.Wait()
	})
}

func TestRefreshWithoutTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, 0, withPolicy(policy{TTL: time.Minute, StaleWhileRevalidate: time.Minute}))
		want(t, 1)(f.caches[0].Get(t.Context(), "k"))
		time.Sleep(time.Minute)
		f.set(func() { f.down = true })
		want(t, 1)(f.caches[0].Get(t.Context(), "k"))
		synctest.Wait()
		want(t, 2)(f.caches[0].Get(t.Context(), "k"))
	})
}

func TestLostReplies(t *testing.T) {
	for _, op := range []string{"lease", "commit", "release"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 2, time.Second, cache.Options[string, int]{Lease: lock.Options{TTL: time.Minute}})
				var lost atomic.Bool
				f.set(func() {
					f.lose = func(did string) bool { return did == op && !lost.Swap(true) }
				})
				want(t, 1)(f.caches[0].Get(t.Context(), "k"))
				synctest.Wait()
				if !f.free(t, "k") {
					t.Error("an orphan holds the lease")
				}
				began := time.Now()
				_, err := f.caches[1].Get(t.Context(), "k")
				if err != nil || time.Since(began) > time.Second {
					t.Errorf("Get elsewhere = %v after %v", err, time.Since(began))
				}
			})
		})
	}
}
