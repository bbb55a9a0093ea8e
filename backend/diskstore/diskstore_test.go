package diskstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		writeUntilKilled(path)
	}
	goleak.VerifyTestMain(m)
}

func open(tb testing.TB, path string, opts *Options) *Store {
	tb.Helper()
	s, err := Open(path, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func fileIn(tb testing.TB) string { return filepath.Join(tb.TempDir(), "cache") }

func set(tb testing.TB, s *Store, key, value string, ttl time.Duration) {
	tb.Helper()
	if err := s.Set(tb.Context(), key, []byte(value), ttl); err != nil {
		tb.Fatal(err)
	}
}

func want(tb testing.TB, s *Store, key, value string) {
	tb.Helper()
	if got, err := s.Get(tb.Context(), key); err != nil || string(got) != value {
		tb.Errorf("Get = %.40q, %v, want %.40q", got, err, value)
	}
}

func wantMiss(tb testing.TB, s *Store, key string) {
	tb.Helper()
	if got, err := s.Get(tb.Context(), key); !errors.Is(err, backend.ErrMiss) {
		tb.Errorf("Get = %.40q, %v, want a miss", got, err)
	}
}

func TestConformance(t *testing.T) {
	for name, bubble := range map[string]bool{"real time": false, "bubble": true} {
		t.Run(name, func(t *testing.T) {
			backendtest.RunStore(t, backendtest.StoreHarness{
				New:   func(tb testing.TB) backend.Store { return open(tb, fileIn(tb), nil) },
				Swaps: true, Bubble: bubble,
			})
		})
	}
}

func TestARestartKeepsEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := fileIn(t)
		s := open(t, path, nil)
		set(t, s, "short", "v", time.Minute)
		set(t, s, "long", "v", time.Hour)
		set(t, s, strings.Repeat("k", 40_000), "of a long key", time.Hour)
		set(t, s, "gone", "v", time.Hour)
		if err := errors.Join(s.Delete(t.Context(), "gone"), s.Close()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute) // ttls go on while nobody is there
		s = open(t, path, nil)
		wantMiss(t, s, "short")
		wantMiss(t, s, "gone")
		want(t, s, "long", "v")
		want(t, s, strings.Repeat("k", 40_000), "of a long key")
	})
}

// TestAClockThatWasSetBack: an entry of the future has an age that nobody knows.
func TestAClockThatWasSetBack(t *testing.T) {
	path := fileIn(t)
	s := open(t, path, nil) // now
	set(t, s, "k", "v", time.Hour)
	_ = s.Close()
	synctest.Test(t, func(t *testing.T) { // in 2000
		s := open(t, path, nil)
		wantMiss(t, s, "k")
	})
}

func TestOneAtATime(t *testing.T) {
	path := fileIn(t)
	s := open(t, path, nil)
	began := time.Now()
	if _, err := Open(path, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a second Open = %v, want ErrInUse", err)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("a second Open took %v", d)
	}
	set(t, s, "k", "v", time.Hour)
	_ = s.Close()
	want(t, open(t, path, nil), "k", "v")
}

func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, fileIn(t), nil)
		for i := range 1000 {
			set(t, s, fmt.Sprint("short", i), "v", time.Minute)
			set(t, s, fmt.Sprint("long", i), "v", time.Hour)
		}
		set(t, s, "short7", "again", time.Hour)
		time.Sleep(s.opts.SweepEvery + time.Second)
		synctest.Wait()
		if index, data := count(t, s); index != 1001 || data != 1001 {
			t.Errorf("%d and %d entries after a sweep, want 1001", index, data)
		}
		want(t, s, "short7", "again")
	})
}

func count(tb testing.TB, s *Store) (index, data int) {
	tb.Helper()
	if err := s.view(tb.Context(), func(t *tables) error {
		index, data = t.index.Stats().KeyN, t.data.Stats().KeyN
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	return index, data
}

func TestTheOldestAreEvicted(t *testing.T) {
	const room = 4 << 20
	for name, value := range map[string]func(i int) int{
		"small": func(int) int { return 100 },
		"mixed": func(i int) int { return []int{10, 300, 4000, 25_000}[i%4] },
		"large": func(int) int { return room/entryShare - 100 },
	} {
		t.Run(name, func(t *testing.T) {
			path := fileIn(t)
			s := open(t, path, &Options{MaxBytes: room})
			written, n := 0, 0
			for written < 2*room {
				size, first := 0, n // of a transaction, as of many writers at once
				for ; size == 0 || size < 8<<10; n++ {
					size += value(n) + 50
				}
				if err := s.do(t.Context(), size, func(t *tables) error {
					for i := first; i < n; i++ {
						key := fmt.Sprint("k", i)
						if err := t.put(key, record(key, bytes.Repeat([]byte("x"), value(i)), s.now(), time.Hour)); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				set(t, s, "again", "v", time.Hour)
				written += size
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			held := 0
			for e, err := range s.Entries(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				held += e.Size + 50
			}
			index, data := count(t, s)
			t.Logf("%d written; the file has %d bytes, %d entries, %d bytes of them", n, info.Size(), data, held)
			if info.Size() > room+room/8 {
				t.Errorf("the file has %d bytes, with MaxBytes at %d", info.Size(), room)
			}
			if held < room*2/5 {
				t.Errorf("%d bytes held with room for %d", held, room)
			}
			if index != data {
				t.Errorf("%d entries in the index, %d in the data", index, data)
			}
			want(t, s, "again", "v")
			want(t, s, fmt.Sprint("k", n-1), strings.Repeat("x", value(n-1)))
			wantMiss(t, s, "k0")
		})
	}
}

func TestTooLarge(t *testing.T) {
	s := open(t, fileIn(t), &Options{MaxBytes: 4 << 20})
	err := s.Set(t.Context(), "secret", make([]byte, 1<<15), time.Hour)
	if !errors.Is(err, ErrTooLarge) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Set = %v, want ErrTooLarge, without the key", err)
	}
	if _, err := s.Swap(t.Context(), "k", nil, make([]byte, 1<<15), time.Hour); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Swap = %v, want ErrTooLarge", err)
	}
}

func TestEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, fileIn(t), nil)
		const n = 3*slice + 7
		for i := range n {
			set(t, s, fmt.Sprint(i), strings.Repeat("v", i), time.Hour)
		}
		set(t, s, "expired", "v", time.Second)
		set(t, s, "0", "again", 2*time.Hour)
		time.Sleep(time.Minute)
		order := []int{0}
		for i := n - 1; i > 0; i-- {
			order = append(order, i)
		}
		i := 0
		for e, err := range s.Entries(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			w := Entry{Key: fmt.Sprint(order[i]), Size: order[i], Age: time.Minute, Remaining: 59 * time.Minute}
			if i == 0 {
				w.Size, w.Remaining = 5, 119*time.Minute
			}
			if e != w {
				t.Fatalf("entry %d = %+v, want %+v", i, e, w)
			}
			// A walk may write: no transaction is open, and what it has not
			// come to yet may go.
			if i++; i == slice {
				if err := s.Delete(t.Context(), e.Key); err != nil {
					t.Fatal(err)
				}
			}
		}
		if i != n {
			t.Errorf("%d entries, want %d", i, n)
		}
		for range s.Entries(t.Context()) {
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		errs := 0
		for _, err := range s.Entries(ctx) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Entries = %v, want context.Canceled", err)
			}
			errs++
		}
		if errs != 1 {
			t.Errorf("%d errors, want one", errs)
		}
	})
}

// TestAnEndedContextFreesItsCaller: also while the writer stands still.
func TestAnEndedContextFreesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, fileIn(t), nil)
		held, free := make(chan struct{}), make(chan struct{})
		go func() {
			_ = s.do(context.Background(), 0, func(*tables) error {
				close(held)
				<-free
				return nil
			})
		}()
		<-held
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		value := []byte("value")
		if err := s.Set(ctx, "k", value, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Set = %v, want context.DeadlineExceeded", err)
		}
		clear(value)
		close(free)
		synctest.Wait()
		want(t, s, "k", "value") // it was on its way, with a copy
	})
}

func TestCloseFreesWhoeverWaits(t *testing.T) {
	s := open(t, fileIn(t), nil)
	errs := make(chan error)
	for range 8 {
		go func() {
			for i := 0; ; i++ {
				err := s.Set(context.Background(), fmt.Sprint(i), []byte("v"), time.Hour)
				if err == nil {
					_, err = s.Get(context.Background(), fmt.Sprint(i))
				}
				if err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	<-time.After(20 * time.Millisecond)
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("Close took %v", d)
	}
	for range 8 {
		if err := <-errs; !errors.Is(err, backend.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
}

func TestBadOptions(t *testing.T) {
	for field, open := range map[string]func() (*Store, error){
		"Options.MaxBytes":   func() (*Store, error) { return Open(fileIn(t), &Options{MaxBytes: 1000}) },
		"Options.SweepEvery": func() (*Store, error) { return Open(fileIn(t), &Options{SweepEvery: -1}) },
		"path":               func() (*Store, error) { return Open("", nil) },
		"no such file":       func() (*Store, error) { return Open(filepath.Join(t.TempDir(), "a", "b"), nil) },
	} {
		if _, err := open(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("Open = %v, want an error naming %s", err, field)
		}
	}
}
