package cache

import (
	"errors"
	"fmt"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
)

var (
	// ErrNotFound is what a loader returns (or wraps) to say that the source
	// has no such key. Get passes it on.
	ErrNotFound = errors.New("cache: not found")

	// ErrMiss is Peek's word for a key that no tier holds.
	ErrMiss = backend.ErrMiss

	// ErrClosed says that the cache was used after Close, or closed meanwhile.
	ErrClosed = errors.New("cache: cache is closed")

	// ErrInProgress says, under [FailFast], that another process is loading
	// the key and did not finish in time. It comes with a [*lock.HeldError].
	ErrInProgress = errors.New("cache: another process is loading the key")

	// ErrNilContext refuses a nil context.
	ErrNilContext = errors.New("cache: context is nil")

	// ErrNoLoader says that a value had to be loaded and there is no loader,
	// neither bound nor given.
	ErrNoLoader = errors.New("cache: no loader: pass one to New or to GetOrLoad")

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

// PanicError is a loader's panic, as every caller of the flight gets it. If the
// panic value was an error, errors.Is and errors.As see it.
type PanicError = flight.PanicError

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

// translate gives errors of the machinery their public names.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, flight.ErrClosed), errors.Is(err, lock.ErrClosed):
		return ErrClosed
	}
	return err
}
