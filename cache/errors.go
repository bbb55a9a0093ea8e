package cache

import (
	"errors"
	"fmt"
	"time"

	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
)

var (
	// ErrNotFound is what a loader returns (or wraps) to say that the source
	// has no such key. Get passes it on.
	ErrNotFound = errors.New("cache: not found")

	// ErrMiss is Peek's word for a key that no tier holds. It is not a store's
	// word to its tier, backend.ErrMiss.
	ErrMiss = errors.New("cache: no tier holds the key")

	// ErrClosed says that the cache was used after Close, or closed meanwhile.
	ErrClosed = errors.New("cache: cache is closed")

	// ErrInProgress says that another process is loading the key and did not
	// finish in time (under FailFast, with a [*lock.HeldError]), or that a load
	// is under way that usually takes longer than the caller's deadline allows.
	ErrInProgress = errors.New("cache: the key is being loaded")

	// ErrCooling says that the load of the key has failed and is not to be
	// tried again yet. It comes as a [*CoolingError].
	ErrCooling = errors.New("cache: the load has failed and is cooling down")

	// ErrTimeout says that a load took longer than Policy.HardTimeout. It goes
	// on in the background: ask again.
	ErrTimeout = errors.New("cache: load exceeded Policy.HardTimeout and goes on in the background")

	// ErrLoadTimeout says that a load took longer than Policy.LoadTimeout and
	// was cancelled. It is also the cause of its context's end.
	ErrLoadTimeout = errors.New("cache: load exceeded Policy.LoadTimeout and was cancelled")

	// ErrOverloaded says that Options.MaxWaiters callers wait already.
	ErrOverloaded = errors.New("cache: too many callers are waiting; raise Options.MaxWaiters, or shed load")

	// ErrAbandoned is the cause of a load's context when every caller has left.
	ErrAbandoned = flight.ErrAbandoned

	// ErrNilContext refuses a nil context.
	ErrNilContext = errors.New("cache: context is nil")

	// ErrNoLoader says that a value had to be loaded and there is no loader,
	// neither bound nor given.
	ErrNoLoader = errors.New("cache: no loader: pass one to New or to GetOrLoad")

	// ErrNotModified says that a loader returned Load.NotModified without a
	// stale value to confirm: send validators only if Load.Stale has one.
	ErrNotModified = errors.New("cache: loader says not modified, but there is no stale value")

	// ErrTTL refuses a TTL that is not positive.
	ErrTTL = errors.New("cache: TTL must be positive")

	// ErrKey refuses a key of an interface type that holds what cannot be
	// compared: a slice, a map, a func.
	ErrKey = errors.New("cache: key holds a value that cannot be compared")

	// ErrRecursive says that a loader asked the cache for the key that it is
	// loading.
	ErrRecursive = flight.ErrRecursive

	// ErrGoexit says that a loader ended its goroutine (runtime.Goexit, or
	// t.FailNow in a test) instead of returning.
	ErrGoexit = flight.ErrGoexit
)

// errAgain ends a flight whose callers are to begin a new one.
var errAgain = errors.New("cache: ask again")

// PanicError is a loader's panic, as every caller of the flight gets it. If the
// panic value was an error, errors.Is and errors.As see it.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked, as debug.Stack gives it
}

// Error gives the panic value, as the runtime would print it; the stack is in
// the field.
func (p *PanicError) Error() string { return fmt.Sprintf("cache: the loader panicked: %v", p.Value) }

// Unwrap gives the panic value if it was an error.
func (p *PanicError) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// LoadError is a failure of a loader. Its message has the loader's error;
// errors.Is and errors.As see through it.
type LoadError struct {
	Cache string // Options.Name
	Err   error
}

// Error names the cache and gives the loader's error, never the key.
func (e *LoadError) Error() string { return fmt.Sprintf("cache %q: load: %v", e.Cache, e.Err) }

// Unwrap gives the loader's error.
func (e *LoadError) Unwrap() error { return e.Err }

// CoolingError is [ErrCooling] with what is known of the failure. errors.Is and
// errors.As see the failed load's error too if it ran in this process.
type CoolingError struct {
	Cache      string        // Options.Name
	Failures   int           // in a row
	RetryAfter time.Duration // until a load is tried again
	Text       string        // what Options.FailureText said where the load ran
	Err        error         // the load's error if it ran in this process, else nil
}

// Error says for how long, and why if that is known.
func (e *CoolingError) Error() string {
	why := e.Text
	switch err := e.Err.(type) { //nolint:errorlint // as it was wrapped here
	case nil:
	case *LoadError:
		why = err.Err.Error()
	default:
		why = err.Error()
	}
	if why != "" {
		why = ": " + why
	}
	times := "once"
	if e.Failures != 1 {
		times = fmt.Sprintf("%d times in a row", e.Failures)
	}
	return fmt.Sprintf("cache %q: load has failed %s, next try in %v%s", e.Cache, times, e.RetryAfter.Round(time.Millisecond), why)
}

// Unwrap makes errors.Is(err, ErrCooling) true, and gives the load's error.
func (e *CoolingError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrCooling}
	}
	return []error{ErrCooling, e.Err}
}

// BatchError is what GetMany returns when some of its keys failed.
type BatchError[K comparable] struct {
	Cache string // Options.Name
	Errs  map[K]error
}

// Error counts the failures and gives one of them. It names no key.
func (e *BatchError[K]) Error() string {
	for _, err := range e.Errs {
		return fmt.Sprintf("cache %q: keys that failed: %d, one of them: %v", e.Cache, len(e.Errs), err)
	}
	return fmt.Sprintf("cache %q: no key failed", e.Cache)
}

// Unwrap gives the failures, in no order.
func (e *BatchError[K]) Unwrap() []error {
	errs := make([]error, 0, len(e.Errs))
	for _, err := range e.Errs {
		errs = append(errs, err)
	}
	return errs
}

// translate gives errors of the machinery their public names.
func translate(err error) error {
	if err == nil {
		return nil
	}
	panicked := new(flight.PanicError)
	switch {
	case errors.As(err, &panicked):
		return &PanicError{Value: panicked.Value, Stack: panicked.Stack}
	case errors.Is(err, flight.ErrClosed), errors.Is(err, lock.ErrClosed):
		return ErrClosed
	case errors.Is(err, flight.ErrPatience):
		return ErrTimeout
	case errors.Is(err, flight.ErrCrowded):
		return ErrOverloaded
	case errors.Is(err, flight.ErrHopeless):
		return fmt.Errorf("%w: %w", ErrInProgress, err)
	}
	return err
}
