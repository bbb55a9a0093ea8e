package tier

import "sync/atomic"

// heat is a measure of how often an entry is read lately: in how many spans of
// about a second it was, each counting half as much after 64 spans. The zero
// value is cold.
//
// It does not count hits, because a counter that each hit writes would take the
// node's cache line from core to core. A hit compares two words; only the first
// of a span writes. Of two that meet there, one may get lost.
type heat struct{ bits atomic.Uint64 } // the span of the last read, then the score

const (
	spanBits = 30 // of clock.Now: 1.07 s
	halfLife = 64 // spans
	degree   = 1 << 16
	hottest  = 1 << 24 // above what a read in every span comes to
)

// cold reports whether the entry was not yet read in this span.
func (h *heat) cold(now int64) bool { return uint32(h.bits.Load()>>32) != uint32(now>>spanBits) }

// warm notes a read.
func (h *heat) warm(now int64) { h.set(now, h.score(now)+degree) }

// score is what is left of it.
func (h *heat) score(now int64) uint32 {
	bits := h.bits.Load()
	score, spans := uint32(bits), uint32(now>>spanBits)-uint32(bits>>32)
	if spans >= 32*halfLife {
		return 0
	}
	score >>= spans / halfLife
	return score - uint32(uint64(score)*uint64(spans%halfLife)/(2*halfLife))
}

func (h *heat) set(now int64, score uint32) {
	h.bits.Store(uint64(uint32(now>>spanBits))<<32 | uint64(min(score, hottest)))
}

// heatUp gives n the heat of what it is about to replace.
func (l *local[K, V]) heatUp(n *node[K, V], now int64) {
	if l.ranger == nil {
		return // nobody will ask
	}
	if old := l.node(n.key); old != nil {
		n.heat.set(now, old.heat.score(now))
	}
}
