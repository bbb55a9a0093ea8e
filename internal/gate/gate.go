// Package gate lets many readers in at next to no cost and one closer out after
// them: a read-write lock whose readers do not share a cache line.
package gate

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
)

const stripes = 16

// Gate is open until Close. The zero value is ready to use.
type Gate struct {
	stripe [stripes]struct {
		inside atomic.Int64
		_      [120]byte // two cache lines: the prefetcher fetches pairs
	}
	closed atomic.Bool
}

// Pass is an entry to be given back with Leave.
type Pass = *atomic.Int64

// Enter reports false once the gate is closing.
func (g *Gate) Enter() (Pass, bool) {
	p := &g.stripe[rand.Uint32()%stripes].inside
	p.Add(1)
	// After the Add: either Close sees us inside, or we see it closed.
	if g.closed.Load() {
		p.Add(-1)
		return nil, false
	}
	return p, true
}

// Leave gives a pass back.
func (*Gate) Leave(p Pass) { p.Add(-1) }

// Close shuts the gate and waits until everyone has left. It reports whether
// it was the first to do so; the others do not wait. What happens inside must
// be short.
func (g *Gate) Close() bool {
	if g.closed.Swap(true) {
		return false
	}
	for i := range g.stripe {
		for g.stripe[i].inside.Load() != 0 {
			runtime.Gosched()
		}
	}
	return true
}
