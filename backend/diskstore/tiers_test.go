package diskstore_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/diskstore"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// shared outlives the caches that close it, as a server does.
type shared struct{ *memstore.Store }

func (shared) Close() error { return nil }

// TestMiddleTier: memory, disk and a shared store. A value of the shared store
// is promoted to the disk and survives there without it, with the lifetime that
// it has left.
func TestMiddleTier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = time.Hour
		path := filepath.Join(t.TempDir(), "cache")
		far, loads := memstore.NewStore(), 0
		start := func(withDisk bool) *cache.Cache[string, string] {
			load := func(context.Context, string) (string, error) { loads++; return "value", nil }
			tiers := []tier.Tier{tier.Local(memstore.NewMemory(100), nil)}
			if withDisk {
				disk, err := diskstore.Open(path, nil)
				if err != nil {
					t.Fatal(err)
				}
				tiers = append(tiers, tier.Remote(disk, nil))
			}
			opts := &cache.Options[string, string]{}
			opts.Policy.TTL = ttl
			c, err := cache.New(load, opts, append(tiers, tier.Remote(shared{far}, nil))...)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		get := func(c *cache.Cache[string, string], want int, why string) {
			t.Helper()
			if v, err := c.Get(t.Context(), "k"); err != nil || v != "value" || loads != want {
				t.Fatalf("%s: Get = %q, %v after %d loads, want the value after %d", why, v, err, loads, want)
			}
		}

		other := start(false) // another process fills the shared store
		get(other, 1, "nowhere")
		_ = other.Close()

		time.Sleep(20 * time.Minute)
		c := start(true)
		get(c, 1, "in the shared store")
		synctest.Wait() // the promotion may be on its way
		if err := errors.Join(c.Close(), far.Delete(t.Context(), onlyKey(t, path))); err != nil {
			t.Fatal(err)
		}

		time.Sleep(20 * time.Minute)
		c = start(true)
		get(c, 1, "on the disk only, after a restart")
		time.Sleep(19 * time.Minute)
		get(c, 1, "a minute before its end")
		_ = c.Close()

		c = start(true)
		get(c, 1, "a minute before its end, on the disk only")
		time.Sleep(2 * time.Minute)
		get(c, 2, "after its end")
		if err := c.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		c = start(true)
		get(c, 3, "deleted everywhere")
		_ = c.Close()
	})
}

// onlyKey returns the key of the one entry in the file, which has the rest of
// its hour left.
func onlyKey(t *testing.T, path string) (key string) {
	t.Helper()
	s, err := diskstore.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for e, err := range s.Entries(t.Context()) {
		if err != nil || key != "" {
			t.Fatalf("%+v, %v, want one entry", e, err)
		}
		if e.Remaining <= 39*time.Minute || e.Remaining > 40*time.Minute {
			t.Errorf("promoted with %v left, want 40 minutes", e.Remaining)
		}
		key = e.Key
	}
	if _, err := s.Get(t.Context(), key); errors.Is(err, backend.ErrMiss) {
		t.Error("not on the disk")
	}
	return key
}

// TestAloneSaysWhatMatters: nobody else has the file, so there is nobody whose
// loads and changes one would be told of.
func TestAloneSaysWhatMatters(t *testing.T) {
	warned := func(more ...tier.Tier) (all []string) {
		disk, err := diskstore.Open(filepath.Join(t.TempDir(), "cache"), nil)
		if err != nil {
			t.Fatal(err)
		}
		opts := &cache.Options[string, string]{}
		opts.Hooks.Warn = func(_ context.Context, w lock.Warning) { all = append(all, w.Message) }
		tiers := append([]tier.Tier{tier.Local(memstore.NewMemory(100), nil)}, append(more, tier.Remote(disk, nil))...)
		c, err := cache.New[string, string](nil, opts, tiers...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return all
	}
	if said := warned(); len(said) != 1 || !strings.Contains(said[0], "backend.Tagger") {
		t.Errorf("of a file alone it says\n%s\nwant that stamps may be evicted, and no more", strings.Join(said, "\n"))
	}
	if said := strings.Join(warned(tier.Remote(memstore.NewStore(), nil)), "\n"); !strings.Contains(said, "put the store that is shared last") {
		t.Errorf("of a file behind a shared store it says\n%s\nwant the order", said)
	}
}
