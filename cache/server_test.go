package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
	"github.com/bellwethercache/bellwether/tier"
)

// slack is what a busy machine may add to a bound.
const slack = 250 * time.Millisecond

// onServer is a cache on a real server, as one process would have it.
func onServer(t *testing.T, url string, load cache.LoadFunc[string, int], opts *cache.Options[string, int]) *cache.Cache[string, int] {
	t.Helper()
	s, err := valkeystore.Open(url, &valkeystore.Options{Namespace: "t"})
	if err != nil {
		t.Fatal(err)
	}
	return open(t, load, opts, memory(t), tier.Remote(s, nil))
}

// hears waits as a user does until c hears of changes by others, in this way.
func hears(t *testing.T, c *cache.Cache[string, int], mode backend.CoherenceMode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if got := c.Stats().Tiers[0].CoherenceMode; got != mode {
		t.Fatalf("CoherenceMode = %q once it is ready, want %q", got, mode)
	}
}

// patient is a tier on a real server that a busy machine may keep waiting: who
// gets no answer within the budget loads without a lease.
func patient(t *testing.T, url string) tier.Tier {
	t.Helper()
	s, err := valkeystore.Open(url, &valkeystore.Options{Namespace: "t"})
	if err != nil {
		t.Fatal(err)
	}
	return tier.Remote(s, &tier.RemoteOptions{Budget: 5 * time.Second})
}

// awaitCoherence waits until c hears of changes by others in this way.
func awaitCoherence[K comparable](t *testing.T, c *cache.Cache[K, int], mode backend.CoherenceMode) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); ; <-tick.C {
		got := c.Stats().Tiers[0].CoherenceMode
		if got == mode {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("CoherenceMode = %q, want %q", got, mode)
		}
	}
}

func constant(calls *atomic.Int32) cache.LoadFunc[string, int] {
	return func(context.Context, string) (int, error) { return int(calls.Add(1)), nil }
}

// within fails if fn takes longer than limit on a machine that has room for it.
func within(t *testing.T, what string, limit time.Duration, fn func()) {
	t.Helper()
	stall := stalls()
	began := time.Now()
	fn()
	d := time.Since(began)
	if s := stall(); d > limit+slack+5*s {
		t.Errorf("%s took %v, want at most %v; a goroutine had to wait up to %v for a processor", what, d, limit, s)
	}
}

// stalls begins to measure, and the func that it returns tells, for how long at
// most a goroutine has waited for a processor.
func stalls() (longest func() time.Duration) {
	const every = 5 * time.Millisecond
	end, ended := make(chan struct{}), make(chan time.Duration)
	go func() { // ends with longest
		tick := time.NewTicker(every)
		defer tick.Stop()
		for worst, last := time.Duration(0), time.Now(); ; {
			select {
			case <-tick.C:
				worst, last = max(worst, time.Since(last)-every), time.Now()
			case <-end:
				ended <- worst
				return
			}
		}
	}()
	return func() time.Duration { close(end); return <-ended }
}

func TestServerOneLoadForTheFleet(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) string{
		"valkey": func(t *testing.T) string { return servertest.Valkey(t).URL() },
		"mini":   func(t *testing.T) string { return servertest.Mini(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			url := start(t)
			var calls atomic.Int32
			load := func(ctx context.Context, _ string) (int, error) {
				<-time.After(200 * time.Millisecond)
				return int(calls.Add(1)), nil
			}
			var wg sync.WaitGroup
			for range 4 {
				c := open(t, load, nil, memory(t), patient(t, url))
				for range 25 {
					wg.Go(func() { want(t, 1)(c.Get(t.Context(), "k")) })
				}
			}
			wg.Wait()
		})
	}
}

func TestServerNeverThere(t *testing.T) {
	var calls atomic.Int32
	c := onServer(t, "valkey://127.0.0.1:1", constant(&calls), nil)
	for i := range 10 {
		within(t, "Get without a server", 10*time.Millisecond, func() { want(t, i+1)(c.Get(t.Context(), fmt.Sprint(i))) })
	}
	want(t, 1)(c.Get(t.Context(), "0")) // kept in memory
	within(t, "Close without a server", 2*time.Second, func() { _ = c.Close() })
}

func TestServerComesUpLater(t *testing.T) {
	s := servertest.Valkey(t)
	s.Kill()
	var calls atomic.Int32
	a, b := onServer(t, s.URL(), constant(&calls), nil), onServer(t, s.URL(), constant(&calls), nil)
	want(t, 1)(a.Get(t.Context(), "before"))
	s.Restart()
	// Within the breaker's second, two more, and what a dial takes.
	deadline := time.Now().Add(3*time.Second + slack)
	for a.Set(t.Context(), "k", 7) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the server is up for 3s and not used")
		}
		<-time.After(20 * time.Millisecond)
	}
	for {
		if v, err := b.Peek(t.Context(), "k"); err == nil && v == 7 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server is up for 3s and not used by the other cache")
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestServerHangs(t *testing.T) {
	s := servertest.Valkey(t)
	var calls atomic.Int32
	c := onServer(t, s.URL(), constant(&calls), nil)
	hears(t, c, backend.CoherencePublish)
	want(t, 1)(c.Get(t.Context(), "warm"))
	s.Pause()
	const budget = 100 * time.Millisecond
	for i := range 12 {
		limit := budget
		if i >= 5 {
			limit = 5 * time.Millisecond // the breaker is open
		}
		within(t, fmt.Sprintf("Get %d on a hung server", i), limit, func() {
			if _, err := c.Get(t.Context(), fmt.Sprint(i)); err != nil {
				t.Errorf("Get = %v", err)
			}
		})
	}
	want(t, 1)(c.Get(t.Context(), "warm"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	within(t, "impatient Set on a hung server", 20*time.Millisecond, func() { _ = c.Set(ctx, "x", 1) })
	s.Resume()
	deadline := time.Now().Add(3*time.Second + slack)
	for c.Set(t.Context(), "k", 7) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the server answers for 3s and is not used")
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestServerHangsAndManyWait(t *testing.T) {
	s := servertest.Valkey(t)
	var calls atomic.Int32
	c := onServer(t, s.URL(), constant(&calls), nil)
	hears(t, c, backend.CoherencePublish)
	want(t, 1)(c.Get(t.Context(), "warm"))
	s.Pause()
	herd := func(c *cache.Cache[string, int]) {
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				if v, err := c.Get(t.Context(), fmt.Sprint(i)); v == 0 || err != nil {
					t.Errorf("Get = %d, %v, want a value", v, err)
				}
			})
		}
		wg.Wait()
	}
	began := time.Now()
	herd(open(t, constant(&calls), nil, memory(t)))
	alone := time.Since(began) // what so many loads take on this machine, whatever the server does
	within(t, "500 callers on a hung server", 100*time.Millisecond+10*alone, func() { herd(c) })
	within(t, "Close on a hung server", 2*time.Second, func() { _ = c.Close() })
}

func TestServerIsKilledAndRestarted(t *testing.T) {
	s := servertest.Valkey(t)
	var calls atomic.Int32
	c := onServer(t, s.URL(), constant(&calls), nil)
	hears(t, c, backend.CoherencePublish)
	want(t, 1)(c.Get(t.Context(), "a"))
	s.Kill()
	awaitCoherence(t, c, backend.CoherenceDeaf)
	want(t, 1)(c.Get(t.Context(), "a")) // memory goes on
	s.Restart()
	// The first command meets the dead connection and is repeated.
	if err := c.Set(t.Context(), "b", 5); err != nil {
		t.Errorf("Set after a restart = %v", err)
	}
	hears(t, c, backend.CoherencePublish)
	want(t, 2)(c.Get(t.Context(), "a")) // what others have changed meanwhile is not known
}

func TestServerDiesInMidLoad(t *testing.T) {
	s := servertest.Valkey(t)
	loading := make(chan struct{})
	c := onServer(t, s.URL(), func(context.Context, string) (int, error) {
		close(loading)
		<-time.After(300 * time.Millisecond)
		return 1, nil
	}, nil)
	hears(t, c, backend.CoherencePublish)
	var wg sync.WaitGroup
	wg.Go(func() {
		within(t, "Get", 400*time.Millisecond, func() { want(t, 1)(c.Get(t.Context(), "k")) })
	})
	<-loading
	s.Kill()
	wg.Wait()
	want(t, 1)(c.Get(t.Context(), "k"))
}

func TestServerWithForeignBytes(t *testing.T) {
	s := servertest.Valkey(t)
	var calls atomic.Int32
	c := onServer(t, s.URL(), constant(&calls), nil)
	layout, err := valkeylease.NewLayout("t")
	if err != nil {
		t.Fatal(err)
	}
	want(t, 1)(c.Get(t.Context(), "seed"))
	for i, command := range []string{"SET %s hello", "SET %s BW", "LPUSH %s x", "HSET %s f v", "SADD %s m"} {
		k := fmt.Sprint("k", i)
		s.Do(fmt.Sprintf(command, layout.Value(k)))
		if _, err := c.Get(t.Context(), k); err != nil {
			t.Errorf("Get over %q = %v, want a load", command, err)
		}
	}
	stats := c.Stats()
	if tier := stats.Tiers[0]; stats.Loads != 6 || tier.Corrupt == 0 || stats.Errors != 0 {
		t.Errorf("Stats = %+v, want 6 loads, bytes counted as corrupt, no errors", stats)
	}
}

func TestServerRefuses(t *testing.T) {
	s := servertest.Valkey(t, "--maxmemory", "1", "--maxmemory-policy", "noeviction")
	var calls atomic.Int32
	c := onServer(t, s.URL(), constant(&calls), nil)
	want(t, 1)(c.Get(t.Context(), "k")) // OOM costs the lease, not the answer
	want(t, 1)(c.Get(t.Context(), "k"))
	if err := c.Set(t.Context(), "k", 2); err == nil || errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Set = %v, want the server's refusal", err)
	}
}
