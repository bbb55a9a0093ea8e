package cache_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// near is a Local tier of the reference memory.
func near(capacity int64) tier.Tier { return tier.Local(memstore.NewMemory(capacity), nil) }

// double loads twice the number that a key is.
func double(_ context.Context, key int) (int, error) { return 2 * key, nil }

// hour is a policy whose entries are kept.
func hour[K comparable, V any]() *cache.Options[K, V] {
	return &cache.Options[K, V]{Policy: cache.Policy{TTL: time.Hour}}
}

// save saves c whole.
func save[K comparable, V any](t *testing.T, c *cache.Cache[K, V], opts cache.SaveOptions) (file []byte, n int) {
	t.Helper()
	var b bytes.Buffer
	n, err := c.Save(t.Context(), &b, opts)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), n
}

// restore restores a file whose restoring must give these counts.
func restore[K comparable, V any](t *testing.T, c *cache.Cache[K, V], file []byte, opts cache.RestoreOptions, want cache.RestoreStats) {
	t.Helper()
	got, err := c.Restore(t.Context(), bytes.NewReader(file), opts)
	if err != nil || got != want {
		t.Errorf("Restore = %+v, %v, want %+v, nil", got, err, want)
	}
}

func TestSaveAndRestore(t *testing.T) {
	for name, local := range map[string]func(t *testing.T) tier.Tier{
		"memstore":  func(*testing.T) tier.Tier { return near(1000) },
		"ristretto": func(t *testing.T) tier.Tier { return memory(t) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := hour[int, int]()
				opts.Policy.AbsentTTL = time.Hour
				load := func(ctx context.Context, key int) (int, error) {
					if key == 7 {
						return 0, cache.ErrNotFound
					}
					cache.LoadFrom[int](ctx).SetTags("a", strconv.Itoa(key))
					return double(ctx, key)
				}
				c := open(t, load, opts, local(t))
				for key := range 100 {
					_, _ = c.Get(t.Context(), key)
				}
				_ = c.Delete(t.Context(), 3)
				_ = c.DeleteTags(t.Context(), "4")
				time.Sleep(10 * time.Minute)
				file, n := save(t, c, cache.SaveOptions{})
				if n != 98 {
					t.Errorf("%d entries saved, want 98", n)
				}
				time.Sleep(10 * time.Minute)

				d := open(t, nil, opts, local(t))
				restore(t, d, file, cache.RestoreOptions{}, cache.RestoreStats{Read: 98, Restored: 98})
				e, err := d.GetEntry(t.Context(), 50)
				if e.Value != 100 || err != nil || e.Age != 20*time.Minute || len(e.Tags) != 2 || e.Result != cache.ResultHit {
					t.Errorf("restored is %+v, %v", e, err)
				}
				if _, err := d.Peek(t.Context(), 7); !errors.Is(err, cache.ErrNotFound) {
					t.Errorf("the key that the source has none of: %v, want ErrNotFound", err)
				}
				for _, gone := range []int{3, 4} {
					if v, err := d.Peek(t.Context(), gone); !errors.Is(err, cache.ErrMiss) {
						t.Errorf("what was deleted before the Save is %d, %v", v, err)
					}
				}
				if err := d.DeleteTags(t.Context(), "50"); err != nil {
					t.Error(err)
				}
				if _, err := d.Peek(t.Context(), 50); !errors.Is(err, cache.ErrMiss) {
					t.Errorf("after DeleteTags a restored entry is still there: %v", err)
				}
				time.Sleep(40*time.Minute - time.Nanosecond)
				want[int](t, 102)(d.Peek(t.Context(), 51))
				time.Sleep(time.Nanosecond)
				if _, err := d.Peek(t.Context(), 51); !errors.Is(err, cache.ErrMiss) {
					t.Errorf("a restored entry lives longer than it was to: %v", err)
				}
			})
		})
	}
}

func TestSaveHottestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, double, hour[int, int](), near(1000))
		for key := range 100 {
			_, _ = c.Get(t.Context(), key)
		}
		for second := range 30 {
			time.Sleep(2 * time.Second)
			for key := range 10 {
				if second%(key+1) == 0 { // 0 is the hottest
					_, _ = c.Get(t.Context(), key)
				}
			}
		}
		file, n := save(t, c, cache.SaveOptions{MaxEntries: 5})
		if n != 5 {
			t.Fatalf("%d entries saved, want 5", n)
		}
		d := open(t, nil, hour[int, int](), near(1000))
		restore(t, d, file, cache.RestoreOptions{}, cache.RestoreStats{Read: 5, Restored: 5})
		for key := range 5 {
			want[int](t, 2*key)(d.Peek(t.Context(), key))
		}
		// Their heat came with them.
		file, _ = save(t, d, cache.SaveOptions{MaxEntries: 2})
		e := open(t, nil, hour[int, int](), near(1000))
		restore(t, e, file, cache.RestoreOptions{MaxEntries: 1}, cache.RestoreStats{Read: 1, Restored: 1})
		want[int](t, 0)(e.Peek(t.Context(), 0))

		bounded, n := save(t, c, cache.SaveOptions{MaxBytes: 1000})
		if len(bounded) > 1000 || n < 5 {
			t.Errorf("%d bytes and %d entries with a bound of 1000 bytes", len(bounded), n)
		}
		// A refresh keeps the heat of what it replaces.
		_ = c.Set(t.Context(), 0, 7)
		file, _ = save(t, c, cache.SaveOptions{MaxEntries: 1})
		f := open(t, nil, hour[int, int](), near(1000))
		restore(t, f, file, cache.RestoreOptions{}, cache.RestoreStats{Read: 1, Restored: 1})
		want[int](t, 7)(f.Peek(t.Context(), 0))
	})
}

func TestSaveRefuses(t *testing.T) {
	type pair struct{ a, b int }
	opts := hour[pair, int]()
	opts.Key = func(p pair) string { return strconv.Itoa(p.a) + "/" + strconv.Itoa(p.b) }
	load := func(context.Context, pair) (int, error) { return 1, nil }
	var b bytes.Buffer
	c := open(t, load, opts, near(10))
	for _, err := range []error{
		func() error { _, err := c.Save(t.Context(), &b, cache.SaveOptions{}); return err }(),
		func() error { _, err := c.Restore(t.Context(), &b, cache.RestoreOptions{}); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), "Options.ParseKey") {
			t.Errorf("without ParseKey: %v, want what is to be set", err)
		}
	}
	opts.ParseKey = func(s string) (p pair, ok bool) {
		a, b, ok := strings.Cut(s, "/")
		p.a, _ = strconv.Atoi(a)
		p.b, _ = strconv.Atoi(b)
		return p, ok
	}
	c = open(t, load, opts, near(10))
	want[int](t, 1)(c.Get(t.Context(), pair{1, 2}))
	file, _ := save(t, c, cache.SaveOptions{})
	d := open(t, nil, opts, near(10))
	restore(t, d, file, cache.RestoreOptions{}, cache.RestoreStats{Read: 1, Restored: 1})
	want[int](t, 1)(d.Peek(t.Context(), pair{1, 2}))

	remote := open(t, double, nil, newServer().tier(nil))
	if _, err := remote.Save(t.Context(), &b, cache.SaveOptions{}); !errors.Is(err, tier.ErrNoRange) {
		t.Errorf("Save without a tier in the process: %v", err)
	}
	if _, err := remote.Restore(t.Context(), &b, cache.RestoreOptions{}); err == nil {
		t.Error("Restore without a tier in the process succeeds")
	}
	full := errors.New("disk full")
	e := open(t, double, hour[int, int](), near(10))
	if _, err := e.Save(t.Context(), fullDisk{full}, cache.SaveOptions{}); !errors.Is(err, full) {
		t.Errorf("Save to a full disk: %v", err)
	}
	ch := open(t, func(context.Context, int) (chan int, error) { return make(chan int), nil }, hour[int, chan int](), near(10))
	_, _ = ch.Get(t.Context(), 1)
	if n, err := ch.Save(t.Context(), &b, cache.SaveOptions{}); n != 0 || err == nil || !strings.Contains(err.Error(), "left out") {
		t.Errorf("Save of what cannot be encoded = %d, %v", n, err)
	}
}

type fullDisk struct{ err error }

func (f fullDisk) Write([]byte) (int, error) { return 0, f.err }
