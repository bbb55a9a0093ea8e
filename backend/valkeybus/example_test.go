package valkeybus_test

import (
	"context"
	"fmt"

	"github.com/bellwethercache/bellwether/backend/memcachedstore"
	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/valkeybus"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// Memory in front of memcached, kept coherent by a Valkey server that stores
// nothing.
func Example() {
	memory, err := ristrettostore.New(nil)
	if err != nil {
		panic(err)
	}
	store, err := memcachedstore.Open([]string{"localhost:11211"}, nil)
	if err != nil {
		panic(err)
	}
	bus, err := valkeybus.Open("valkey://localhost:6379", &valkeybus.Options{Namespace: "users"})
	if err != nil {
		panic(err)
	}
	load := func(_ context.Context, id int) (string, error) { return fmt.Sprint("user ", id), nil }
	users, err := cache.New(load, nil, tier.Local(memory, nil), tier.Remote(store, &tier.RemoteOptions{Bus: bus}))
	if err != nil {
		panic(err)
	}
	defer users.Close()
	fmt.Println(users.Get(context.Background(), 7))
	// Output: user 7 <nil>
}
