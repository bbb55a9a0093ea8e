package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// newPrices makes a cache in memory before load.
func newPrices(load cache.LoadFunc[string, int], p cache.Policy) *cache.Cache[string, int] {
	memory, err := ristrettostore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	prices, err := cache.New(load, &cache.Options[string, int]{Name: "prices", Policy: p}, tier.Local(memory, nil))
	if err != nil {
		log.Fatal(err)
	}
	return prices
}

// A stale price is returned at once and refreshed in the background: use it
// wherever an answer that is a little old beats one that is late.
func ExamplePolicy_staleWhileRevalidate() {
	ctx := context.Background()
	refreshed := make(chan struct{})
	prices := newPrices(func(context.Context, string) (int, error) {
		defer close(refreshed)
		return 11, nil
	}, cache.Policy{TTL: time.Minute, StaleWhileRevalidate: 10 * time.Minute})
	defer prices.Close()
	_ = prices.Set(ctx, "tea", 10)
	_ = prices.Expire(ctx, "tea") // as time would have done
	fmt.Println(prices.Get(ctx, "tea"))
	<-refreshed
	// Output: 10 <nil>
}

// The source is down, and the last price is good enough: use it to ride out
// failures. GetEntry says that the value is stale, and why.
func ExamplePolicy_staleIfError() {
	ctx := context.Background()
	prices := newPrices(func(context.Context, string) (int, error) {
		return 0, errors.New("source is down")
	}, cache.Policy{TTL: time.Minute, StaleIfError: time.Hour})
	defer prices.Close()
	_ = prices.Set(ctx, "tea", 10)
	_ = prices.Expire(ctx, "tea")
	e, err := prices.GetEntry(ctx, "tea")
	fmt.Println(e.Value, err, e.Stale, e.Why)
	// Output: 10 <nil> true cache "prices": load: source is down
}

// A fresh price in the last fifth of its life is returned, and refreshed in the
// background: use it for keys that are read all the time and must not be stale.
func ExamplePolicy_refreshAhead() {
	ctx := context.Background()
	prices := newPrices(func(context.Context, string) (int, error) { return 10, nil },
		cache.Policy{TTL: 5 * time.Minute, RefreshAhead: 0.8})
	defer prices.Close()
	fmt.Println(prices.Get(ctx, "tea"))
	// Output: 10 <nil>
}

// The longer the load takes, the earlier a read may set off the refresh, with
// growing probability: use it where load times differ from key to key.
func ExamplePolicy_xFetch() {
	ctx := context.Background()
	prices := newPrices(func(context.Context, string) (int, error) { return 10, nil },
		cache.Policy{TTL: 5 * time.Minute, XFetch: 1})
	defer prices.Close()
	fmt.Println(prices.Get(ctx, "tea"))
	// Output: 10 <nil>
}

// Entries that are made together expire at different times: use it where many
// are.
func ExamplePolicy_jitter() {
	ctx := context.Background()
	prices := newPrices(nil, cache.Policy{TTL: time.Hour, Jitter: 0.1})
	defer prices.Close()
	for _, kind := range []string{"tea", "coffee", "cocoa"} {
		_ = prices.Set(ctx, kind, 10) // each for 54 to 60 minutes
	}
	fmt.Println(prices.Peek(ctx, "cocoa"))
	// Output: 10 <nil>
}

// What the source does not have is remembered too: use it against callers that
// ask for what does not exist.
func ExamplePolicy_absentTTL() {
	ctx := context.Background()
	asked := 0
	prices := newPrices(func(context.Context, string) (int, error) {
		asked++
		return 0, cache.ErrNotFound
	}, cache.Policy{AbsentTTL: 10 * time.Second})
	defer prices.Close()
	_, _ = prices.Get(ctx, "gold")
	_, err := prices.Get(ctx, "gold")
	fmt.Println(errors.Is(err, cache.ErrNotFound), asked)
	// Output: true 1
}

// A caller with a stale price in hand waits 10 ms for a fresh one: use it with
// StaleIfError, at what a caller will stand.
func ExamplePolicy_softTimeout() {
	ctx := context.Background()
	slow := make(chan struct{})
	prices := newPrices(func(context.Context, string) (int, error) {
		<-slow
		return 11, nil
	}, cache.Policy{TTL: time.Minute, StaleIfError: time.Hour, SoftTimeout: 10 * time.Millisecond})
	defer prices.Close()
	_ = prices.Set(ctx, "tea", 10)
	_ = prices.Expire(ctx, "tea")
	fmt.Println(prices.Get(ctx, "tea"))
	close(slow) // the load goes on, and its value is there for the next
	// Output: 10 <nil>
}

// A caller without any price waits 10 ms: use it where the caller has a
// substitute of its own.
func ExamplePolicy_hardTimeout() {
	ctx := context.Background()
	slow := make(chan struct{})
	prices := newPrices(func(context.Context, string) (int, error) {
		<-slow
		return 11, nil
	}, cache.Policy{HardTimeout: 10 * time.Millisecond})
	defer prices.Close()
	_, err := prices.Get(ctx, "tea")
	fmt.Println(errors.Is(err, cache.ErrTimeout))
	close(slow)
	// Output: true
}

// A load that hangs is ended, and its key is free again: set it to what no
// sound load ever takes.
func ExamplePolicy_loadTimeout() {
	ctx := context.Background()
	prices := newPrices(func(ctx context.Context, _ string) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}, cache.Policy{LoadTimeout: 10 * time.Millisecond})
	defer prices.Close()
	_, err := prices.Get(ctx, "tea")
	fmt.Println(errors.Is(err, cache.ErrLoadTimeout))
	// Output: true
}

// While a source is down, it is asked once a cool-down, by whomever: use it to
// spare the source.
func ExamplePolicy_coolDown() {
	ctx := context.Background()
	asked := 0
	prices := newPrices(func(context.Context, string) (int, error) {
		asked++
		return 0, errors.New("source is down")
	}, cache.Policy{CoolDown: time.Second, CoolDownMax: time.Minute})
	defer prices.Close()
	for range 100 {
		_, _ = prices.Get(ctx, "tea")
	}
	_, err := prices.Get(ctx, "tea")
	fmt.Println(errors.Is(err, cache.ErrCooling), asked)
	// Output: true 1
}

// One kind of call is in more of a hurry than the others.
func ExampleCache_With() {
	ctx := context.Background()
	prices := newPrices(func(context.Context, string) (int, error) { return 10, nil }, cache.Policy{TTL: time.Hour})
	defer prices.Close()
	hasty := prices.With(func(p *cache.Policy) { p.HardTimeout = 20 * time.Millisecond })
	fmt.Println(hasty.Get(ctx, "tea"))
	// Output: 10 <nil>
}

// The source is asked once for all keys that no tier has.
func ExampleCache_GetMany() {
	memory, err := ristrettostore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	prices, err := cache.New(nil, &cache.Options[string, int]{
		LoadMany: func(_ context.Context, kinds []string) (map[string]int, error) {
			found := make(map[string]int)
			for _, kind := range kinds {
				if kind != "gold" { // which is not found
					found[kind] = len(kind)
				}
			}
			return found, nil
		},
	}, tier.Local(memory, nil))
	if err != nil {
		log.Fatal(err)
	}
	defer prices.Close()
	fmt.Println(prices.GetMany(context.Background(), []string{"tea", "coffee", "gold"}))
	// Output: map[coffee:6 tea:3] <nil>
}

// A loader that can ask the source whether the value it has is still good.
func ExampleLoadFrom() {
	ctx := context.Background()
	fetch := func(ctx context.Context, _ string) (int, error) {
		l := cache.LoadFrom[int](ctx)
		if l.ETag() == `"v1"` { // as the source would say
			return l.NotModified()
		}
		l.SetETag(`"v1"`)
		l.SetTTL(time.Minute)
		return 10, nil
	}
	prices := newPrices(fetch, cache.Policy{StaleIfError: time.Hour})
	defer prices.Close()
	_, _ = prices.Get(ctx, "tea")
	_ = prices.Expire(ctx, "tea")
	fmt.Println(prices.Get(ctx, "tea"))
	// Output: 10 <nil>
}

// The five figures to watch, and what to do about them.
func ExampleCache_Advise() {
	ctx := context.Background()
	prices := newPrices(func(context.Context, string) (int, error) { return 10, nil }, cache.Policy{})
	defer prices.Close()
	for range 100 {
		_, _ = prices.Get(ctx, "tea")
	}
	s := prices.Stats()
	fmt.Printf("calls saved %.0f %%, hits %.0f %%, waits %.0f %% of %v, without an answer %.0f %%\n",
		100*s.APICallReduction(), 100*s.HitRate(), 100*s.LockWaitRate(), s.AverageWait(), 100*s.TimeoutRate())
	for _, w := range prices.Advise(cache.Stats{}) {
		fmt.Println(w.Message)
	}
	// Output: calls saved 99 %, hits 99 %, waits 0 % of 0s, without an answer 0 %
}
