package gate_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bellwethercache/bellwether/internal/gate"
)

func TestNobodyIsInsideAfterClose(t *testing.T) {
	for range 200 {
		var g gate.Gate
		var closed atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					p, ok := g.Enter()
					if !ok {
						return
					}
					if closed.Load() {
						t.Error("inside after Close returned")
					}
					g.Leave(p)
				}
			})
		}
		if !g.Close() || g.Close() {
			t.Error("Close = false, or true twice")
		}
		closed.Store(true)
		wg.Wait()
	}
}
