package memstore

import (
	"context"
	"slices"
	"sync"

	"github.com/bellwethercache/bellwether/backend"
)

var _ backend.Bus = (*Bus)(nil)

// Bus is a backend.Bus within a process: the reference, and for tests. What is
// published has been told to all when Publish returns.
type Bus struct {
	line *line

	closed bool // guarded by line.mu
}

// line is what a bus and its peers share.
type line struct {
	mu      sync.Mutex
	hearers map[*busHearer]struct{}
}

// busHearer is a hearer on a bus.
type busHearer struct {
	bus  *Bus
	what backend.Interest
	hearer
}

// NewBus returns a bus on which there is nobody yet.
func NewBus() *Bus { return &Bus{line: &line{hearers: make(map[*busHearer]struct{})}} }

// Peer returns the same bus as another process would have it.
func (b *Bus) Peer() *Bus { return &Bus{line: b.line} }

// Invalidations implements backend.Invalidator.
func (b *Bus) Invalidations(what backend.Interest, on func(backend.Invalidation)) (stop func()) {
	h := &busHearer{bus: b, what: what, hearer: hearer{on: on}}
	b.line.mu.Lock()
	if b.closed {
		b.line.mu.Unlock()
		return func() {}
	}
	b.line.hearers[h] = struct{}{}
	h.mu.Lock() // what is published from now on is told after Heard
	b.line.mu.Unlock()
	on(backend.Invalidation{Kind: backend.Heard})
	h.mu.Unlock()
	return func() {
		b.line.mu.Lock()
		delete(b.line.hearers, h)
		b.line.mu.Unlock()
		h.mu.Lock()
		h.gone = true
		h.mu.Unlock()
	}
}

// CoherenceMode implements backend.Invalidator.
func (b *Bus) CoherenceMode() backend.CoherenceMode { return backend.CoherencePublish }

// Publish implements backend.Bus.
func (b *Bus) Publish(ctx context.Context, inv backend.Invalidation) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	var to []*busHearer
	b.line.mu.Lock()
	closed := b.closed
	for h := range b.line.hearers {
		if h.bus != b && (inv.Kind == backend.KeyChanged && h.what.Keys || inv.Kind == backend.TagStamped && h.what.Tags) {
			to = append(to, h)
		}
	}
	b.line.mu.Unlock()
	if closed {
		return backend.ErrClosed
	}
	for _, h := range to {
		told := inv
		told.Head = slices.Clone(inv.Head)
		h.tell(told)
	}
	return nil
}

// Close implements backend.Bus.
func (b *Bus) Close() error {
	b.line.mu.Lock()
	defer b.line.mu.Unlock()
	b.closed = true
	for h := range b.line.hearers {
		if h.bus == b {
			delete(b.line.hearers, h)
		}
	}
	return nil
}
