// Package gate lets many readers in at next to no cost and one closer out after
// them: a read-write lock whose readers do not share a cache line.
package gate

import (
	"runtime"
	"sync/atomic"

	"github.com/bellwethercache/bellwether/internal/striped"
)

// shut is what Close adds to each count: far below what readers make up for.
const shut = -1 << 62

// Gate is open until Close. The zero value is ready to use.
type Gate struct {
	inside [striped.Stripes]striped.Cell
	closed atomic.Bool
}

// Pass is an entry to be given back with Leave.
type Pass = *striped.Cell

// Enter reports false once the gate is closing.
func (g *Gate) Enter() (Pass, bool) {
	p := &g.inside[striped.Index()%striped.Stripes]
	if p.Add(1) < 0 { // one step: either Close sees us inside, or we see it closed
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
	for i := range g.inside {
		g.inside[i].Add(shut)
		for g.inside[i].Load() != shut {
			runtime.Gosched()
		}
	}
	return true
}
