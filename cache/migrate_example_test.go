package cache_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/cbor"
	"github.com/bellwethercache/bellwether/tier"
)

// userV1 is what users were before the change.
type userV1 struct{ Name string }

type userV2 struct{ First, Last string }

func (u userV1) split() (userV2, error) {
	first, last, ok := strings.Cut(u.Name, " ")
	if !ok {
		return userV2{}, fmt.Errorf("no last name") // a miss: it is loaded
	}
	return userV2{first, last}, nil
}

// A program with another struct and another codec reads what the one before it
// has stored, and what that still stores while the change rolls out.
func ExampleOptions_migrations() {
	ctx, shared := context.Background(), memstore.NewStore()

	before, err := cache.New(func(context.Context, int) (userV1, error) { return userV1{"Ada Lovelace"}, nil },
		&cache.Options[int, userV1]{Schema: 1}, tier.Remote(shared, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer before.Close()
	_, _ = before.Get(ctx, 7)

	after, err := cache.New(func(context.Context, int) (userV2, error) { return userV2{"loaded", "anew"}, nil },
		&cache.Options[int, userV2]{
			Schema: 2,
			Codec:  cbor.New[userV2](),
			Migrations: []tier.Migration[userV2]{
				tier.MigrateFrom(1, codec.JSON[userV1](), userV1.split),
			},
		}, tier.Remote(shared, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer after.Close()
	fmt.Println(after.Get(ctx, 7))
	fmt.Println("migrated:", after.Stats().Tiers[0].Migrated)
	// Output:
	// {Ada Lovelace} <nil>
	// migrated: 1
}
