package fleettest

import (
	"time"

	"golang.org/x/sys/unix"
)

// Moment is a reading of CLOCK_MONOTONIC in nanoseconds, which all processes
// of a machine share. Zero: it has not come yet.
type Moment int64

// Now reads the clock.
func Now() Moment {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // fails only for a clock that does not exist
	return Moment(ts.Nano())
}

// Sub returns m-n.
func (m Moment) Sub(n Moment) time.Duration { return time.Duration(m - n) }
