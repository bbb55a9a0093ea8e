package otterstore

import (
	"cmp"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/internal/gate"
)

// Options configure a [Store]. The zero value, and nil, mean the defaults.
type Options struct {
	// MaxEntries bounds the number of entries (more precisely, their total
	// cost, which is 1 each). Defaults to 100,000.
	MaxEntries int64
}

// Store is a [backend.Memory] of otter. It is safe for concurrent use.
type Store struct {
	cache *otter.Cache[uint64, item]
	gate  gate.Gate // around writes, so that none comes after Close
	close sync.Once

	evicted atomic.Uint64

	now  coarse
	stop chan struct{}
	done chan struct{}
}

var (
	_ backend.Memory  = (*Store)(nil)
	_ backend.Counted = (*Store)(nil)
	_ backend.Ranger  = (*Store)(nil)
)

// item is a node with what otter is to know of it. It fits a 96-byte entry.
type item struct {
	node backend.Node
	ttl  uint32 // seconds
	cost uint32
}

// New returns an empty store. It starts a goroutine that Close ends.
func New(opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.MaxEntries = cmp.Or(o.MaxEntries, 100_000)
	if o.MaxEntries < 0 {
		return nil, fmt.Errorf("otterstore: Options.MaxEntries: must not be negative, is %d", o.MaxEntries)
	}
	s := &Store{stop: make(chan struct{}), done: make(chan struct{})}
	s.now.read()
	c, err := otter.New(&otter.Options[uint64, item]{
		MaximumWeight: uint64(o.MaxEntries),
		Weigher:       func(_ uint64, it item) uint32 { return it.cost },
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[uint64, item]) time.Duration {
			return time.Duration(e.Value.ttl) * time.Second
		}),
		OnAtomicDeletion: s.deleted,
		Clock:            &s.now,
		Logger:           &otter.NoopLogger{}, // it would log our panics; there are none
	})
	if err != nil {
		return nil, fmt.Errorf("otterstore: %w", err)
	}
	s.cache = c
	go s.tick()
	return s, nil
}

// deleted kills what goes. It runs in the same atomic step.
func (s *Store) deleted(e otter.DeletionEvent[uint64, item]) {
	if e.Cause == otter.CauseOverflow && !e.Value.node.Dead() && !e.Value.node.Expired() {
		s.evicted.Add(1)
	}
	if e.Cause != otter.CauseReplacement { // Set knows by what
		e.Value.node.Kill()
	}
}

// Get implements backend.Memory.
func (s *Store) Get(hash uint64) backend.Node {
	it, _ := s.cache.GetIfPresent(hash)
	return it.node
}

// Set implements backend.Memory.
func (s *Store) Set(hash uint64, n backend.Node, cost int64, ttl time.Duration) {
	if ttl <= 0 {
		return
	}
	pass, ok := s.gate.Enter()
	if !ok {
		return
	}
	defer s.gate.Leave(pass)
	it := item{node: n, ttl: seconds(ttl), cost: uint32(min(max(cost, 1), math.MaxUint32))}
	if old, fresh := s.cache.Set(hash, it); !fresh && old.node != n {
		old.node.Kill()
	}
}

// seconds rounds up, and adds the one by which the clock may be late.
func seconds(ttl time.Duration) uint32 {
	return uint32(min((ttl-1)/time.Second+2, math.MaxUint32))
}

// Delete implements backend.Memory.
func (s *Store) Delete(hash uint64) {
	if pass, ok := s.gate.Enter(); ok {
		s.cache.Invalidate(hash)
		s.gate.Leave(pass)
	}
}

// Range implements backend.Ranger.
func (s *Store) Range(yield func(backend.Node) bool) {
	for it := range s.cache.Values() {
		if !it.node.Dead() && !yield(it.node) {
			return
		}
	}
}

// Len implements backend.Counted.
func (s *Store) Len() int { return s.cache.EstimatedSize() }

// Evicted implements backend.Counted.
func (s *Store) Evicted() uint64 { return s.evicted.Load() }

// Close implements backend.Memory. It waits for the goroutine.
func (s *Store) Close() error {
	s.close.Do(func() {
		s.gate.Close()
		close(s.stop)
		<-s.done
		s.cache.StopAllGoroutines()
		s.cache.InvalidateAll()
	})
	return nil
}

const tick = time.Second

// tick moves the clock and gives the room of expired entries back, until Close.
func (s *Store) tick() {
	defer close(s.done)
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.now.read()
			s.cache.CleanUp()
		}
	}
}

// coarse is otter's clock.
type coarse struct{ ns atomic.Int64 }

func (c *coarse) read() { c.ns.Store(clock.Now()) }

// NowNano implements otter.Clock.
func (c *coarse) NowNano() int64 { return c.ns.Load() }

// Tick implements otter.Clock: this store has a ticker of its own.
func (*coarse) Tick(time.Duration) <-chan time.Time { return nil }
