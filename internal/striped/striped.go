// Package striped spreads what many cores change at once over several cache
// lines.
package striped

import (
	"sync/atomic"
	"unsafe"
)

// Stripes is how many lines there are.
const Stripes = 16

// Index chooses a stripe for the calling goroutine: by where its stack is,
// which costs a nanosecond where a random number costs five, and differs
// between goroutines that run at the same time. By key, a hot key would hit one stripe, which is
// the very case that this is for.
func Index() int {
	var here byte
	at := uint64(uintptr(unsafe.Pointer(&here))) >> 11 // stacks are at least 2 KiB
	return int(at * 0x9E3779B97F4A7C15 >> 60)          // Fibonacci hashing (Knuth, TAOCP 3, 6.4)
}

// Cell is a number alone on its cache lines.
type Cell struct {
	atomic.Int64
	_ [120]byte // two lines: the prefetcher fetches pairs
}

// Counter counts. The zero value is ready to use.
type Counter struct{ cells [Stripes]Cell }

// Inc adds one.
func (c *Counter) Inc() { c.cells[Index()%Stripes].Add(1) }

// Load returns the sum. Increments that run meanwhile may or may not be in it.
func (c *Counter) Load() (n uint64) {
	for i := range c.cells {
		n += uint64(c.cells[i].Load())
	}
	return n
}
