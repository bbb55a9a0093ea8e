package memcachedstore_test

import (
	"context"
	"fmt"

	"github.com/bellwethercache/bellwether/backend/memcachedstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

func ExampleOpen() {
	store, err := memcachedstore.Open([]string{"localhost:11211"}, &memcachedstore.Options{Namespace: "users"})
	if err != nil {
		fmt.Println(err)
		return
	}
	load := func(_ context.Context, id int) (string, error) { return fmt.Sprint("user ", id), nil }
	users, err := cache.New(load, nil, tier.Remote(store, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()                               // and the store
	fmt.Println(users.Get(context.Background(), 123)) // also while no memcached is there
	// Output: user 123 <nil>
}
