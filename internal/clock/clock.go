// Package clock counts nanoseconds that never step: the time base of entries
// and leases in this process.
package clock

import "time"

var base = time.Now()

// Now returns the monotonic nanoseconds since the process began. It reads the
// clock once (time.Now reads it twice) and follows a synctest bubble's time.
func Now() int64 { return int64(time.Since(base)) }
