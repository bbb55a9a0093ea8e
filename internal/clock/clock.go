// Package clock counts nanoseconds that never step: the time base of entries
// and leases in this process.
package clock

import (
	"math"
	"time"
)

var base = time.Now()

// origin keeps Now positive also in a synctest bubble, whose time lies before
// base, and leaves 146 years to count.
const origin = 1 << 62

// Now returns monotonic nanoseconds. It reads the clock once (time.Now reads it
// twice) and follows a synctest bubble's time.
func Now() int64 { return origin + int64(time.Since(base)) }

// After is the instant d after now, or the end of time.
func After(now int64, d time.Duration) int64 {
	if int64(d) > math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + int64(d)
}
