package cache_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Local tier of the default store.
func memory(tb testing.TB) tier.Tier {
	tb.Helper()
	m, err := ristrettostore.New(nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = m.Close() }) // for a New that fails
	return tier.Local(m, nil)
}

// open makes a cache and closes it with the test.
func open[K comparable, V any](tb testing.TB, load cache.LoadFunc[K, V], opts *cache.Options[K, V], tiers ...tier.Tier) *cache.Cache[K, V] {
	tb.Helper()
	c, err := cache.New(load, opts, tiers...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return c
}

// want fails unless a call gave v and no error.
func want[V comparable](tb testing.TB, v V) func(got V, err error) {
	return func(got V, err error) {
		tb.Helper()
		if got != v || err != nil {
			tb.Errorf("got %v, %v, want %v, nil", got, err, v)
		}
	}
}

// count returns a loader that counts its calls and takes d.
func count(calls *int, d time.Duration) cache.LoadFunc[string, int] {
	return func(ctx context.Context, _ string) (int, error) {
		*calls++ // one at a time, or the race detector complains
		n := *calls
		select {
		case <-time.After(d):
			return n, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}
