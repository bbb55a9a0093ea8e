package otelx

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
)

// kinds are the values of error.type for errors that say what they are. The
// first that matches counts: an error of the cache goes before what it wraps.
var kinds = []struct {
	err  error
	kind string
}{
	{cache.ErrCooling, "cooling"}, // wraps the failure that it tells of
	{cache.ErrTimeout, "hard_timeout"},
	{cache.ErrLoadTimeout, "load_timeout"},
	{cache.ErrOverloaded, "overloaded"},
	{cache.ErrInProgress, "in_progress"}, // may wrap lock.ErrHeld
	{cache.ErrNoLoader, "no_loader"},
	{cache.ErrGoexit, "goexit"},
	{flight.ErrAbandoned, "abandoned"},
	{context.Canceled, "canceled"},
	{context.DeadlineExceeded, "timeout"},
	{lock.ErrHeld, "timeout"},
	{lock.ErrLost, "lock_lost"},
	{backend.ErrUnavailable, "unavailable"},
	{cache.ErrClosed, "closed"},
	{lock.ErrClosed, "closed"},
}

// errorType is the value of error.type: of few values, without content.
func errorType(err error) string {
	if panicked := new(cache.PanicError); errors.As(err, &panicked) && !errors.Is(err, cache.ErrCooling) {
		return "panic"
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.kind
		}
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", innermost(err)), "*")
}

// innermost is the error at the end of the chain, whose type says most; where
// the chain forks it follows the first.
func innermost(err error) error {
	for {
		var next error
		switch e := err.(type) { //nolint:errorlint // this is the unwrapping
		case interface{ Unwrap() error }:
			next = e.Unwrap()
		case interface{ Unwrap() []error }:
			if all := e.Unwrap(); len(all) > 0 {
				next = all[0]
			}
		}
		if next == nil {
			return err
		}
		err = next
	}
}

// failure reports whether err is one: that the source has no such key is an
// answer.
func failure(err error) bool { return err != nil && !errors.Is(err, cache.ErrNotFound) }

// workFailed reports whether err is the failure of a load, new or remembered,
// rather than of the wait for it.
func workFailed(err error) bool {
	load, panicked := new(cache.LoadError), new(cache.PanicError)
	return errors.As(err, &load) || errors.As(err, &panicked) || errors.Is(err, cache.ErrCooling) ||
		errors.Is(err, cache.ErrLoadTimeout) || errors.Is(err, cache.ErrGoexit) || errors.Is(err, cache.ErrNoLoader)
}
