package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

func ExampleNewMemory() {
	load := func(_ context.Context, id int) (string, error) { return fmt.Sprint("user ", id), nil }
	users, err := cache.New(load, nil, tier.Local(memstore.NewMemory(10_000), nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close() // closes the memory as well
	fmt.Println(users.Get(context.Background(), 7))
	// Output: user 7 <nil>
}

func ExampleNewStore() {
	s := memstore.NewStore()
	ctx := context.Background()
	_ = s.Set(ctx, "k", []byte("v"), time.Minute)
	v, err := s.Get(ctx, "k")
	fmt.Printf("%s %v\n", v, err)
	_ = s.Delete(ctx, "k")
	_, err = s.Get(ctx, "k")
	fmt.Println(errors.Is(err, backend.ErrMiss))
	// Output:
	// v <nil>
	// true
}
