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
	notify Notifier // nil: the driver cannot
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
	l := &Locker{driver: d, opts: o, leases: make(map[*Lease]struct{})}
	l.notify, _ = d.(Notifier)
	return l, nil
}

// TTL returns the TTL of the leases, defaults applied.
func (l *Locker) TTL() time.Duration { return l.opts.TTL }

// TryAcquire takes the lease of key or returns [ErrHeld] at once.
func (l *Locker) TryAcquire(ctx context.Context, key string) (*Lease, error) {
	return l.AcquireWith(ctx, key, Acquisition{NoWait: true})
}

// Acquire takes the lease of key, waiting for its holder for at most MaxWait
// (or Retries); then it returns a [*HeldError]. Where the driver can tell that
// the lease has ended (Notifier) it is woken, and looks again by itself only
// now and then; elsewhere it looks again with backoff. When ctx ends first it
// returns the cause of that; when ctx is bound to end before the holder usually
// is done, it returns a [*HeldError] at once. Waiters are not served in order.
func (l *Locker) Acquire(ctx context.Context, key string) (*Lease, error) {
	return l.AcquireWith(ctx, key, Acquisition{})
}

// Do runs fn while it holds the lease of key. The context that fn gets ends
// when the lease is lost. An error of fn comes back as it is; if the lease was
// lost on the way, it is joined with [ErrLost].
func (l *Locker) Do(ctx context.Context, key string, fn func(ctx context.Context) error) error {
	if fn == nil {
		return errors.New("lock: Do: fn: must not be nil")
	}
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

// release gives back a lease that a failed attempt may have taken without our
// hearing of it: the reply was lost, or the caller left before it came. It is
// best effort, and the TTL frees the lease too.
func (l *Locker) release(ctx context.Context, key, token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = l.driver.Release(ctx, key, token)
	})
}

func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return hex.EncodeToString(b[:])
}
