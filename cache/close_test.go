package cache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/cache"
)

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := open(t, count(&calls, time.Hour), nil, memory(t))
		if err := c.Set(t.Context(), "set", 1); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := c.Get(t.Context(), "k"); !errors.Is(err, cache.ErrClosed) {
					t.Errorf("Get during Close = %v, want ErrClosed", err)
				}
			})
		}
		synctest.Wait()
		for range 2 {
			if err := c.Close(); err != nil {
				t.Errorf("Close = %v, want nil", err)
			}
		}
		wg.Wait()
		for name, call := range map[string]func() error{
			"Get":    func() error { _, err := c.Get(t.Context(), "set"); return err },
			"Peek":   func() error { _, err := c.Peek(t.Context(), "set"); return err },
			"Set":    func() error { return c.Set(t.Context(), "set", 2) },
			"Delete": func() error { return c.Delete(t.Context(), "set") },
		} {
			if err := call(); !errors.Is(err, cache.ErrClosed) {
				t.Errorf("%s after Close = %v, want ErrClosed", name, err)
			}
		}
	})
}

func TestCloseReportsALoaderThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c, err := cache.New(func(context.Context, string) (int, error) { <-release; return 1, nil }, nil, memory(t))
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = c.Get(t.Context(), "k") }()
		synctest.Wait()
		began := time.Now()
		err = c.Close()
		if d := time.Since(began); err == nil || d > 2*time.Second {
			t.Errorf("Close = %v after %v, want an error within 2s", err, d)
		}
		close(release)
	})
}

// TestCloseRaces looks for panics and races of ristretto.
func TestCloseRaces(t *testing.T) {
	for range 50 {
		c, err := cache.New(func(context.Context, int) (int, error) { return 1, nil }, nil, memory(t))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range 300 {
					_, _ = c.Get(context.Background(), i)
					_ = c.Set(context.Background(), i, i)
					_ = c.Delete(context.Background(), i)
				}
			})
		}
		wg.Go(func() { _ = c.Close() })
		wg.Go(func() { _ = c.Close() })
		wg.Wait()
	}
}
