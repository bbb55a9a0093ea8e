package leasemodel

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// large is a world too large to be walked through.
var large = bounds{procs: 3, attempts: 4, moves: 8, faults: everything}

// TestRandomSchedules plays schedules that nobody chose, of a larger world.
func TestRandomSchedules(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	limit := 2 * time.Second
	if long() {
		limit = time.Minute
	}
	over := time.Now().Add(limit) // out here: a bubble has a clock of its own
	rng := rand.New(rand.NewPCG(seed, 0))
	n := 0
	for ; time.Now().Before(over); n++ {
		synctest.Test(t, func(t *testing.T) {
			for range 100 {
				if r, bad := play(&memory{}, large, func(_ *run, n int) int { return rng.IntN(n) }); bad != nil {
					t.Fatalf("seed %d:\n%s", seed, r.tell(bad))
				}
			}
		})
	}
	t.Logf("seed %d: %d schedules", seed, 100*n)
}

// FuzzLeaseProtocol takes bytes for choices.
func FuzzLeaseProtocol(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("a stampede comes to those who wait"))
	f.Fuzz(func(t *testing.T, choices []byte) {
		synctest.Test(t, func(t *testing.T) {
			i := -1
			r, bad := play(&memory{}, large, func(_ *run, n int) int {
				if i++; i >= len(choices) {
					return 0
				}
				return int(choices[i]) % n
			})
			if bad != nil {
				t.Fatal("\n" + r.tell(bad))
			}
		})
	})
}
