// Package striped has a counter that many cores add to at once.
package striped

import (
	"math/rand/v2"
	"sync/atomic"
)

const stripes = 16

// Counter counts. The zero value is ready to use. It spreads its increments at
// random: by key, a hot key would hit one stripe, which is the very case that
// it is for.
type Counter struct {
	stripe [stripes]struct {
		n atomic.Uint64
		_ [120]byte // two cache lines: the prefetcher fetches pairs
	}
}

// Inc adds one.
func (c *Counter) Inc() { c.stripe[rand.Uint32()%stripes].n.Add(1) }

// Load returns the sum. Increments that run meanwhile may or may not be in it.
func (c *Counter) Load() (n uint64) {
	for i := range c.stripe {
		n += c.stripe[i].n.Load()
	}
	return n
}
