package lock

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrHeld says that another holder has the lease. TryAcquire returns it at
	// once; Acquire returns it, as a [*HeldError], when it has waited for as
	// long as the options allow.
	ErrHeld = errors.New("lock: lease is held by another")

	// ErrLost says that this lease is no longer ours: it expired, was taken
	// over or was deleted. It is the cause of the lease context's end.
	ErrLost = errors.New("lock: lease was lost")

	// ErrReleased is the cause of the lease context's end after Release.
	ErrReleased = errors.New("lock: lease was released")

	// ErrFilled says that what the lease guards is already there. Only
	// AcquireWith returns it.
	ErrFilled = errors.New("lock: nothing to acquire, the work is done")

	// ErrFailed says that the work has failed elsewhere and is not to be tried
	// again yet. Only AcquireWith returns it.
	ErrFailed = errors.New("lock: nothing to acquire, the work has just failed")

	// ErrNilContext refuses a nil context.
	ErrNilContext = errors.New("lock: context is nil")

	// ErrClosed says that the Locker was used after Close.
	ErrClosed = errors.New("lock: locker is closed")
)

// HeldError is the [ErrHeld] of a wait that gave up, or was not begun.
type HeldError struct {
	Waited   time.Duration
	Attempts int
	Holder   Holder
	Hopeless bool // the caller's deadline comes before the holder's usual end
}

// Error says how long was waited. It names neither key nor token.
func (e *HeldError) Error() string {
	if e.Hopeless {
		return fmt.Sprintf("%v: such work usually takes %v, which the caller's deadline does not allow",
			ErrHeld, e.Holder.Usual.Round(time.Millisecond))
	}
	if e.Waited == 0 {
		return ErrHeld.Error()
	}
	return fmt.Sprintf("%v: gave up after %d attempts in %v; raise MaxWait or Retries to wait longer",
		ErrHeld, e.Attempts, e.Waited.Round(time.Millisecond))
}

// Unwrap makes errors.Is(err, ErrHeld) true.
func (e *HeldError) Unwrap() error { return ErrHeld }
