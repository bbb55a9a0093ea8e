package flight_test

import (
	"context"
	"testing"

	"github.com/bellwethercache/bellwether/internal/flight"
)

// TestSupersede: a flight may keep the value that has taken its key's place, and
// no other.
func TestSupersede(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(g *flight.Group[int])
		kept [3]bool // a value without a name, 7, 8
	}{
		{"nothing", func(*flight.Group[int]) {}, [3]bool{true, true, true}},
		{"forgotten", func(g *flight.Group[int]) { g.Forget("k", nil) }, [3]bool{}},
		{"superseded", func(g *flight.Group[int]) { g.Supersede("k", 7, nil) }, [3]bool{false, true, false}},
		{"superseded twice: which came last is not known", func(g *flight.Group[int]) { g.Supersede("k", 7, nil); g.Supersede("k", 8, nil) }, [3]bool{}},
		{"superseded, then forgotten", func(g *flight.Group[int]) { g.Supersede("k", 7, nil); g.Forget("k", nil) }, [3]bool{}},
		{"parted", func(g *flight.Group[int]) { g.Part() }, [3]bool{true, true, true}},
		{"parted, then forgotten", func(g *flight.Group[int]) { g.Part(); g.Forget("k", nil) }, [3]bool{}},
		{"parted, then superseded", func(g *flight.Group[int]) { g.Part(); g.Supersede("k", 8, nil) }, [3]bool{false, false, true}},
		{"another key", func(g *flight.Group[int]) { g.Part(); g.Forget("other", nil) }, [3]bool{true, true, true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var g flight.Group[int]
			begun, goOn := make(chan struct{}), make(chan struct{})
			var kept [3]bool
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _, _ = g.Do(t.Context(), "k", new(flight.Call[int]), funcs{run: func(_ context.Context, c *flight.Call[int]) (int, error) {
					close(begun)
					<-goOn
					for i, id := range []uint64{0, 7, 8} {
						c.Publish(id, func() { kept[i] = true })
					}
					return 1, nil
				}}, flight.Wait[int]{})
			}()
			<-begun
			tc.do(&g)
			close(goOn)
			<-done
			if kept != tc.kept {
				t.Errorf("kept %v of a value without a name, 7 and 8, want %v", kept, tc.kept)
			}
		})
	}
}
