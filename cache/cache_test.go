package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/cache"
)

func TestGetLoadsOnceAndThenHits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := open(t, count(&calls, time.Second), nil, memory(t))
		for range 5 {
			want(t, 1)(c.Get(t.Context(), "k"))
		}
		if s := c.Stats(); s.Loads != 1 || s.Loaded != 1 || s.Hits != 4 || s.Gets() != 5 {
			t.Errorf("Stats = %+v, want 1 load and 4 hits", s)
		}
	})
}

func TestTTLIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := open(t, count(&calls, 0), &cache.Options[string, int]{Policy: cache.Policy{TTL: time.Minute}}, memory(t))
		want(t, 1)(c.Get(t.Context(), "k"))
		time.Sleep(time.Minute - 1)
		want(t, 1)(c.Get(t.Context(), "k"))
		time.Sleep(1 * time.Nanosecond)
		want(t, 2)(c.Get(t.Context(), "k"))

		if err := c.SetTTL(t.Context(), "k", 9, time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second - 1)
		want(t, 9)(c.Get(t.Context(), "k"))
		time.Sleep(1 * time.Nanosecond)
		want(t, 3)(c.Get(t.Context(), "k"))

		if err := c.SetTTL(t.Context(), "forever", 1, math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		want(t, 1)(c.Get(t.Context(), "forever"))
	})
}

func TestCallersCoalesceAndLeaveOnTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := open(t, count(&calls, time.Second), nil, memory(t))
		impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { // the leader
			began := time.Now()
			if _, err := c.Get(impatient, "k"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("impatient caller got %v, want its deadline", err)
			}
			if d := time.Since(began); d != 100*time.Millisecond {
				t.Errorf("impatient caller left after %v, want 100ms", d)
			}
		})
		synctest.Wait()
		for range 99 {
			wg.Go(func() { want(t, 1)(c.Get(t.Context(), "k")) })
		}
		wg.Wait()
		if calls != 1 {
			t.Errorf("%d loads, want 1", calls)
		}
		if s := c.Stats(); s.Shared != 99 || s.Waits != 99 || s.Errors != 1 {
			t.Errorf("Stats = %+v, want 99 shared and waited, 1 error", s)
		}
	})
}

func TestLoaderThatMisbehaves(t *testing.T) {
	boom := errors.New("boom")
	fail := func(do func() (int, error)) cache.LoadFunc[string, int] {
		return func(context.Context, string) (int, error) { return do() }
	}
	for name, tc := range map[string]struct {
		load cache.LoadFunc[string, int]
		want error
	}{
		"error":     {fail(func() (int, error) { return 7, boom }), boom},
		"panic":     {fail(func() (int, error) { panic(boom) }), boom},
		"goexit":    {fail(func() (int, error) { runtime.Goexit(); return 7, nil }), cache.ErrGoexit},
		"not found": {fail(func() (int, error) { return 7, fmt.Errorf("no row: %w", cache.ErrNotFound) }), cache.ErrNotFound},
		"nil":       {nil, cache.ErrNoLoader},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := open[string, int](t, nil, nil, memory(t))
				for range 2 { // an error is shared for as long as the key cools down
					if v, err := c.GetOrLoad(t.Context(), "k", tc.load); v != 0 || !errors.Is(err, tc.want) {
						t.Errorf("GetOrLoad = %d, %v, want 0, %v", v, err, tc.want)
					}
				}
				time.Sleep(100 * time.Millisecond)
				want(t, 5)(c.GetOrLoad(t.Context(), "k", fail(func() (int, error) { return 5, nil })))
			})
		})
	}
}

func TestLoadErrorNamesTheCacheAndNotTheKey(t *testing.T) {
	boom := errors.New("boom")
	c := open(t, func(context.Context, string) (int, error) { return 0, boom },
		&cache.Options[string, int]{Name: "users"}, memory(t))
	_, err := c.Get(t.Context(), "secret-key")
	le := new(cache.LoadError)
	if !errors.As(err, &le) || le.Cache != "users" || !strings.Contains(err.Error(), `"users"`) || strings.Contains(err.Error(), "secret") {
		t.Errorf("err = %v, want a *LoadError that names the cache and not the key", err)
	}
}

func TestRecursiveLoader(t *testing.T) {
	var c *cache.Cache[string, int]
	c = open(t, func(ctx context.Context, key string) (int, error) { return c.Get(ctx, key) }, nil, memory(t))
	if _, err := c.Get(t.Context(), "k"); !errors.Is(err, cache.ErrRecursive) {
		t.Errorf("Get = %v, want ErrRecursive", err)
	}
}

func TestZeroAbsentAndErrorAreDifferent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := open(t, func(_ context.Context, key string) (*int, error) {
			calls++
			if key == "absent" {
				return nil, cache.ErrNotFound
			}
			return nil, nil
		}, &cache.Options[string, *int]{Policy: cache.Policy{AbsentTTL: time.Second}}, memory(t))
		for range 3 {
			if v, err := c.Get(t.Context(), "nil"); v != nil || err != nil {
				t.Errorf("Get(nil) = %v, %v, want nil, nil: a zero value is a value", v, err)
			}
			if _, err := c.Get(t.Context(), "absent"); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("Get(absent) = %v, want ErrNotFound", err)
			}
		}
		if calls != 2 {
			t.Errorf("%d loads, want 2: both answers are kept", calls)
		}
		if _, err := c.Peek(t.Context(), "absent"); !errors.Is(err, cache.ErrNotFound) || errors.Is(err, cache.ErrMiss) {
			t.Errorf("Peek(absent) = %v, want ErrNotFound", err)
		}
		if _, err := c.Peek(t.Context(), "unknown"); !errors.Is(err, cache.ErrMiss) || !strings.HasPrefix(err.Error(), "cache: ") {
			t.Errorf("Peek(unknown) = %v, want ErrMiss in the cache's words", err)
		}
		time.Sleep(time.Second)
		_, _ = c.Get(t.Context(), "absent")
		if calls != 3 {
			t.Errorf("%d loads after AbsentTTL, want 3", calls)
		}
	})
}

func TestSetAndDeleteDuringALoadWin(t *testing.T) {
	for name, tc := range map[string]struct {
		write func(c *cache.Cache[string, int]) error
		next  int
	}{
		"set":    {func(c *cache.Cache[string, int]) error { return c.Set(context.Background(), "k", 50) }, 50},
		"delete": {func(c *cache.Cache[string, int]) error { return c.Delete(context.Background(), "k") }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				c := open(t, count(&calls, time.Second), nil, memory(t))
				var wg sync.WaitGroup
				wg.Go(func() { want(t, 1)(c.Get(t.Context(), "k")) })
				synctest.Wait()
				if err := tc.write(c); err != nil {
					t.Fatal(err)
				}
				wg.Wait() // the old load ends after the write
				want(t, tc.next)(c.Get(t.Context(), "k"))
			})
		})
	}
}

func TestReadYourWrites(t *testing.T) {
	c := open[string, int](t, nil, nil, memory(t))
	for i := range 2000 {
		k := fmt.Sprint(i)
		for v := range 3 {
			if err := c.Set(t.Context(), k, v); err != nil {
				t.Fatal(err)
			}
			want(t, v)(c.Peek(t.Context(), k))
		}
		if err := c.Delete(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		if v, err := c.Peek(t.Context(), k); !errors.Is(err, cache.ErrMiss) {
			t.Fatalf("Peek after Delete = %v, %v, want ErrMiss", v, err)
		}
	}
}

type point struct{ X, Y int32 }

type userID string

type orderID uint32

func TestKeysOfEveryKind(t *testing.T) {
	roundTrip[string](t, nil, "", "a", "a b", "\x00")
	roundTrip[userID](t, nil, "u1", "u2")
	roundTrip[int](t, nil, 0, -1, math.MaxInt)
	roundTrip[int8](t, nil, -128, 127)
	roundTrip[uint64](t, nil, 0, math.MaxUint64)
	roundTrip[orderID](t, nil, 1, 2)
	roundTrip(t, func(p point) string { return fmt.Sprint(p.X, ",", p.Y) }, point{1, 2}, point{12, 0}, point{2, 1})
	roundTrip(t, func(b bool) string { return fmt.Sprint(b) }, true, false)
	roundTrip(t, func(k any) string { return fmt.Sprintf("%T %v", k, k) }, any(1), any("1"))
}

// roundTrip checks that no two keys share an entry.
func roundTrip[K comparable](t *testing.T, key func(K) string, keys ...K) {
	t.Helper()
	c := open[K, int](t, nil, &cache.Options[K, int]{Key: key}, memory(t))
	for i, k := range keys {
		if err := c.Set(t.Context(), k, i); err != nil {
			t.Fatal(err)
		}
	}
	for i, k := range keys {
		want(t, i)(c.Peek(t.Context(), k))
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	hooks := cache.Hooks{
		GetStart: func(ctx context.Context, _ cache.GetStart) context.Context { return ctx },
		GetDone:  func(context.Context, cache.GetDone) {},
	}
	noAllocs(t, "string", nil, "user:1", hooks)
	noAllocs(t, "int", nil, 12345, hooks)
	noAllocs(t, "struct", func(p point) string { return fmt.Sprint(p) }, point{1, 2}, hooks)
}

func noAllocs[K comparable](t *testing.T, name string, key func(K) string, k K, hooks cache.Hooks) {
	t.Helper()
	c := open(t, func(context.Context, K) (benchUser, error) { return benchUser{ID: 1}, nil },
		&cache.Options[K, benchUser]{Key: key, Hooks: hooks}, memory(t))
	ctx := t.Context()
	if _, err := c.Get(ctx, k); err != nil {
		t.Fatal(err)
	}
	// Ristretto's own read buffer allocates once in a while: below one in fifty.
	if n := testing.AllocsPerRun(5000, func() { _, _ = c.Get(ctx, k) }); n > 0.02 {
		t.Errorf("%s key: %v allocations a hit, want 0", name, n)
	}
	if s := c.Stats(); s.Hits < 5000 {
		t.Errorf("%s key: %d hits counted", name, s.Hits)
	}
}
