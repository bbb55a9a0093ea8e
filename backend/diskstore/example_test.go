package diskstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bellwethercache/bellwether/backend/diskstore"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// A file between memory and the shared store, which is memstore here for want
// of a server.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	disk, err := diskstore.Open(filepath.Join(dir, "users"), &diskstore.Options{
		MaxBytes: 256 << 20,
		Warn:     func(w diskstore.Warning) { fmt.Println("the cache lost entries:", w.Err) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	load := func(_ context.Context, id int) (string, error) { return fmt.Sprint("user ", id), nil }
	users, err := cache.New(load, nil,
		tier.Local(memstore.NewMemory(1000), nil),
		tier.Remote(disk, nil),
		tier.Remote(memstore.NewStore(), nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close() // closes the stores as well
	fmt.Println(users.Get(context.Background(), 7))
	// Output: user 7 <nil>
}

// What the file holds can be read before the first request comes.
func ExampleStore_Entries() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	disk, err := diskstore.Open(filepath.Join(dir, "users"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer disk.Close()
	ctx := context.Background()
	for _, key := range []string{"a", "b", "c"} {
		if err := disk.Set(ctx, key, []byte("value"), time.Hour); err != nil {
			fmt.Println(err)
			return
		}
	}
	for e, err := range disk.Entries(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(e.Key, e.Size)
	}
	// Output:
	// c 5
	// b 5
	// a 5
}
