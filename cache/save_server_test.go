package cache_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

// A process saves, ends and comes back; another changes things meanwhile, and
// again once it is back.
func TestServerRestoreIsCoherent(t *testing.T) {
	s := servertest.Valkey(t)
	var calls atomic.Int32
	join := func() *cache.Cache[string, int] {
		return open(t, constant(&calls), hour[string, int](), memory(t), patient(t, s.URL()))
	}
	other := join()
	const many = 3000 // more than are looked at again when hearing begins
	mine := join()
	keys := make([]string, many)
	for i := range keys {
		keys[i] = "k" + string(rune('a'+i%26)) + time.Duration(i).String()
	}
	if stats, err := mine.Warm(t.Context(), slices.Values(keys), cache.WarmOptions{}); err != nil || stats.Found != many {
		t.Fatalf("Warm = %+v, %v", stats, err)
	}
	if n := mine.Stats().NotStored; n > 0 {
		t.Fatalf("%d of %d values are not in the server", n, many)
	}
	file, n := save(t, mine, cache.SaveOptions{KeysOnly: true})
	if n != many {
		t.Fatalf("%d entries saved, want %d", n, many)
	}
	if err := errors.Join(mine.Close(), other.Set(t.Context(), keys[0], -1), other.Delete(t.Context(), keys[1])); err != nil {
		t.Fatal(err)
	}
	loads := calls.Load()

	back := join()
	hears(t, back, backend.CoherencePublish) // Restore waits for it too, for a second
	restore(t, back, file, cache.RestoreOptions{}, cache.RestoreStats{Read: many, Restored: many - 1, Missing: 1})
	reads := back.Stats().Tiers[0].Hits
	for i, key := range keys {
		switch v, err := back.Peek(t.Context(), key); {
		case i == 0 && (v != -1 || err != nil):
			t.Fatalf("what was set meanwhile is %d, %v", v, err)
		case i == 1 && !errors.Is(err, cache.ErrMiss):
			t.Fatalf("what was deleted meanwhile is %d, %v", v, err)
		case i > 1 && err != nil:
			t.Fatalf("%s: %v", key, err)
		}
	}
	if n := back.Stats().Tiers[0].Hits - reads; n > 0 {
		t.Errorf("%d of %d restored entries were not in memory when they were read", n, many)
	}
	if calls.Load() != loads {
		t.Errorf("%d loads after the restart", calls.Load()-loads)
	}
	if err := other.Set(t.Context(), keys[2], -3); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(5 * time.Second); ; <-tick.C {
		if v, _ := back.Peek(t.Context(), keys[2]); v == -3 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a restored entry is not dropped when another process sets it")
		}
	}
}
