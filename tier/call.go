package tier

import (
	"context"
	"errors"
	"math"
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

// aborted reports whether the context has ended by abort. A call that runs apart
// may be over by the time its caller looks.
func (c *call) aborted() bool { err := c.Err(); return err != nil && err != errEnded } //nolint:errorlint // ours, bare

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

// warden admits calls, up to a number, and ends those whose time is over. It
// looks as often as patrol while calls are under way and sleeps otherwise.
//
// A call's only cost is its slot: a count of calls, or a semaphore, would be a
// line of memory that all cores write to.
type warden struct {
	slots   []slot
	waiting atomic.Int64  // callers who found no slot
	freed   chan struct{} // of 1: a hint to them
	asleep  atomic.Bool
	wake    chan struct{}
	stop    chan struct{}
	done    chan struct{}
}

// slot is a place for a call. Its done channel is used again, if it was not
// closed, by the slot's next call.
type slot struct {
	call atomic.Pointer[call]
	done chan struct{} // of who owns the slot
	_    [48]byte      // a cache line each
}

// patrol is by how much a call may outlive its caller's context or its budget.
const patrol = 5 * time.Millisecond

// newWarden admits so many calls at once. It starts a goroutine that close
// ends.
func newWarden(calls int) *warden {
	w := &warden{
		slots: make([]slot, calls),
		freed: make(chan struct{}, 1),
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	w.asleep.Store(true)
	go w.watch()
	return w
}

var (
	taken    call // holds a slot until its call is complete
	errEnded = errors.New("tier: the call is over")
)

// begin admits c and watches it until end. It reports false if every slot is
// taken.
func (w *warden) begin(c *call) bool {
	at := int(rand.Uint32()) % len(w.slots)
	for tries := 0; !w.slots[at].call.CompareAndSwap(nil, &taken); tries++ {
		if tries == len(w.slots) {
			return false
		}
		if at++; at == len(w.slots) {
			at = 0
		}
	}
	s := &w.slots[at]
	c.slot = at
	if c.done = s.done; c.done == nil {
		c.done = make(chan struct{})
	}
	s.call.Store(c)
	// After the Store: either the warden sees the call before it falls asleep,
	// or we see it asleep.
	if w.asleep.Load() && w.asleep.CompareAndSwap(true, false) {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// await is begin that waits for a slot until its call's time is over.
func (w *warden) await(ctx context.Context, c *call) error {
	w.waiting.Add(1)
	defer w.waiting.Add(-1)
	tick := time.NewTicker(patrol) // a hint may be another's
	defer tick.Stop()
	for {
		if w.begin(c) {
			return nil
		}
		select {
		case <-w.freed:
		case <-tick.C:
			if clock.Now() >= c.deadline {
				return unavailable(ErrBusy)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// end frees c's slot. Its channel is kept unless the warden has closed it, or
// is about to: whoever sets err first decides.
func (w *warden) end(c *call) {
	s := &w.slots[c.slot]
	s.done = nil
	if c.err.CompareAndSwap(nil, &errEnded) {
		s.done = c.done
	}
	s.call.Store(nil)
	if w.waiting.Load() > 0 {
		select {
		case w.freed <- struct{}{}:
		default:
		}
	}
}

func (w *warden) watch() {
	defer close(w.done)
	tick := time.NewTicker(patrol)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if w.inspect(clock.Now()) == 0 && w.nap(tick) {
				return
			}
		case <-w.stop:
			w.inspect(math.MaxInt64)
			return
		}
	}
}

// nap sleeps until a call begins. It reports whether the warden is to stop.
func (w *warden) nap(tick *time.Ticker) (stop bool) {
	w.asleep.Store(true)
	if w.inspect(clock.Now()) != 0 && w.asleep.CompareAndSwap(true, false) {
		return false // begun since we looked
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

// inspect looks at all calls and returns how many there are.
func (w *warden) inspect(now int64) (calls int) {
	for i := range w.slots {
		if c := w.slots[i].call.Load(); c != nil {
			calls++
			if c != &taken {
				c.inspect(now)
			}
		}
	}
	return calls
}

func (w *warden) close() {
	close(w.stop)
	<-w.done
}
