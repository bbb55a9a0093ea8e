package cache_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/codec/cbor"
	"github.com/bellwethercache/bellwether/tier"
)

// savedInts is a file of n entries, saved in a bubble of its own.
func savedInts(t *testing.T, n int) []byte {
	t.Helper()
	c := open(t, double, hour[int, int](), near(1<<20))
	for key := range n {
		_, _ = c.Get(t.Context(), key)
	}
	file, _ := save(t, c, cache.SaveOptions{})
	return file
}

func TestRestoreOfDamagedFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := savedInts(t, 20)
		for at := range file {
			for name, damaged := range map[string][]byte{
				"flipped": func() []byte { b := slices.Clone(file); b[at] ^= 0x41; return b }(),
				"cut":     file[:at],
			} {
				c := open(t, nil, hour[int, int](), near(1000))
				stats, err := c.Restore(t.Context(), bytes.NewReader(damaged), cache.RestoreOptions{})
				if !errors.Is(err, cache.ErrSaved) {
					t.Fatalf("%s at %d: %+v, %v, want ErrSaved", name, at, stats, err)
				}
				held := 0
				for key := range 20 {
					switch v, err := c.Peek(t.Context(), key); {
					case err == nil && v != 2*key:
						t.Fatalf("%s at %d: %d is %d", name, at, key, v)
					case err == nil:
						held++
					}
				}
				if held != stats.Restored || at > 1500 && held < 5 {
					t.Errorf("%s at %d: %d entries in memory, counted are %+v", name, at, held, stats)
				}
			}
		}
		c := open(t, nil, hour[int, int](), near(1000))
		if _, err := c.Restore(t.Context(), bytes.NewReader(append(slices.Clone(file), 0)), cache.RestoreOptions{}); !errors.Is(err, cache.ErrSaved) {
			t.Errorf("with a byte more: %v, want ErrSaved", err)
		}
		lost := errors.New("I/O error")
		r := io.MultiReader(bytes.NewReader(file[:200]), iotest.ErrReader(lost))
		if _, err := c.Restore(t.Context(), r, cache.RestoreOptions{}); !errors.Is(err, lost) || errors.Is(err, cache.ErrSaved) {
			t.Errorf("from a disk that fails: %v", err)
		}
	})
}

func TestRestoreOfAnotherSchemaOrCodec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := savedInts(t, 3)
		schema := hour[int, int]()
		schema.Schema = 7
		c := open(t, nil, schema, near(10))
		restore(t, c, file, cache.RestoreOptions{}, cache.RestoreStats{Read: 3, Damaged: 3})
		other := hour[int, int]()
		other.Codec = cbor.New[int]()
		d := open(t, nil, other, near(10))
		restore(t, d, file, cache.RestoreOptions{}, cache.RestoreStats{Read: 3, Damaged: 3})
	})
}

func TestRestoreAndTheClock(t *testing.T) {
	var early, late []byte
	synctest.Test(t, func(t *testing.T) { early = savedInts(t, 3) })
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * time.Minute)
		late = savedInts(t, 3)
	})
	synctest.Test(t, func(t *testing.T) { // the clock says what it said before late was saved
		c := open(t, nil, hour[int, int](), near(10))
		if stats, err := c.Restore(t.Context(), bytes.NewReader(late), cache.RestoreOptions{}); !errors.Is(err, cache.ErrSavedLater) || stats.Restored > 0 {
			t.Errorf("of the future: %+v, %v", stats, err)
		}
		time.Sleep(time.Hour)
		restore(t, c, early, cache.RestoreOptions{}, cache.RestoreStats{Read: 3, Expired: 3})
		restore(t, c, late, cache.RestoreOptions{}, cache.RestoreStats{Read: 3, Restored: 3})
	})
}

// What was written meanwhile is newer than what a Restore brings.
func TestRestoreDoesNotUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := savedInts(t, 1000)
		c := open(t, nil, hour[int, int](), near(10000))
		_ = c.Set(t.Context(), 1, -1)
		r := &pausing{r: bytes.NewReader(file), at: len(file) / 2, do: func() {
			_ = c.Set(t.Context(), 2, -2)
			for key := range 1000 {
				if key >= 3 {
					_ = c.Delete(t.Context(), key)
				}
			}
		}}
		stats, err := c.Restore(t.Context(), r, cache.RestoreOptions{})
		if err != nil {
			t.Error(err)
		}
		want[int](t, -1)(c.Peek(t.Context(), 1))
		want[int](t, -2)(c.Peek(t.Context(), 2))
		want[int](t, 0)(c.Peek(t.Context(), 0))
		for key := 3; key < 1000; key++ {
			if v, err := c.Peek(t.Context(), key); !errors.Is(err, cache.ErrMiss) {
				t.Fatalf("%d was deleted while the Restore ran, and is %d, %v", key, v, err)
			}
		}
		if stats.Read != 1000 || stats.Newer < 300 {
			t.Errorf("counted are %+v", stats)
		}
		// The same of a Clear.
		r = &pausing{r: bytes.NewReader(file), at: len(file) / 2, do: func() {
			_ = c.Clear(t.Context())
			time.Sleep(time.Second)
		}}
		if _, err := c.Restore(t.Context(), r, cache.RestoreOptions{}); err != nil {
			t.Error(err)
		}
		for key := range 1000 {
			if v, err := c.Peek(t.Context(), key); !errors.Is(err, cache.ErrMiss) {
				t.Fatalf("all was removed while the Restore ran, and %d is %d, %v", key, v, err)
			}
		}
	})
}

// pausing calls do once that much was read.
type pausing struct {
	r    io.Reader
	read int
	at   int
	do   func()
}

func (p *pausing) Read(b []byte) (int, error) {
	n, err := p.r.Read(b[:min(len(b), 512)])
	if p.read += n; p.read >= p.at && p.do != nil {
		p.do()
		p.do = nil
	}
	return n, err
}

func TestRestoreAsksTheSharedTier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		c := open(t, double, hour[int, int](), near(1000), s.tier(nil))
		for key := range 600 {
			_, _ = c.Get(t.Context(), key)
		}
		file, _ := save(t, c, cache.SaveOptions{})
		keys, _ := save(t, c, cache.SaveOptions{KeysOnly: true})
		if len(keys) > len(file)/3 {
			t.Errorf("the keys are %d bytes of %d", len(keys), len(file))
		}
		_ = c.Set(t.Context(), 1, -1) // by another process, while ours is down
		_ = c.Delete(t.Context(), 2)
		leases := s.did("lease") + s.did("leasemulti")
		for name, f := range map[string][]byte{"whole": file, "keys": keys} {
			d := open(t, nil, hour[int, int](), near(1000), s.tier(nil))
			restore(t, d, f, cache.RestoreOptions{KeepUnverified: true}, cache.RestoreStats{Read: 600, Restored: 599, Missing: 1})
			gets := s.did("get")
			want[int](t, -1)(d.Get(t.Context(), 1))
			want[int](t, 1000)(d.Get(t.Context(), 500))
			if n := s.did("get") - gets; n > 0 {
				t.Errorf("%s: %d reads of the server after the Restore", name, n)
			}
			if _, err := d.Peek(t.Context(), 2); !errors.Is(err, cache.ErrMiss) {
				t.Errorf("%s: what was deleted meanwhile: %v", name, err)
			}
		}
		if n := s.did("lease") + s.did("leasemulti") - leases; n > 0 {
			t.Errorf("%d leases were asked for", n)
		}
	})
}

func TestRestoreWithoutTheSharedTier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		file := savedInts(t, 10)
		s.set(func() { s.down = true })
		opts := hour[int, int]()
		local := tier.RemoteOptions{BreakerFailures: -1}
		c := open(t, nil, opts, near(1000), s.tier(&local))
		restore(t, c, file, cache.RestoreOptions{}, cache.RestoreStats{Read: 10, Failed: 10})
		if _, err := c.Peek(t.Context(), 1); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("nobody vouches for it: %v", err)
		}
		restore(t, c, file, cache.RestoreOptions{KeepUnverified: true}, cache.RestoreStats{Read: 10, Unverified: 10})
		want[int](t, 2)(c.Peek(t.Context(), 1))
	})
}

func TestRestoreStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := savedInts(t, 1000)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("shutting down")
		c := open(t, nil, hour[int, int](), near(1000))
		r := &pausing{r: bytes.NewReader(file), at: len(file) / 2, do: func() { cancel(why) }}
		if stats, err := c.Restore(ctx, r, cache.RestoreOptions{}); !errors.Is(err, why) || stats.Read > 700 {
			t.Errorf("Restore = %+v, %v", stats, err)
		}
		if _, err := c.Save(ctx, io.Discard, cache.SaveOptions{}); !errors.Is(err, why) {
			t.Errorf("Save = %v", err)
		}
	})
}

func FuzzRestore(f *testing.F) {
	c, err := cache.New(double, hour[int, int](), near(1000))
	if err != nil {
		f.Fatal(err)
	}
	defer c.Close()
	for key := range 5 {
		_, _ = c.Get(f.Context(), key)
	}
	for _, opts := range []cache.SaveOptions{{}, {KeysOnly: true}} {
		var b bytes.Buffer
		if _, err := c.Save(f.Context(), &b, opts); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		c := open(t, nil, hour[int, int](), near(1000))
		stats, err := c.Restore(t.Context(), bytes.NewReader(file), cache.RestoreOptions{})
		if n := stats.Restored + stats.Unverified + stats.Missing + stats.Expired + stats.Newer + stats.Failed + stats.Damaged; n != stats.Read {
			t.Errorf("counted are %+v, which is %d", stats, n)
		}
		if err != nil && !errors.Is(err, cache.ErrSaved) && !errors.Is(err, cache.ErrSavedLater) {
			t.Errorf("Restore = %v", err)
		}
	})
}

// TestRestoreWaitsForNews: what is in memory when hearing begins is dropped, but
// for some.
func TestRestoreWaitsForNews(t *testing.T) {
	const many = 3000
	for name, tc := range map[string]struct{ heard, took time.Duration }{
		"heard soon": {700 * time.Millisecond, 700 * time.Millisecond},
		"not heard":  {time.Hour, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := memstore.NewStore()
				defer first.Close()
				writer := open(t, double, hour[int, int](), near(1<<20), tier.Remote(first, nil))
				for key := range many {
					_, _ = writer.Get(t.Context(), key)
				}
				file, _ := save(t, writer, cache.SaveOptions{})
				l := &late{peer: &peer{Store: first.Peer()}, mode: backend.CoherenceDeaf}
				c := open(t, double, hour[int, int](), near(1<<20), tier.Remote(l, nil))
				hearing := time.AfterFunc(tc.heard, func() { l.on(backend.Invalidation{Kind: backend.Heard}) })
				defer hearing.Stop()
				began := time.Now()
				restore(t, c, file, cache.RestoreOptions{}, cache.RestoreStats{Read: many, Restored: many})
				if d := time.Since(began); d != tc.took {
					t.Errorf("Restore took %v, want %v", d, tc.took)
				}
				before := c.Stats().Hits
				for key := range many {
					_, _ = c.Get(t.Context(), key)
				}
				if n := c.Stats().Hits - before; n != many {
					t.Errorf("%d of %d restored entries are in memory", n, many)
				}
			})
		})
	}
}
