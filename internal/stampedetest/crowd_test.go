package stampedetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// A crowd costs what the bulkheads allow, and the rest is told at once.
func TestCrowd(t *testing.T) {
	const (
		callers    = 10_000
		maxLoads   = 8
		maxWaiters = 500
	)
	near, err := ristrettostore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(t)
	far, err := valkeystore.Open(server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var running, most, loads atomic.Int32
	release := make(chan struct{})
	c, err := cache.New(func(context.Context, string) (int, error) {
		loads.Add(1)
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-release
		return 1, nil
	}, &cache.Options[string, int]{MaxLoads: maxLoads, MaxWaiters: maxWaiters}, tier.Local(near, nil), tier.Remote(far, &tier.RemoteOptions{Budget: soon}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server.until("news of others' changes", func() bool { return c.Stats().Tiers[0].CoherenceMode == backend.CoherencePublish })
	_ = c.Set(t.Context(), "warm", 1)

	before := runtime.NumGoroutine()
	var served, refused atomic.Int32
	var wg sync.WaitGroup
	over := make(chan error, callers)
	for i := range callers {
		wg.Go(func() {
			v, err := c.Get(t.Context(), fmt.Sprint(i)) // each its own key: nobody shares a flight
			switch {
			case err == nil && v == 1:
				served.Add(1)
			case errors.Is(err, cache.ErrOverloaded):
				refused.Add(1)
				over <- nil
			default:
				over <- err
			}
		})
	}
	for range callers - maxWaiters {
		select {
		case err := <-over:
			if err != nil {
				t.Fatalf("Get = %v, want ErrOverloaded", err)
			}
		case <-time.After(soon):
			t.Fatalf("%d callers were refused within %v, want %d", refused.Load(), soon, callers-maxWaiters)
		}
	}
	// Left are the callers, a flight each, and what few the loads and the store need.
	if n := runtime.NumGoroutine() - before; n > 2*maxWaiters+200 {
		t.Errorf("%d goroutines more than before, want at most two for each of %d callers", n, maxWaiters)
	}
	want(t, c)
	close(release)
	wg.Wait()
	if n := most.Load(); n != maxLoads {
		t.Errorf("%d loads at once, want %d", n, maxLoads)
	}
	if served.Load() != maxWaiters || refused.Load() != callers-maxWaiters || loads.Load() != maxWaiters {
		t.Errorf("%d served by %d loads, %d refused; want %d, %d", served.Load(), loads.Load(), refused.Load(), maxWaiters, callers-maxWaiters)
	}
	if s := c.Stats(); s.Overloads != callers-maxWaiters {
		t.Errorf("Stats = %+v, want %d overloads", s, callers-maxWaiters)
	}
}

// want fails the test unless memory answers, whatever the crowd.
func want(t *testing.T, c *cache.Cache[string, int]) {
	t.Helper()
	if v, err := c.Get(t.Context(), "warm"); v != 1 || err != nil {
		t.Errorf("Get = %v, %v while others crowd, want 1", v, err)
	}
}
