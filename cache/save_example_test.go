package cache_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// saveTo saves a cache so that path has the old save or the new one, whole.
func saveTo(ctx context.Context, path string, c *cache.Cache[string, string]) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "save-*") // readable by this user alone
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = c.Save(ctx, f, cache.SaveOptions{MaxBytes: 64 << 20})
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// restoreFrom is what a process does when it begins. A cache that stays cold is no
// reason not to.
func restoreFrom(ctx context.Context, path string, c *cache.Cache[string, string]) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return // the first start
	}
	if err != nil {
		log.Print(err)
		return
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stats, err := c.Restore(ctx, f, cache.RestoreOptions{MaxEntries: 100_000})
	if err != nil {
		log.Print(err)
	}
	fmt.Println("restored", stats.Restored, "of", stats.Read)
}

func newWeather() *cache.Cache[string, string] {
	memory, err := ristrettostore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	weather, err := cache.New(fetchWeather, nil, tier.Local(memory, nil))
	if err != nil {
		log.Fatal(err)
	}
	return weather
}

// A process saves when it ends, and the next begins with what was hot.
func ExampleCache_Save() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path, ctx := filepath.Join(dir, "weather.save"), context.Background()

	weather := newWeather()
	fmt.Println(weather.Get(ctx, "London"))
	if err := saveTo(ctx, path, weather); err != nil {
		log.Print(err)
	}
	weather.Close()

	weather = newWeather()
	defer weather.Close()
	restoreFrom(ctx, path, weather)
	fmt.Println(weather.Get(ctx, "London"))
	// Output:
	// asking the weather service
	// 11 °C in London <nil>
	// restored 1 of 1
	// 11 °C in London <nil>
}

// Warm takes any sequence of keys: a slice, a map's, or one that reads a file.
func ExampleCache_Warm() {
	weather := newWeather()
	defer weather.Close()
	stats, err := weather.Warm(context.Background(), slices.Values([]string{"Paris"}), cache.WarmOptions{
		Progress: func(s cache.WarmStats) { fmt.Println(s.Done, "done,", s.Failed, "failed") },
	})
	fmt.Println(stats.Found, err)
	// Output:
	// asking the weather service
	// 1 done, 0 failed
	// 1 <nil>
}
