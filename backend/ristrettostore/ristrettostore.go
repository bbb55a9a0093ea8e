package ristrettostore

import (
	"cmp"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"

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

// Store is a [backend.Memory] of ristretto. It is safe for concurrent use.
type Store struct {
	cache   *ristretto.Cache[uint64, backend.Node]
	stripes [64]stripe
	waiting atomic.Int64 // writes in the overlay
	evicted atomic.Uint64
	over    atomic.Bool // what goes from now on goes because of Close

	wake chan struct{}
	stop chan struct{}
	done chan struct{}
	gate gate.Gate // around every call of ristretto but the feeder's

	expiry expiry // the feeder's own
}

var (
	_ backend.Memory  = (*Store)(nil)
	_ backend.Counted = (*Store)(nil)
	_ backend.Ranger  = (*Store)(nil)
)

// stripe is a part of the overlay: writes that reads must see and that
// ristretto may not show yet.
type stripe struct {
	mu      sync.Mutex
	next    map[uint64]write // to be applied
	current map[uint64]write // being applied
	_       [40]byte         // a cache line each
}

// write is a Set, or a Delete if its node is nil.
type write struct {
	node  backend.Node
	cost  int64
	until int64 // clock.Now
}

// maxWaiting bounds the overlay. Beyond it a Set only removes what it would
// have replaced: dropped, but not stale.
const maxWaiting = 1 << 15

// New returns an empty store. It starts a goroutine that Close ends.
func New(opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.MaxEntries = cmp.Or(o.MaxEntries, 100_000)
	if o.MaxEntries < 0 {
		return nil, fmt.Errorf("ristrettostore: Options.MaxEntries: must not be negative, is %d", o.MaxEntries)
	}
	s := &Store{
		wake:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		expiry: newExpiry(4 * o.MaxEntries),
	}
	went := func(it *ristretto.Item[backend.Node]) { s.went(it.Value) }
	c, err := ristretto.NewCache(&ristretto.Config[uint64, backend.Node]{
		NumCounters:        10 * o.MaxEntries,
		MaxCost:            o.MaxEntries,
		BufferItems:        64,
		IgnoreInternalCost: true, // else each entry would cost 56 more
		// The hashes are well mixed already; ristretto leaves integers as they are.
		KeyToHash: func(hash uint64) (uint64, uint64) { return hash, 0 },
		OnEvict:   went,
		OnReject:  went,
	})
	if err != nil {
		return nil, fmt.Errorf("ristrettostore: %w", err)
	}
	s.cache = c
	go s.feed()
	return s, nil
}

// went counts a node that there was no room for.
func (s *Store) went(n backend.Node) {
	if n != nil && !s.over.Load() && !n.Dead() && !n.Expired() {
		s.evicted.Add(1)
	}
}

// Len implements backend.Counted.
func (s *Store) Len() int {
	pass, ok := s.gate.Enter()
	if !ok {
		return 0
	}
	defer s.gate.Leave(pass)
	return int(s.cache.MaxCost() - s.cache.RemainingCost()) // each costs 1
}

// Evicted implements backend.Counted.
func (s *Store) Evicted() uint64 { return s.evicted.Load() }

// Get implements backend.Memory.
func (s *Store) Get(hash uint64) backend.Node {
	pass, ok := s.gate.Enter()
	if !ok {
		return nil
	}
	n := s.look(hash)
	s.gate.Leave(pass)
	return n
}

func (s *Store) look(hash uint64) backend.Node {
	// Before the look into ristretto: a write that is applied between the two
	// would be missed in both places.
	waiting := s.waiting.Load()
	if n, ok := s.cache.Get(hash); ok && !n.Dead() {
		return n
	}
	if waiting == 0 {
		return nil
	}
	return s.overlaid(hash)
}

// overlaid looks in the overlay, and once more in ristretto: the feeder may
// have moved the write from here to there since we looked.
func (s *Store) overlaid(hash uint64) backend.Node {
	st := s.stripe(hash)
	st.mu.Lock()
	w, ok := st.next[hash]
	if !ok {
		w, ok = st.current[hash]
	}
	st.mu.Unlock()
	if ok {
		if w.node == nil || w.node.Dead() {
			return nil
		}
		return w.node
	}
	if n, ok := s.cache.Get(hash); ok && !n.Dead() {
		return n
	}
	return nil
}

// Set implements backend.Memory.
func (s *Store) Set(hash uint64, n backend.Node, cost int64, ttl time.Duration) {
	if ttl > 0 {
		s.write(hash, write{node: n, cost: max(cost, 1), until: clock.After(clock.Now(), ttl)})
	}
}

// Delete implements backend.Memory.
func (s *Store) Delete(hash uint64) { s.write(hash, write{}) }

func (s *Store) write(hash uint64, w write) {
	pass, ok := s.gate.Enter()
	if !ok {
		return
	}
	defer s.gate.Leave(pass)
	st := s.stripe(hash)
	st.mu.Lock()
	// Kill every copy that a read could still meet, wherever it is.
	old, queued := st.next[hash]
	kill(old.node, w.node)
	kill(st.current[hash].node, w.node)
	if n, ok := s.cache.Get(hash); ok {
		kill(n, w.node)
	}
	switch {
	case queued:
		st.next[hash] = w
	case s.waiting.Load() >= maxWaiting:
		s.went(w.node) // dropped. A copy on its way into ristretto is dead already.
	default:
		if st.next == nil {
			st.next = make(map[uint64]write)
		}
		st.next[hash] = w
		s.waiting.Add(1)
	}
	st.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // the feeder is going to look anyway
	}
}

func kill(old, successor backend.Node) {
	if old != nil && old != successor {
		old.Kill()
	}
}

// Close implements backend.Memory. It waits for the feeder.
func (s *Store) Close() error {
	if s.gate.Close() {
		close(s.stop)
		<-s.done
		s.over.Store(true)
		s.cache.Close()
	}
	return nil
}

func (s *Store) stripe(hash uint64) *stripe { return &s.stripes[hash%uint64(len(s.stripes))] }
