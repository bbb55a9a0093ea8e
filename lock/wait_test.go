package lock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/lock/memlock"
)

func TestBackoffIsTheDocumentedOne(t *testing.T) {
	b := lock.DefaultBackoff()
	for retry, step := range []int{100, 200, 400, 800, 1600, 1600, 1600} {
		for range 200 {
			low := time.Duration(step) * time.Millisecond
			if d := b(retry); d < low || d >= low+100*time.Millisecond {
				t.Fatalf("retry %d: %v, want %v to %v", retry, d, low, low+100*time.Millisecond)
			}
		}
	}
	if d := lock.Exponential(time.Hour, time.Minute, 0)(1000); d != time.Minute {
		t.Errorf("retry 1000: %v, want the cap", d)
	}
}

func TestWaiterTakesOverWhatIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocker(t, new(memlock.Driver), nil)
		first := acquire(t, l, "k")
		time.AfterFunc(time.Second, func() { _ = first.Release(context.Background()) })
		began := time.Now()
		second := acquire(t, l, "k")
		if d := time.Since(began); d < time.Second || d > 2*time.Second {
			t.Errorf("waited %v for a lease that was held for 1s", d)
		}
		if second.Fence() <= first.Fence() {
			t.Errorf("fence %d after %d", second.Fence(), first.Fence())
		}
	})
}

func TestWaitEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		opts      lock.Options
		from, to  time.Duration
		attempts  int
		unbounded bool
	}{
		"at MaxWait":           {lock.Options{MaxWait: 10 * time.Second}, 10 * time.Second, 10 * time.Second, 0, true},
		"by default after 30s": {lock.Options{}, 30 * time.Second, 30 * time.Second, 0, true},
		"after the retries":    {lock.Options{Retries: 5}, 3100 * time.Millisecond, 3600 * time.Millisecond, 6, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLocker(t, new(memlock.Driver), &tc.opts)
				acquire(t, l, "k") // and renews
				began := time.Now()
				_, err := l.Acquire(t.Context(), "k")
				held := new(lock.HeldError)
				if !errors.Is(err, lock.ErrHeld) || !errors.As(err, &held) || tc.attempts > 0 && held.Attempts != tc.attempts {
					t.Errorf("Acquire = %v, want a *HeldError after %d attempts", err, tc.attempts)
				}
				if d := time.Since(began); d < tc.from || d > tc.to {
					t.Errorf("waited %v, want %v to %v", d, tc.from, tc.to)
				}
			})
		})
	}
}

func TestDeadHolderIsReplacedWithinItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(memlock.Driver)
		_, _ = d.Acquire(t.Context(), "k", lock.Request{Token: "dead", TTL: 3 * time.Second})
		l := newLocker(t, d, nil)
		began := time.Now()
		acquire(t, l, "k")
		if waited := time.Since(began); waited < 3*time.Second || waited > 3*time.Second+10*time.Millisecond {
			t.Errorf("waited %v, want the 3s that its lease had left", waited)
		}
	})
}

func TestWaiterLeavesOnItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocker(t, new(memlock.Driver), nil)
		acquire(t, l, "k")
		bored := errors.New("bored")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 250*time.Millisecond, bored)
		defer cancel()
		began := time.Now()
		if _, err := l.Acquire(ctx, "k"); !errors.Is(err, bored) || time.Since(began) != 250*time.Millisecond {
			t.Errorf("Acquire = %v after %v, want the cause at 250ms", err, time.Since(began))
		}
	})
}

func TestWaiterIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocker(t, new(memlock.Driver), nil)
		first := acquire(t, l, "k")
		time.AfterFunc(time.Second, func() { _ = first.Release(context.Background()) })
		began := time.Now()
		acquire(t, l, "k")
		if d := time.Since(began); d != time.Second {
			t.Errorf("waited %v, want the 1s that the lease was held", d)
		}
	})
}

func TestWokenWaitersLookSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts int
		l := newLocker(t, new(memlock.Driver), &lock.Options{MaxWait: time.Minute, Hooks: lock.Hooks{
			AcquireDone: func(_ context.Context, i lock.AcquireDone) { attempts = i.Attempts },
		}})
		first := acquire(t, l, "k")
		time.AfterFunc(30*time.Second, func() { _ = first.Release(context.Background()) })
		acquire(t, l, "k")
		if attempts > 7 { // at 0, 1.6, 4.8 s, then as the lease might end, and when woken
			t.Errorf("%d attempts in 30s, want the net to widen", attempts)
		}
	})
}

func TestHopelessWaitsAreNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocker(t, new(memlock.Driver), &lock.Options{Usual: 10 * time.Second})
		acquire(t, l, "k")
		time.Sleep(2 * time.Second)
		for allowed, hopeless := range map[time.Duration]bool{time.Second: true, 7 * time.Second: true, 9 * time.Second: false} {
			ctx, cancel := context.WithTimeout(t.Context(), allowed)
			began := time.Now()
			_, err := l.Acquire(ctx, "k")
			held := new(lock.HeldError)
			if hopeless && (!errors.As(err, &held) || !held.Hopeless || time.Since(began) != 0) {
				t.Errorf("with %v left: %v after %v, want a *HeldError at once", allowed, err, time.Since(began))
			}
			if hopeless && !strings.Contains(err.Error(), "10s") {
				t.Errorf("%v does not say how long such work takes", err)
			}
			cancel()
			if !hopeless {
				break
			}
		}
		// Work that is overdue may end at any moment: it is waited for.
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Acquire(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Acquire = %v, want it to wait", err)
		}
	})
}

func TestNotWaitingIsNoTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done []lock.AcquireDone
		l := newLocker(t, new(memlock.Driver), &lock.Options{Hooks: lock.Hooks{
			AcquireDone: func(_ context.Context, i lock.AcquireDone) { done = append(done, i) },
		}})
		acquire(t, l, "k")
		_, _ = l.TryAcquire(t.Context(), "k")
		if i := done[1]; i.Outcome != lock.OutcomeHeld || i.Err != nil || i.Waited != 0 {
			t.Errorf("AcquireDone = %+v, want it held, without error or wait", i)
		}
	})
}
