package lock

import (
	"math/rand/v2"
	"time"
)

// Backoff says how long to sleep before retry n, counted from 0. It is called
// concurrently and keeps no state.
type Backoff func(retry int) time.Duration

// Exponential returns a backoff of base·2ⁿ, capped at limit, plus a uniform
// jitter in [0, jitter) that keeps waiters from coming back in step.
func Exponential(base, limit, jitter time.Duration) Backoff {
	return func(retry int) time.Duration {
		d := limit
		if retry < 32 { // beyond, base<<retry could overflow
			if step := base << retry; step > 0 && step < limit {
				d = step
			}
		}
		if jitter > 0 {
			d += rand.N(jitter)
		}
		return d
	}
}

// DefaultBackoff is 100, 200, 400, 800, 1600, 1600, ... ms, each plus 0 to 100 ms.
func DefaultBackoff() Backoff {
	return Exponential(100*time.Millisecond, 1600*time.Millisecond, 100*time.Millisecond)
}
