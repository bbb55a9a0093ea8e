package lock

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"time"
)

// Locker hands out leases of one [Driver] under one policy. It is safe for
// concurrent use.
type Locker struct {
	driver Driver
	opts   Options

	mu     sync.Mutex
	closed bool
	leases map[*Lease]struct{} // to end them in Close
	wg     sync.WaitGroup      // renewals
}

// New returns a Locker. It does no I/O. The driver stays the caller's.
func New(d Driver, opts *Options) (*Locker, error) {
	if d == nil {
		return nil, errors.New("lock: driver: must not be nil")
	}
	o := opts.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Locker{driver: d, opts: o, leases: make(map[*Lease]struct{})}, nil
}

// TTL returns the TTL of the leases, defaults applied.
func (l *Locker) TTL() time.Duration { return l.opts.TTL }

// TryAcquire takes the lease of key or returns [ErrHeld] at once.
func (l *Locker) TryAcquire(ctx context.Context, key string) (*Lease, error) {
	return l.acquire(ctx, key, l.tryDriver(key), true)
}

// Acquire takes the lease of key, waiting for its holder with backoff for at
// most MaxWait (or Retries); then it returns a [*HeldError]. When ctx ends
// first it returns the cause of that. Waiters are not served in order.
func (l *Locker) Acquire(ctx context.Context, key string) (*Lease, error) {
	return l.acquire(ctx, key, l.tryDriver(key), false)
}

// TryFunc makes one attempt for a lease. It may answer Filled.
type TryFunc func(ctx context.Context, req Request) (Grant, error)

// AcquireFunc is Acquire with an attempt of the caller's own, for work that may
// turn out to be done: when try answers [Filled], it returns [ErrFilled]. A
// won lease is renewed and released through the Locker's driver.
func (l *Locker) AcquireFunc(ctx context.Context, key string, try TryFunc) (*Lease, error) {
	return l.acquire(ctx, key, try, false)
}

// TryAcquireFunc is AcquireFunc that returns [ErrHeld] at once.
func (l *Locker) TryAcquireFunc(ctx context.Context, key string, try TryFunc) (*Lease, error) {
	return l.acquire(ctx, key, try, true)
}

// Do runs fn while it holds the lease of key. The context that fn gets ends
// when the lease is lost. An error of fn comes back as it is; if the lease was
// lost on the way, it is joined with [ErrLost].
func (l *Locker) Do(ctx context.Context, key string, fn func(ctx context.Context) error) error {
	lease, err := l.Acquire(ctx, key)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	defer func() { _ = lease.Release(ctx) }() // at once, also when fn panics or exits
	err = fn(lease.Context())
	return errors.Join(err, lease.Release(ctx))
}

// Close ends the contexts of all leases with [ErrClosed], stops their renewal
// and waits for it. It releases nothing at the server: what still runs keeps
// its lease until the TTL is over. It is idempotent.
func (l *Locker) Close() error {
	l.mu.Lock()
	l.closed = true
	leases := make([]*Lease, 0, len(l.leases))
	for le := range l.leases {
		leases = append(leases, le)
	}
	l.mu.Unlock()
	for _, le := range leases {
		le.end(context.Background(), ErrClosed)
	}
	l.wg.Wait()
	return nil
}

func (l *Locker) tryDriver(key string) TryFunc {
	return func(ctx context.Context, req Request) (Grant, error) {
		return l.driver.Acquire(ctx, key, req)
	}
}

// acquire is the whole waiting policy. An attempt that fails is not repeated
// here: whether an outage is worth waiting for is the caller's decision.
func (l *Locker) acquire(ctx context.Context, key string, try TryFunc, once bool) (*Lease, error) {
	w := wait{locker: l, once: once}
	req := Request{Token: newToken(), Owner: l.opts.Owner, TTL: l.opts.TTL}
	if start := l.opts.Hooks.AcquireStart; start != nil {
		ctx, req.Tag = start(ctx, AcquireStart{Key: key, TTL: req.TTL})
	}
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, w.done(ctx, OutcomeCanceled, err)
		}
		asked := time.Now()
		grant, err := try(ctx, req)
		w.attempts++
		switch {
		case err != nil && ctx.Err() != nil:
			l.abandon(ctx, key, req.Token)
			return nil, w.done(ctx, OutcomeCanceled, context.Cause(ctx))
		case err != nil:
			l.abandon(ctx, key, req.Token)
			return nil, w.done(ctx, OutcomeError, err)
		case grant.Status == Filled:
			_ = w.done(ctx, OutcomeFilled, nil)
			return nil, ErrFilled
		case grant.Status == Won:
			w.fence = grant.Fence
			_ = w.done(ctx, OutcomeAcquired, nil)
			return l.hold(ctx, key, req.Token, grant.Fence, asked)
		}
		if err := w.sleep(ctx, grant.Holder); err != nil {
			outcome := OutcomeCanceled
			if errors.Is(err, ErrHeld) {
				outcome = OutcomeTimeout
			}
			return nil, w.done(ctx, outcome, err)
		}
	}
}

// abandon frees a lease that a failed attempt may have taken without our
// hearing of it: the reply was lost, or the caller left before it came.
func (l *Locker) abandon(ctx context.Context, key, token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = l.driver.Release(ctx, key, token) // best effort: the TTL frees it too
	})
}

// wait is the state of one acquisition.
type wait struct {
	locker   *Locker
	once     bool
	attempts int
	retries  int
	began    time.Time // zero until the first attempt lost
	fence    uint64
}

// sleep waits for the next attempt. It returns a *HeldError when there is none
// left, or the cause of ctx.
func (w *wait) sleep(ctx context.Context, h Holder) error {
	o := &w.locker.opts
	if w.began.IsZero() {
		w.began = time.Now()
		if o.Hooks.Contended != nil {
			o.Hooks.Contended(ctx, Contended{Holder: h})
		}
	}
	waited := time.Since(w.began)
	left := o.MaxWait - waited
	if w.once || left <= 0 || o.Retries > 0 && w.retries >= o.Retries {
		return &HeldError{Waited: waited, Attempts: w.attempts, Holder: h}
	}
	delay := min(o.Backoff(w.retries), left)
	if o.Retries == 0 && h.Remaining >= 0 && h.Remaining < delay {
		// A holder that is dead is gone by then; one that lives has renewed.
		delay = h.Remaining + time.Millisecond
	}
	w.retries++
	if o.Hooks.Retry != nil {
		o.Hooks.Retry(ctx, Retry{Attempt: w.attempts, Delay: delay})
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *wait) done(ctx context.Context, outcome Outcome, err error) error {
	if h := w.locker.opts.Hooks.AcquireDone; h != nil {
		info := AcquireDone{Outcome: outcome, Attempts: w.attempts, Fence: w.fence, Err: err}
		if !w.began.IsZero() {
			info.Waited = time.Since(w.began)
		}
		h(ctx, info)
	}
	return err
}

func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return hex.EncodeToString(b[:])
}
