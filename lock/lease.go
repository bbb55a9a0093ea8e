package lock

import (
	"context"
	"sync"
	"time"
)

// Lease is a won acquisition. It renews itself until it is released or lost.
// All methods may be called concurrently.
type Lease struct {
	locker *Locker
	key    string
	token  string
	fence  uint64
	since  time.Time

	ctx    context.Context // ends when the lease does; see Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	until time.Time   // local estimate of the lease's end, never late
	timer *time.Timer // next renewal or the local end
	ended bool        // the context has ended, nothing is scheduled
	asked bool        // Settle or Release has gone to the server
	late  bool        // it was warned of a renewal that did not succeed in time
}

// hold starts a lease that was asked for at asked: the server's TTL began
// later, so counting from asked errs on the safe side.
func (l *Locker) hold(ctx context.Context, key, token string, fence uint64, asked time.Time) (*Lease, error) {
	le := &Lease{locker: l, key: key, token: token, fence: fence, since: time.Now(), until: asked.Add(l.opts.TTL)}
	le.ctx, le.cancel = context.WithCancelCause(ctx)

	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		le.cancel(ErrClosed)
		return nil, ErrClosed
	}
	l.leases[le] = struct{}{}
	l.mu.Unlock()

	le.mu.Lock()
	defer le.mu.Unlock()
	le.schedule(l.opts.RenewEvery)
	return le, nil
}

// Context is derived from the acquisition's and ends, with cause [ErrLost],
// when ownership can no longer be promised; with cause [ErrReleased] after
// Release.
func (le *Lease) Context() context.Context { return le.ctx }

// Fence is a number that only rises for one key, through holders, restarts and
// failovers. A place that is written under the lease should refuse a lower one
// than it has seen.
func (le *Lease) Fence() uint64 { return le.fence }

// Token identifies the acquisition at the server. It is a capability: who
// knows it can release the lease. Do not log it.
func (le *Lease) Token() string { return le.token }

// Held is how long the lease has been held.
func (le *Lease) Held() time.Duration { return time.Since(le.since) }

// Renew extends the lease by a whole TTL now. It returns [ErrLost] when the
// lease is not ours any more; another error leaves the lease as it was.
func (le *Lease) Renew(ctx context.Context) error {
	asked := time.Now()
	ok, err := le.locker.driver.Renew(ctx, le.key, le.token, le.locker.opts.TTL)
	switch {
	case err != nil:
		return err
	case !ok:
		le.end(ctx, ErrLost)
		return ErrLost
	}
	le.mu.Lock()
	defer le.mu.Unlock()
	if until := asked.Add(le.locker.opts.TTL); until.After(le.until) {
		le.until = until
	}
	return nil
}

// Release gives the lease back. It returns [ErrLost] when it was no longer
// ours, and nil on every later call. A ctx that has ended already does not keep
// it from that, so that it can be deferred: it then takes a second at most.
func (le *Lease) Release(ctx context.Context) error {
	if ctx == nil {
		return ErrNilContext
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
	}
	return le.Settle(ctx, func(ctx context.Context) (bool, error) {
		return le.locker.driver.Release(ctx, le.key, le.token)
	})
}

// Settle ends the lease by a step of the caller's own that releases it at the
// server together with something else, such as writing the result. commit
// reports false when the lease was lost; Settle then returns [ErrLost].
// After the first Settle or Release it does nothing and returns nil.
func (le *Lease) Settle(ctx context.Context, commit func(ctx context.Context) (bool, error)) error {
	le.end(ctx, ErrReleased)
	le.mu.Lock()
	again := le.asked
	le.asked = true
	le.mu.Unlock()
	if again {
		return nil
	}
	ok, err := commit(ctx) // also when we believe it lost: the server decides
	if h := le.locker.opts.Hooks.Released; h != nil {
		h(ctx, Released{Held: le.Held(), Lost: err == nil && !ok, Err: err})
	}
	if err == nil && !ok {
		return ErrLost
	}
	return err
}

// end stops the renewal and ends the context. Only the first call does.
func (le *Lease) end(ctx context.Context, cause error) {
	le.mu.Lock()
	first := !le.ended
	le.ended = true
	if first && le.timer != nil && le.timer.Stop() {
		le.locker.wg.Done() // a stopped timer never calls tick
	}
	le.mu.Unlock()
	if !first {
		return
	}
	le.cancel(cause)

	o := &le.locker.opts
	if held := le.Held(); o.RenewEvery < 0 && held > o.TTL/2 {
		le.warn(ctx, WarnWorkTooLong, "the work took "+held.Round(time.Millisecond).String()+
			", more than half of Options.TTL ("+o.TTL.String()+"): set TTL to about 5 times the work, or turn renewal on")
	}
	le.locker.mu.Lock()
	delete(le.locker.leases, le)
	le.locker.mu.Unlock()
}

// schedule sets the timer for the next renewal, after at most so long, or for
// the local end of a lease that is not renewed. The caller holds le.mu.
func (le *Lease) schedule(after time.Duration) {
	if le.ended {
		return
	}
	d := time.Until(le.until)
	if after > 0 {
		d = min(d, after)
	}
	le.locker.wg.Add(1)
	le.timer = time.AfterFunc(max(d, 0), le.tick)
}

// tick renews, or ends a lease whose time is over. A timer, not a goroutine
// that sleeps: most leases are released before their first renewal.
func (le *Lease) tick() {
	defer le.locker.wg.Done()
	o := &le.locker.opts

	le.mu.Lock()
	left := time.Until(le.until)
	le.mu.Unlock()
	if left <= 0 {
		if o.RenewEvery > 0 {
			le.warn(le.ctx, WarnRenewLate, "the lease was not renewed in time and is given up: the lock server was away, "+
				"or this process was paused; if that is usual, raise Options.TTL (now "+o.TTL.String()+")")
		}
		le.end(le.ctx, ErrLost)
		return
	}
	next := o.RenewEvery
	if o.RenewEvery > 0 {
		ctx, cancel := context.WithTimeout(le.ctx, min(left, max(o.TTL/3, time.Millisecond)))
		err := le.Renew(ctx)
		cancel()
		if le.ctx.Err() != nil { // lost, released, closed, or the caller is gone
			return
		}
		le.late = le.late && err != nil
		if err != nil { // the less time is left, the sooner again
			next = min(next, max(left/2, o.TTL/50))
		}
		if err != nil && left < 2*o.TTL/3 && !le.late {
			le.late = true // once a lease; only tick writes it
			le.warn(le.ctx, WarnRenewLate, "the lease could not be renewed in time and may be lost: "+
				"check the lock server, or raise Options.TTL (now "+o.TTL.String()+")")
		}
	}
	le.mu.Lock()
	defer le.mu.Unlock()
	le.schedule(next)
}

func (le *Lease) warn(ctx context.Context, code WarningCode, msg string) {
	if h := le.locker.opts.Hooks.Warn; h != nil {
		h(ctx, Warning{Code: code, Message: "lock: " + msg})
	}
}
