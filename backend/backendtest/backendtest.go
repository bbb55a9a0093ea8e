// Package backendtest is the law for implementations of backend.Store and
// backend.Memory: run it from a test of your store.
//
//	func TestConformance(t *testing.T) {
//		backendtest.RunStore(t, backendtest.StoreHarness{
//			New: func(tb testing.TB) backend.Store { return open(tb) },
//		})
//	}
//
// A failure quotes the rule that was broken. What a store is able to do is said
// by its harness, never asked of the store: an ability that got lost is a
// failure, not a skipped test.
package backendtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// StoreHarness tells the kit about a store.
type StoreHarness struct {
	// New returns an open, empty store, to be closed with tb.Cleanup.
	// Required.
	New func(tb testing.TB) backend.Store

	// Leases says that the store implements backend.Leaser, Clock that it
	// implements backend.Clock. What is not said is not tested.
	Leases bool
	Clock  bool

	// Wakes says that it implements backend.Notifier, Multi that it implements
	// backend.MultiLeaser, both with Leases, and Swaps that it implements
	// backend.Swapper. A store that needs time before it can wake is ready
	// when New returns.
	Wakes bool
	Multi bool
	Swaps bool

	// Peer returns a store as another process would have it, on the same entries
	// as s, which New has made, to be closed with tb.Cleanup. Set it if the store
	// implements backend.Invalidator: what the peer changes must then be told.
	Peer func(tb testing.TB, s backend.Store) backend.Store

	// Tags says that the store implements backend.Tagger.
	Tags bool

	// Patience is for how long the kit listens for a wake-up that must not
	// come. Where wake-ups take real time, give them more than that. Defaults
	// to 100 ms.
	Patience time.Duration

	// Bubble runs each case in a testing/synctest bubble, in which time costs
	// nothing. Not for stores that use a network.
	Bubble bool

	// Advance lets d pass for the store: a fake server's clock, say. Defaults
	// to waiting for it, in a bubble's time or in the real one.
	Advance func(d time.Duration)

	unhurried bool // the case waits for no lifetime to end
}

// RunStore runs the kit.
func RunStore(t *testing.T, h StoreHarness) {
	t.Helper()
	kit.Run(t, h, h.Bubble, h.cases())
}

func (h StoreHarness) cases() []kit.Case[StoreHarness] {
	cases := append([]kit.Case[StoreHarness]{}, storeCases...)
	if h.Leases {
		cases = append(append(cases, leaseCases...), failureCases...)
	}
	if h.Wakes {
		cases = append(cases, wakeCases...)
	}
	if h.Multi {
		cases = append(cases, multiCases...)
	}
	if h.Swaps {
		cases = append(cases, swapCases...)
	}
	if h.Swaps && h.Wakes {
		cases = append(cases, swapWakeCases...)
	}
	if h.Peer != nil {
		cases = append(cases, tellCases...)
	}
	if h.Tags {
		cases = append(cases, tagCases...)
	}
	if h.Clock {
		cases = append(cases, clockCases...)
	}
	return cases
}

// pass lets d go by.
func (h StoreHarness) pass(d time.Duration) {
	if h.Advance != nil {
		h.Advance(d)
		return
	}
	<-time.After(d)
}

// lifetime is a ttl, short enough to wait for where time is real, unless the case
// waits for none.
func (h StoreHarness) lifetime() time.Duration {
	if h.Bubble || h.Advance != nil || h.unhurried {
		return time.Minute
	}
	return 500 * time.Millisecond
}

const long = time.Hour

func get(t *kit.T, s backend.Store, key, want string) {
	t.Helper()
	v, err := s.Get(t.Context(), key)
	if err != nil || string(v) != want {
		t.Errorf("Get(%.40q) = %.40q, %v, want %.40q, nil", key, v, err, want)
	}
}

func miss(t *kit.T, s backend.Store, key string) {
	t.Helper()
	v, err := s.Get(t.Context(), key)
	switch {
	case err == backend.ErrMiss: //nolint:errorlint // bare, the rule says
	case err == nil && len(v) == 0:
		t.Errorf("Get(%.40q) = %q, <nil>, want backend.ErrMiss: a value of no bytes is a value", key, v)
	case errors.Is(err, backend.ErrMiss):
		t.Errorf("Get(%.40q) = %v, want backend.ErrMiss itself, not an error that wraps it", key, err)
	default:
		t.Errorf("Get(%.40q) = %.40q, %v, want backend.ErrMiss", key, v, err)
	}
}

func set(t *kit.T, s backend.Store, key, value string) {
	t.Helper()
	setFor(t, s, key, []byte(value), long)
}

// setFor ends the case if Set fails.
func setFor(t *kit.T, s backend.Store, key string, value []byte, ttl time.Duration) {
	t.Helper()
	if err := s.Set(t.Context(), key, value, ttl); err != nil {
		t.Fatalf("Set(%.40q, %d bytes, ttl %v) = %v, want nil", key, len(value), ttl, err)
	}
}

// del ends the case if Delete fails.
func del(t *kit.T, s backend.Store, keys ...string) {
	t.Helper()
	if err := s.Delete(t.Context(), keys...); err != nil {
		t.Fatalf("Delete(%.40q) = %v, want nil", keys, err)
	}
}

// refused fails if err is nil or a miss.
func refused(t *kit.T, what string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, backend.ErrMiss) {
		t.Errorf("%s = %v, want an error that is no miss", what, err)
	}
}

// ended is refused for a context that has ended, closed after Close.
func ended(t *kit.T, call string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, backend.ErrMiss) {
		t.Errorf("%s with a context that has ended = %v, want an error that is no miss: ctx.Err(), say", call, err)
	}
}

func closed(t *kit.T, call string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, backend.ErrMiss) {
		t.Errorf("%s after Close = %v, want an error that is no miss, such as backend.ErrClosed", call, err)
	}
}

var clockCases = kit.Rules(
	kit.Case[StoreHarness]{
		Name: "clock/advances",
		Rule: "Now gives the store's time in microseconds, and it goes on",
		Run: func(t *kit.T, h StoreHarness) {
			c, ok := h.New(t.TB).(backend.Clock)
			if !ok {
				t.Fatalf("the store has no Now")
			}
			a, err := c.Now(t.Context())
			t.Must(err)
			h.pass(h.lifetime())
			b, err := c.Now(t.Context())
			t.Must(err)
			// An estimate may be sampled again only now and then.
			if a < 946684800e6 || b < a {
				t.Errorf("Now = %d and later %d, want microseconds since 1970 that do not go back", a, b)
			}
			if off := time.Since(time.UnixMicro(b)); off.Abs() > 24*time.Hour {
				t.Errorf("Now is %v away from this machine's clock, want microseconds since 1970", off)
			}
		},
	},
)

func canceled(t *kit.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
