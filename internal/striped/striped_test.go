package striped_test

import (
	"sync"
	"testing"

	"github.com/bellwethercache/bellwether/internal/striped"
)

func TestCounter(t *testing.T) {
	var c striped.Counter
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 1000 {
				c.Inc()
			}
		})
	}
	wg.Wait()
	if n := c.Load(); n != 20_000 {
		t.Errorf("Load = %d, want 20000", n)
	}
}

func TestIndexSpreads(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[int]int)
	var wg sync.WaitGroup
	hold := make(chan struct{})
	for range 256 { // all at once, so that their stacks are distinct
		wg.Go(func() {
			i := striped.Index()
			mu.Lock()
			seen[i]++
			mu.Unlock()
			<-hold
		})
	}
	close(hold)
	wg.Wait()
	if len(seen) < striped.Stripes/2 {
		t.Errorf("256 goroutines on %d stripes of %d: %v", len(seen), striped.Stripes, seen)
	}
	for i := range seen {
		if i < 0 || i >= striped.Stripes {
			t.Errorf("Index = %d", i)
		}
	}
}
