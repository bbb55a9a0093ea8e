package tier

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/internal/clock"
)

// call is the context of one call of a store: it ends with the caller's, or
// with the budget. context.WithTimeout would cost more than the rest of a
// remote hit's bookkeeping: a timer, and an entry in the caller's context. Here
// one warden looks at all calls each few milliseconds instead.
type call struct {
	context.Context       // the caller's, for its values
	began, deadline int64 // clock.Now
	direct          bool  // it runs on its caller's goroutine
	slot            int   // of the warden
	done            chan struct{}
	err             atomic.Pointer[error]
}

// Done implements context.Context.
func (c *call) Done() <-chan struct{} { return c.done }

// Err implements context.Context.
func (c *call) Err() error {
	if err := c.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Deadline implements context.Context.
func (c *call) Deadline() (time.Time, bool) {
	own := time.Now().Add(time.Duration(c.deadline - clock.Now()))
	if d, ok := c.Context.Deadline(); ok && d.Before(own) {
		return d, true
	}
	return own, true
}

// abort ends the context.
func (c *call) abort(err error) {
	if c.err.CompareAndSwap(nil, &err) {
		close(c.done)
	}
}

// inspect ends the context if its time is over.
func (c *call) inspect(now int64) {
	switch err := c.Context.Err(); {
	case err != nil:
		c.abort(err)
	case now >= c.deadline:
		c.abort(context.DeadlineExceeded)
	}
}

// warden ends calls whose time is over. It looks as often as patrol while
// calls are under way and sleeps otherwise.
type warden struct {
	slots  []slot // a power of two
	active atomic.Int64
	asleep atomic.Bool
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}
}

// slot is a place for a call. Its done channel is used again, if it was not
// closed, by the slot's next call.
type slot struct {
	call atomic.Pointer[call]
	done chan struct{} // of who owns the slot
}

// patrol is by how much a call may outlive its caller's context or its budget.
const patrol = 5 * time.Millisecond

// newWarden watches at most so many calls at once. It starts a goroutine that
// close ends.
func newWarden(calls int) *warden {
	size := 1
	for size < 2*calls { // half empty, so that a free slot is near
		size *= 2
	}
	w := &warden{
		slots: make([]slot, size),
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	w.asleep.Store(true)
	go w.watch()
	return w
}

// begin watches c until end.
func (w *warden) begin(c *call) {
	mask := len(w.slots) - 1
	c.slot = int(rand.Uint32()) & mask
	for !w.slots[c.slot].call.CompareAndSwap(nil, &taken) {
		c.slot = (c.slot + 1) & mask
	}
	s := &w.slots[c.slot]
	if c.done = s.done; c.done == nil {
		c.done = make(chan struct{})
	}
	s.call.Store(c)
	w.active.Add(1)
	// After the Add: either the warden sees us before it falls asleep, or we
	// see it asleep.
	if w.asleep.Load() && w.asleep.CompareAndSwap(true, false) {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

var (
	taken    call // holds a slot until its call is complete
	errEnded = errors.New("tier: the call is over")
)

// end frees c's slot. Its channel is kept unless the warden has closed it, or
// is about to: whoever sets err first decides.
func (w *warden) end(c *call) {
	s := &w.slots[c.slot]
	s.done = nil
	if c.err.CompareAndSwap(nil, &errEnded) {
		s.done = c.done
	}
	s.call.Store(nil)
	w.active.Add(-1)
}

func (w *warden) watch() {
	defer close(w.done)
	tick := time.NewTicker(patrol)
	defer tick.Stop()
	for {
		if w.active.Load() == 0 && w.nap(tick) {
			return
		}
		select {
		case <-tick.C:
			w.inspect(clock.Now())
		case <-w.stop:
			w.inspect(1<<63 - 1)
			return
		}
	}
}

// nap sleeps until a call begins. It reports whether the warden is to stop.
func (w *warden) nap(tick *time.Ticker) (stop bool) {
	w.asleep.Store(true)
	if w.active.Load() != 0 { // begun since we looked
		w.asleep.Store(false)
		return false
	}
	tick.Stop()
	defer tick.Reset(patrol)
	select {
	case <-w.wake:
		return false
	case <-w.stop:
		return true
	}
}

func (w *warden) inspect(now int64) {
	for i := range w.slots {
		if c := w.slots[i].call.Load(); c != nil && c != &taken {
			c.inspect(now)
		}
	}
}

func (w *warden) close() {
	close(w.stop)
	<-w.done
}
