package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

func fetchWeather(_ context.Context, city string) (string, error) {
	fmt.Println("asking the weather service")
	return "11 °C in " + city, nil
}

func Example() {
	memory, err := ristrettostore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	weather, err := cache.New(fetchWeather, nil, tier.Local(memory, nil))
	if err != nil {
		log.Fatal(err)
	}
	defer weather.Close()
	for range 3 {
		fmt.Println(weather.Get(context.Background(), "London"))
	}
	// Output:
	// asking the weather service
	// 11 °C in London <nil>
	// 11 °C in London <nil>
	// 11 °C in London <nil>
}

func Example_twoTiers() {
	memory, err := ristrettostore.New(&ristrettostore.Options{MaxEntries: 10_000})
	if err != nil {
		log.Fatal(err)
	}
	store, err := valkeystore.Open("valkey://localhost:6379", &valkeystore.Options{Namespace: "weather"})
	if err != nil {
		log.Fatal(err)
	}
	weather, err := cache.New(fetchWeather,
		&cache.Options[string, string]{Name: "weather", Policy: cache.Policy{TTL: 10 * time.Minute}},
		tier.Local(memory, &tier.LocalOptions{MaxTTL: time.Minute}),
		tier.Remote(store, nil))
	if err != nil {
		log.Fatal(err)
	}
	defer weather.Close()
}

func ExampleCache_GetOrLoad() {
	memory, err := ristrettostore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	squares, err := cache.New[int, int](nil, nil, tier.Local(memory, nil))
	if err != nil {
		log.Fatal(err)
	}
	defer squares.Close()
	v, err := squares.GetOrLoad(context.Background(), 12, func(_ context.Context, n int) (int, error) {
		return n * n, nil
	})
	fmt.Println(v, err)
	// Output: 144 <nil>
}

func ExampleCache_Peek() {
	memory, err := ristrettostore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	weather, err := cache.New(fetchWeather, nil, tier.Local(memory, nil))
	if err != nil {
		log.Fatal(err)
	}
	defer weather.Close()
	_, err = weather.Peek(context.Background(), "Oslo")
	fmt.Println(errors.Is(err, cache.ErrMiss))
	// Output: true
}

// A struct key needs a function that gives different strings for different
// keys: %v of its fields would not.
func ExampleOptions_key() {
	type route struct{ From, To string }
	memory, err := ristrettostore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	fares, err := cache.New(
		func(_ context.Context, r route) (int, error) { return len(r.From) + len(r.To), nil },
		&cache.Options[route, int]{Key: func(r route) string { return fmt.Sprintf("%q-%q", r.From, r.To) }},
		tier.Local(memory, nil))
	if err != nil {
		log.Fatal(err)
	}
	defer fares.Close()
	fmt.Println(fares.Get(context.Background(), route{"LHR", "CDG"}))
	// Output: 6 <nil>
}

func ExampleCache_DeleteTags() {
	memory, err := ristrettostore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	users, err := cache.New[string, string](nil, nil, tier.Local(memory, nil), tier.Remote(memstore.NewStore(), nil))
	if err != nil {
		log.Fatal(err)
	}
	defer users.Close()
	set := func() error {
		return users.SetWith(ctx, "ada", "Ada L.", cache.SetOptions{Tags: []string{"team:7"}}) // a loader says l.SetTags("team:7")
	}
	remove := func() error {
		return users.DeleteTags(ctx, "team:7") // or ExpireTags; one round trip for any number of entries
	}
	if err := errors.Join(set(), remove()); err != nil {
		log.Fatal(err)
	}
	_, err = users.Peek(ctx, "ada")
	fmt.Println(err)
	// Output: cache: no tier holds the key
}
