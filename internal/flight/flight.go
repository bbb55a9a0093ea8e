// Package flight lets the callers of one key share one piece of work.
//
// It differs from x/sync/singleflight where a cache needs it to: each caller
// leaves on its own context, the last one out cancels the work, a newcomer
// never joins work that was cancelled or forgotten, and a panic or Goexit of
// the work is an error for all its callers rather than the end of the process.
package flight

import (
	"context"
	"hash/maphash"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/internal/clock"
)

// Work is what a flight does. Both methods publish their value (to L1) before
// they return.
type Work[V any] interface {
	// Probe runs on the leader's own goroutine and context, to spare the
	// common case a goroutine. It reports false if Run is needed.
	Probe(ctx context.Context, c *Call[V]) (v V, ok bool, err error)
	// Run runs on a goroutine of its own, on a context that has the leader's
	// values and ends when every caller has left.
	Run(ctx context.Context, c *Call[V]) (V, error)
	// Drop is called instead of Run if every caller has left during the Probe.
	Drop()
}

// Call is one flight.
type Call[V any] struct {
	shard *shard[V]
	key   string
	tag   atomic.Value // string; see SetTag
	alone bool         // the leader's own; see Reset

	// Written before done is closed (and ended set), read after.
	val V
	err error

	// Guarded by the shard's mutex.
	done      chan struct{} // made by the first who waits
	ended     bool
	callers   int
	joined    int
	gone      bool // no longer in the map: nobody may join
	forgotten bool
	only      uint64                  // the one value that may be kept all the same; 0: none
	cancel    context.CancelCauseFunc // nil until Run begins
	news      chan struct{}           // closed and made anew by Offer and Announce
	offer     *V
	eta       int64 // clock.Now of the usual end; 0: not announced
	etaLeads  bool  // the leader too is to go by it
}

// Publish calls keep, unless the key was forgotten during the flight or every
// caller has left it: then its value may be given away but must not be kept.
// A Forget of the key happens wholly before keep or wholly after it. keep must
// be quick. id names the value to Supersede; 0: it has no name.
func (c *Call[V]) Publish(id uint64, keep func()) bool {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	if c.forgotten && (id == 0 || id != c.only) {
		return false
	}
	keep()
	return true
}

// Forgotten reports whether the value must not be kept, whatever it is.
func (c *Call[V]) Forgotten() bool {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	return c.forgotten
}

// Retire makes the flight unjoinable and its value not to be kept, as Forget
// does, but of this flight alone.
func (c *Call[V]) Retire() {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	c.forgotten, c.only = true, 0
	c.shard.remove(c)
}

// Joined is how many callers have joined the leader so far.
func (c *Call[V]) Joined() int {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	return c.joined
}

// Reset makes c the zero Call again, if nobody else has seen it: it led, was
// joined by nobody and ended in Probe. It reports whether it did.
func (c *Call[V]) Reset() bool {
	if !c.alone {
		return false
	}
	*c = Call[V]{}
	return true
}

// SetTag stores what followers are to know of the leader: its trace context.
func (c *Call[V]) SetTag(tag string) { c.tag.Store(tag) }

// Tag returns the last SetTag.
func (c *Call[V]) Tag() string {
	s, _ := c.tag.Load().(string)
	return s
}

// Group is a set of flights. The zero value is ready to use.
type Group[V any] struct {
	// Limit, if positive, bounds the callers that are in Do at once.
	Limit int64

	shards  [64]shard[V]
	wg      sync.WaitGroup
	callers atomic.Int64
	closed  atomic.Bool
}

// Callers is how many callers are in Do, or have a batch, right now.
func (g *Group[V]) Callers() int { return int(g.callers.Load()) }

type shard[V any] struct {
	mu      sync.Mutex
	calls   map[string]*Call[V]   // joinable
	running map[*Call[V]]struct{} // also those that no longer are
	parted  map[*Call[V]]struct{} // not joinable, and yet they may keep a value
	_       [32]byte              // a cache line each
}

var seed = maphash.MakeSeed()

func (g *Group[V]) shard(key string) *shard[V] {
	return &g.shards[maphash.String(seed, key)%uint64(len(g.shards))]
}

// Way is how a caller came by its result.
type Way uint8

const (
	Led      Way = iota // it led the flight
	Shared              // it joined another's
	FellBack            // it did not wait: Wait.Have, or what the work has offered
)

// Do returns the result of key's flight: it joins the one that is under way or
// leads a new one. The caller waits for no longer than its ctx, whose cause it
// then returns, and as wait says. c is the caller's zero Call, used if it
// leads; it spares an allocation where the caller has one to make anyway.
func (g *Group[V]) Do(ctx context.Context, key string, c *Call[V], w Work[V], wait Wait[V]) (v V, way Way, err error) {
	if within(ctx, g, key) {
		return v, Led, ErrRecursive
	}
	n := g.callers.Add(1)
	defer g.callers.Add(-1)
	if g.Limit > 0 && n > g.Limit {
		return wait.fallBack(ErrCrowded)
	}
	began := time.Duration(0)
	if wait.Soft > 0 || wait.Hard > 0 {
		began = time.Duration(clock.Now())
	}
	other, err := g.open(key, c, wait.Have != nil)
	switch {
	case err != nil:
		return v, Led, err
	case other != nil && wait.Have != nil:
		return *wait.Have, FellBack, nil
	case other != nil:
		return other.follow(ctx, &wait, began)
	}
	if !wait.Apart {
		if v, ok := c.probe(ctx, w); ok {
			c.alone = c.joined == 0 // nobody joins any more
			return v, Led, c.err
		}
	}
	if g.launch(ctx, c, w) {
		return c.await(ctx, &wait, began, true)
	}
	return v, Led, context.Cause(ctx)
}

// open joins the flight of key, or makes c its flight. With peek it does not
// join.
func (g *Group[V]) open(key string, c *Call[V], peek bool) (other *Call[V], err error) {
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.closed.Load() { // under the mutex: Close visits every shard after it set closed
		return nil, ErrClosed
	}
	if other := s.calls[key]; other != nil {
		if !peek {
			other.callers++
			other.joined++
			other.waitable()
		}
		return other, nil
	}
	c.shard, c.key, c.callers = s, key, 1
	if s.calls == nil {
		s.calls = make(map[string]*Call[V])
	}
	s.calls[key] = c
	return nil, nil
}

// Start begins a flight that nobody waits for, unless there is one. It reports
// whether it did. Callers may join it; it goes on when they have left.
func (g *Group[V]) Start(ctx context.Context, key string, c *Call[V], w Work[V]) bool {
	if other, err := g.open(key, c, true); other != nil || err != nil {
		return false
	}
	return g.launch(context.WithoutCancel(ctx), c, w)
}

// waitable makes done. The caller holds the shard's mutex.
func (c *Call[V]) waitable() {
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended {
			close(c.done)
		}
	}
}

// probe runs Probe inline and ends the flight if that was enough, or if Probe
// never returned.
func (c *Call[V]) probe(ctx context.Context, w Work[V]) (v V, ok bool) {
	returned := false
	defer func() {
		if returned {
			return
		}
		err := ErrGoexit
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: debug.Stack()}
		}
		ok = true
		c.finish(v, err)
	}()
	v, ok, err := w.Probe(ctx, c)
	returned = true
	if ok {
		c.finish(v, err)
	}
	return v, ok
}

// launch starts Run, unless the leader has left during the probe and nobody
// else is waiting. It reports whether the leader is to wait.
func (g *Group[V]) launch(ctx context.Context, c *Call[V], w Work[V]) bool {
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	runCtx = enter(runCtx, g, c.key)

	s := c.shard
	s.mu.Lock()
	c.waitable()
	leaderLeft := ctx.Err() != nil
	if leaderLeft {
		c.callers--
	}
	if c.callers == 0 || g.closed.Load() {
		s.remove(c)
		s.mu.Unlock()
		var zero V
		err := context.Cause(ctx)
		if err == nil {
			err = ErrClosed
		}
		cancel(err)
		w.Drop()
		c.finish(zero, err)
		return !leaderLeft
	}
	g.begin(c, cancel)
	s.mu.Unlock()

	go func() { // ends with Run, which Close cancels and waits for
		defer g.wg.Done()
		defer cancel(nil)
		c.run(runCtx, w)
	}()
	return !leaderLeft
}

// begin notes that c's work is about to run on a goroutine, which is to end
// with wg.Done. The caller holds the shard's mutex and has seen the group open.
func (g *Group[V]) begin(c *Call[V], cancel context.CancelCauseFunc) {
	c.cancel = cancel
	if c.shard.running == nil {
		c.shard.running = make(map[*Call[V]]struct{})
	}
	c.shard.running[c] = struct{}{}
	g.wg.Add(1)
}

func (c *Call[V]) run(ctx context.Context, w Work[V]) {
	var v V
	err := ErrGoexit // stands if Run never returns
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: debug.Stack()}
		}
		c.finish(v, err)
	}()
	v, err = w.Run(ctx, c)
}

// finish publishes the result and takes the call out of the map, in one step:
// who misses it there finds the value in L1, where Work has put it.
func (c *Call[V]) finish(v V, err error) {
	s := c.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	c.val, c.err, c.ended = v, err, true
	s.remove(c)
	delete(s.running, c)
	delete(s.parted, c)
	if c.done != nil {
		close(c.done)
	}
}

// remove takes c out of the map, if a newer call has not taken its place.
func (s *shard[V]) remove(c *Call[V]) {
	if !c.gone {
		c.gone = true
		delete(s.calls, c.key)
	}
}

// Close refuses new flights, cancels those under way and waits for their work,
// or for ctx. Their callers get the work's error.
func (g *Group[V]) Close(ctx context.Context) error {
	g.closed.Store(true)
	for i := range g.shards {
		s := &g.shards[i]
		s.mu.Lock()
		for c := range s.running {
			c.cancel(ErrClosed)
		}
		s.mu.Unlock()
	}
	idle := make(chan struct{})
	go func() { // ends with the last flight
		g.wg.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
