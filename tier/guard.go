package tier

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
)

var (
	// ErrBreakerOpen says that a store was not asked because it has failed
	// several times in a row. It is joined with backend.ErrUnavailable.
	ErrBreakerOpen = errors.New("tier: breaker is open")

	// ErrBusy says that a store was not asked because too many calls of it
	// are under way. It is joined with backend.ErrUnavailable.
	ErrBusy = errors.New("tier: too many calls in flight")

	// ErrBudget says that a store did not answer within RemoteOptions.Budget.
	// It is joined with backend.ErrUnavailable.
	ErrBudget = errors.New("tier: store exceeded its budget")
)

// guard bounds what a store can do to a caller.
type guard struct {
	budget int64
	warden *warden
	brk    breaker

	lastOK atomic.Int64 // when the last call that came back well began, to a millisecond
}

// trust is for how long after an answer the store is called on the caller's
// own goroutine. A client honours contexts while its connection stands, but
// not while it dials; one that has just answered is not going to dial before
// it has noticed a failure, which takes its keep-alive (500 ms) at least.
const trust = int64(250 * time.Millisecond)

func newGuard(o RemoteOptions) *guard {
	return &guard{
		budget: int64(o.Budget),
		warden: newWarden(o.InFlight),
		brk:    breaker{limit: int32(o.BreakerFailures), open: o.BreakerOpen},
	}
}

type result[T any] struct {
	val T
	err error
}

// guarded runs fn within the guard's budget. fn may go on running after
// guarded has returned; it keeps its slot until it ends.
func guarded[T any](ctx context.Context, g *guard, fn func(ctx context.Context) (T, error)) (val T, err error) {
	c, err := g.begin(ctx)
	if err != nil {
		return val, err
	}
	if !c.direct {
		return apart(ctx, g, c, fn)
	}
	val, err = fn(c)
	return val, g.end(ctx, c, err)
}

// apart runs fn on a goroutine that the caller can leave behind.
func apart[T any](ctx context.Context, g *guard, c *call, fn func(ctx context.Context) (T, error)) (val T, err error) {
	done := make(chan result[T], 1)
	go func() { // ends with fn; a store that ignores ctx costs a slot, not a caller
		defer g.leave(c)
		val, err := fn(c)
		done <- result[T]{val, err}
	}()
	select {
	case r := <-done:
		return r.val, g.verdict(ctx, c, r.err)
	case <-ctx.Done():
		return val, g.verdict(ctx, c, ctx.Err())
	case <-c.done:
		return val, g.verdict(ctx, c, c.Err())
	}
}

// begin admits a call, which end or leave takes back.
func (g *guard) begin(ctx context.Context) (*call, error) {
	began := clock.Now()
	if !g.brk.allow(began) {
		return nil, unavailable(ErrBreakerOpen)
	}
	c := &call{Context: ctx, began: began, deadline: began + g.budget, direct: began-g.lastOK.Load() < trust}
	if !g.warden.begin(c) {
		if err := g.warden.await(ctx, c); err != nil {
			g.brk.forgo()
			return nil, err
		}
	}
	return c, nil
}

// end ends a direct call.
func (g *guard) end(ctx context.Context, c *call, err error) error {
	err = g.verdict(ctx, c, err)
	g.leave(c)
	return err
}

func (g *guard) leave(c *call) {
	g.warden.end(c)
}

// verdict tells the breaker how a call went and gives the error its meaning:
// the caller's own end, the end of the budget, or the store's word.
func (g *guard) verdict(ctx context.Context, c *call, err error) error {
	switch {
	case err == nil, errors.Is(err, backend.ErrMiss):
		g.answered(c)
		return err
	case ctx.Err() != nil:
		g.brk.forgo()
		return context.Cause(ctx)
	case c.aborted():
		g.brk.failure(clock.Now())
		return unavailable(ErrBudget)
	case errors.Is(err, backend.ErrUnavailable):
		g.brk.failure(clock.Now())
		return err
	default: // the store has answered, if only to refuse
		g.answered(c)
		return err
	}
}

func (g *guard) answered(c *call) {
	if c.began-g.lastOK.Load() > int64(time.Millisecond) { // not at each: the line is shared
		g.lastOK.Store(c.began)
	}
	g.brk.success()
}

func (g *guard) close() { g.warden.close() }

func unavailable(err error) error { return fmt.Errorf("%w: %w", backend.ErrUnavailable, err) }

// breaker opens after limit failures in a row. While open it lets one call
// through each time its period is over; a success closes it.
type breaker struct {
	limit    int32 // negative: never opens
	open     time.Duration
	failures atomic.Int32
	until    atomic.Int64 // clock.Now until which nothing is let through; 0: closed
	changed  func(open bool)
}

func (b *breaker) allow(now int64) bool {
	until := b.until.Load()
	if until == 0 {
		return true
	}
	return now >= until && b.until.CompareAndSwap(until, now+int64(b.open))
}

func (b *breaker) failure(now int64) {
	if b.limit < 0 || b.failures.Add(1) < b.limit {
		return
	}
	if b.until.Swap(now+int64(b.open)) == 0 && b.changed != nil {
		b.changed(true)
	}
}

func (b *breaker) success() {
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
	if b.until.Load() != 0 && b.until.Swap(0) != 0 && b.changed != nil {
		b.changed(false)
	}
}

// forgo takes back an allow whose call said nothing about the store: the next
// caller may try at once.
func (b *breaker) forgo() {
	if until := b.until.Load(); until != 0 {
		b.until.CompareAndSwap(until, 1)
	}
}
