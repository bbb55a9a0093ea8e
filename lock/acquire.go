package lock

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// TryFunc makes one attempt for a lease. It may answer Filled or Failed.
type TryFunc func(ctx context.Context, req Request) (Grant, error)

// Acquisition is what [Locker.AcquireWith] does differently from Acquire.
type Acquisition struct {
	// Try makes an attempt. Defaults to the driver's Acquire. A lease that it
	// won is renewed and released through the Locker's driver.
	Try TryFunc

	// First is an attempt that the caller has made already, with a request of
	// NewRequest. Defaults to none.
	First *Attempt

	// Wake ends a sleep: it is time to look again. Defaults to the driver's
	// word, if it is a Notifier.
	Wake <-chan struct{}

	// Held, if not nil, is called with the holder after each attempt that
	// found one.
	Held func(Holder)

	// NoWait returns ErrHeld at once.
	NoWait bool
}

// Attempt is an attempt that was made outside of the Locker.
type Attempt struct {
	Request Request
	Asked   time.Time // before it was made
	Grant   Grant
}

// NewRequest returns a request for an attempt of the caller's own: see
// [Acquisition].First. An attempt that was not handed to AcquireWith, and may
// have won, must be given to Abandon.
func (l *Locker) NewRequest() Request {
	return Request{Token: newToken(), Owner: l.opts.Owner, TTL: l.opts.TTL, Usual: l.opts.Usual}
}

// Abandon gives back, in the background, what an attempt may have won.
func (l *Locker) Abandon(ctx context.Context, key string, req Request) {
	l.release(ctx, key, req.Token)
}

// AcquireWith is Acquire for work that may turn out to be done: when an attempt
// answers [Filled] or [Failed] it returns [ErrFilled] or [ErrFailed].
//
// An attempt that fails is not repeated here: whether an outage is worth
// waiting for is the caller's decision.
func (l *Locker) AcquireWith(ctx context.Context, key string, a Acquisition) (*Lease, error) {
	if ctx == nil {
		return nil, ErrNilContext
	}
	w := wait{locker: l, key: key, acq: a, asked: time.Now(), work: ctx}
	var grant Grant
	info := AcquireStart{Key: key, TTL: l.opts.TTL}
	if a.First != nil {
		w.req, w.asked, grant = a.First.Request, a.First.Asked, a.First.Grant
		info.Began, info.Held = w.asked, grant.Status == Held
	} else {
		w.req = l.NewRequest()
	}
	if start := l.opts.Hooks.AcquireStart; start != nil {
		var tag string
		if ctx, tag = start(ctx, info); a.First == nil {
			w.req.Tag = tag
		}
	}
	stop := w.listen()
	defer stop()
	if a.First != nil {
		w.attempts = 1
		if w.settle(ctx, grant) {
			return w.lease, w.err
		}
	}
	return w.run(ctx)
}

// wait is the state of one acquisition: the whole waiting policy.
type wait struct {
	locker   *Locker
	key      string
	acq      Acquisition
	work     context.Context // what the lease's is derived from: the caller's, not the hooks'
	req      Request
	asked    time.Time // before the last attempt
	attempts int
	retries  int
	began    time.Time     // zero until the first attempt lost
	since    time.Duration // for how long the last holder seen had held
	won      Grant

	lease *Lease // what came of it
	err   error
}

// listen has the driver wake us, unless the caller sees to that. It begins
// before the first attempt: a lease that ends between an attempt and the
// listening would be slept through.
func (w *wait) listen() (stop func()) {
	n := w.locker.notify
	if w.acq.Try == nil {
		w.acq.Try = func(ctx context.Context, req Request) (Grant, error) {
			return w.locker.driver.Acquire(ctx, w.key, req)
		}
	}
	if n == nil || w.acq.NoWait || w.acq.Wake != nil {
		return func() {}
	}
	wake := make(chan struct{}, 1)
	w.acq.Wake, w.req.Watch = wake, true
	return n.Watch(w.key, func() {
		select {
		case wake <- struct{}{}:
		default: // it is going to look anyway
		}
	})
}

func (w *wait) run(ctx context.Context) (*Lease, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, w.done(ctx, OutcomeCanceled, err)
		}
		w.asked = time.Now()
		grant, err := w.acq.Try(ctx, w.req)
		w.attempts++
		switch {
		case err != nil && ctx.Err() != nil:
			w.locker.release(ctx, w.key, w.req.Token)
			return nil, w.done(ctx, OutcomeCanceled, context.Cause(ctx))
		case err != nil:
			w.locker.release(ctx, w.key, w.req.Token)
			return nil, w.done(ctx, OutcomeError, err)
		}
		if w.settle(ctx, grant) {
			return w.lease, w.err
		}
	}
}

// settle deals with an answer. It reports false when it is time for the next
// attempt, else what came of it is in w.
func (w *wait) settle(ctx context.Context, grant Grant) (over bool) {
	switch grant.Status {
	case Filled:
		_ = w.done(ctx, OutcomeFilled, nil)
		w.err = ErrFilled
		return true
	case Failed:
		_ = w.done(ctx, OutcomeFailed, nil)
		w.err = ErrFailed
		return true
	case Won:
		w.won = grant
		_ = w.done(ctx, OutcomeAcquired, nil)
		w.lease, w.err = w.locker.hold(w.work, w.key, cmp.Or(grant.Token, w.req.Token), grant.Fence, w.asked)
		return true
	}
	if w.acq.Held != nil {
		w.acq.Held(grant.Holder)
	}
	if err := w.sleep(ctx, grant); err != nil {
		w.err = w.lost(ctx, err)
		return true
	}
	return false
}

// lost ends an acquisition that sleep has given up.
func (w *wait) lost(ctx context.Context, err error) error {
	switch {
	case !errors.Is(err, ErrHeld):
		return w.done(ctx, OutcomeCanceled, err)
	case w.acq.NoWait: // contention is no failure to who does not wait
		_ = w.done(ctx, OutcomeHeld, nil)
		return err
	}
	return w.done(ctx, OutcomeTimeout, err)
}

// sleep waits for the next attempt. It returns a *HeldError when there is none
// left, or the cause of ctx.
func (w *wait) sleep(ctx context.Context, grant Grant) error {
	o := &w.locker.opts
	h := grant.Holder
	if w.began.IsZero() {
		w.began = time.Now()
		if o.Hooks.Contended != nil {
			o.Hooks.Contended(ctx, Contended{Holder: h})
		}
	}
	if h.Since < w.since && o.Retries == 0 {
		w.retries = 0 // another holder: its work has just begun
	}
	w.since = h.Since
	waited := time.Since(w.began)
	left := o.MaxWait - waited
	hopeless := hopeless(ctx, h)
	if w.acq.NoWait {
		return &HeldError{Attempts: w.attempts, Holder: h}
	}
	if hopeless || left <= 0 || o.Retries > 0 && w.retries >= o.Retries {
		return &HeldError{Waited: waited, Attempts: w.attempts, Holder: h, Hopeless: hopeless}
	}
	delay := min(w.delay(grant), left)
	w.retries++
	if o.Hooks.Retry != nil {
		o.Hooks.Retry(ctx, Retry{Attempt: w.attempts, Delay: delay, Pushed: grant.Pushed, Holder: h})
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-w.acq.Wake:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pushNet is when a waiter that will be woken looks by itself for the first
// time; then after twice as long, and so on, so that the number of its looks
// hardly grows with the length of the work. They are for what nobody tells: a
// server that was emptied, a lease that was evicted.
const pushNet = 1600 * time.Millisecond

func (w *wait) delay(grant Grant) time.Duration {
	o := &w.locker.opts
	var delay time.Duration
	if grant.Pushed && o.Retries == 0 {
		delay = pushNet << min(w.retries, 10)
	} else {
		delay = o.Backoff(w.retries)
	}
	if r := grant.Holder.Remaining; o.Retries == 0 && r >= 0 && r < delay {
		// A holder that is dead is gone by then; one that lives has renewed.
		delay = r + time.Millisecond
	}
	return delay
}

// hopeless reports whether ctx is bound to end before the holder is done, going
// by what such work usually takes. Of work that takes longer than usual already
// nothing can be said.
func hopeless(ctx context.Context, h Holder) bool {
	deadline, ok := ctx.Deadline()
	return ok && h.Usual > h.Since && time.Until(deadline) < h.Usual-h.Since
}

func (w *wait) done(ctx context.Context, outcome Outcome, err error) error {
	if h := w.locker.opts.Hooks.AcquireDone; h != nil {
		info := AcquireDone{Outcome: outcome, Attempts: w.attempts, Fence: w.won.Fence, TookOver: w.won.TookOver, Err: err}
		if !w.began.IsZero() && outcome != OutcomeHeld {
			info.Waited = time.Since(w.began)
		}
		h(ctx, info)
	}
	return err
}
