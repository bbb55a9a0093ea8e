package ristrettostore_test

import (
	"context"
	"fmt"

	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

func ExampleNew() {
	memory, err := ristrettostore.New(&ristrettostore.Options{MaxEntries: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	load := func(_ context.Context, id int) (string, error) { return fmt.Sprint("user ", id), nil }
	users, err := cache.New(load, nil, tier.Local(memory, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close() // closes the store as well
	fmt.Println(users.Get(context.Background(), 7))
	// Output: user 7 <nil>
}
