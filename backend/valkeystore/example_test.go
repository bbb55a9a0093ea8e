package valkeystore_test

import (
	"context"
	"fmt"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

func loadUser(_ context.Context, id int) (string, error) { return fmt.Sprint("user ", id), nil }

func ExampleOpen() {
	store, err := valkeystore.Open("valkey://localhost:6379", &valkeystore.Options{Namespace: "users"})
	if err != nil {
		fmt.Println(err)
		return
	}
	users, err := cache.New(loadUser, nil, tier.Remote(store, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()                               // and the store
	fmt.Println(users.Get(context.Background(), 123)) // also while no Valkey is there
	// Output: user 123 <nil>
}

// Three nodes of a cluster, any of which tells of the others.
func ExampleOpen_cluster() {
	store, err := valkeystore.Open("valkey+cluster://127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:7002", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	users, err := cache.New(loadUser, nil, tier.Remote(store, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()
	fmt.Println(users.Get(context.Background(), 123))
	// Output: user 123 <nil>
}

// The Sentinels that look after a master, and its name among them.
func ExampleOpen_sentinel() {
	store, err := valkeystore.Open("valkey+sentinel://127.0.0.1:5000,127.0.0.1:5001,127.0.0.1:5002/mymaster", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	users, err := cache.New(loadUser, nil, tier.Remote(store, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()
	fmt.Println(users.Get(context.Background(), 123))
	// Output: user 123 <nil>
}

// A client of your own, here for Sentinels that want a password.
func ExampleNew() {
	opt := valkey.MustParseURL("redis://app:secret@sentinel-1:26379?addr=sentinel-2:26379&master_set=mymaster")
	opt.Sentinel.Password = "another secret"
	opt.AlwaysPipelining, opt.DisableRetry, opt.DisableCache = true, true, true
	client, err := valkey.NewClient(opt)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	store, err := valkeystore.New(client, &valkeystore.Options{Namespace: "users"})
	if err != nil {
		fmt.Println(err)
		return
	}
	users, err := cache.New(loadUser, nil, tier.Remote(store, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close() // and the store, not the client
	fmt.Println(users.Get(context.Background(), 123))
}
