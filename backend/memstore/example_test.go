package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
)

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
