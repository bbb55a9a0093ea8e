package fleettest

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// sentinels are the errors that a process tells by name. A new one of the
// cache's belongs here.
var sentinels = []struct {
	name string
	err  error
}{
	{"ErrInProgress", cache.ErrInProgress},
	{"ErrCooling", cache.ErrCooling},
	{"ErrTimeout", cache.ErrTimeout},
	{"ErrLoadTimeout", cache.ErrLoadTimeout},
	{"ErrOverloaded", cache.ErrOverloaded},
	{"ErrNotFound", cache.ErrNotFound},
	{"ErrMiss", cache.ErrMiss},
	{"ErrClosed", cache.ErrClosed},
	{"ErrNoLoader", cache.ErrNoLoader},
	{"ErrTTL", cache.ErrTTL},
	{"ErrKey", cache.ErrKey},
	{"ErrRecursive", cache.ErrRecursive},
	{"ErrGoexit", cache.ErrGoexit},
	{"ErrHeld", lock.ErrHeld},
	{"ErrLost", lock.ErrLost},
	{"ErrUnavailable", backend.ErrUnavailable},
	{"ErrBreakerOpen", tier.ErrBreakerOpen},
	{"ErrBusy", tier.ErrBusy},
	{"ErrBudget", tier.ErrBudget},
	{"ErrQueued", tier.ErrQueued},
	{"ErrTooLarge", valkeystore.ErrTooLarge},
	{"DeadlineExceeded", context.DeadlineExceeded},
	{"Canceled", context.Canceled},
}

// Failure is an error of another process. errors.Is finds the sentinels that
// it was or wrapped.
type Failure struct {
	// Name is what is known of the error, joined by "+": "LoadError",
	// "PanicError", the names of sentinels, and the text of a load's own Error
	// outcome. Of an error that is none of these it is the text.
	Name string `json:"name"`
	Text string `json:"text"`
}

// Error gives the text of the original.
func (f *Failure) Error() string { return f.Text }

// Is implements errors.Is for the sentinels.
func (f *Failure) Is(target error) bool {
	for _, s := range sentinels {
		if errors.Is(s.err, target) {
			return slices.Contains(strings.Split(f.Name, "+"), s.name)
		}
	}
	return false
}

// loadError is the error of an Error outcome.
type loadError string

func (e loadError) Error() string { return string(e) }

func fail(err error) *Failure {
	if err == nil {
		return nil
	}
	var (
		names    []string
		load     *cache.LoadError
		panicked *cache.PanicError
		own      loadError
	)
	if errors.As(err, &load) {
		names = append(names, "LoadError")
	}
	if errors.As(err, &panicked) {
		names = append(names, "PanicError")
	}
	if errors.As(err, &own) {
		names = append(names, string(own))
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			names = append(names, s.name)
		}
	}
	if names == nil {
		names = []string{err.Error()}
	}
	return &Failure{Name: strings.Join(names, "+"), Text: err.Error()}
}
