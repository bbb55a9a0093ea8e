package lock_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/lock/memlock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newLocker(t *testing.T, d lock.Driver, opts *lock.Options) *lock.Locker {
	t.Helper()
	l, err := lock.New(d, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func acquire(t *testing.T, l *lock.Locker, key string) *lock.Lease {
	t.Helper()
	le, err := l.Acquire(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return le
}

// faulty fails or counts what a memlock is asked.
type faulty struct {
	memlock.Driver
	mu       sync.Mutex
	acquire  error
	renew    error
	renews   int
	releases []string
}

func (f *faulty) Acquire(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
	f.mu.Lock()
	err := f.acquire
	f.mu.Unlock()
	g, _ := f.Driver.Acquire(ctx, key, req)
	return g, err // executed, and its reply lost
}

func (f *faulty) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	f.mu.Lock()
	f.renews++
	err := f.renew
	f.mu.Unlock()
	if err != nil {
		return false, err
	}
	return f.Driver.Renew(ctx, key, token, ttl)
}

func (f *faulty) Release(ctx context.Context, key, token string) (bool, error) {
	f.mu.Lock()
	f.releases = append(f.releases, token)
	f.mu.Unlock()
	return f.Driver.Release(ctx, key, token)
}

func (f *faulty) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

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

func TestTryAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocker(t, new(memlock.Driver), nil)
		acquire(t, l, "k")
		began := time.Now()
		if _, err := l.TryAcquire(t.Context(), "k"); !errors.Is(err, lock.ErrHeld) || time.Since(began) != 0 {
			t.Errorf("TryAcquire = %v after %v, want ErrHeld at once", err, time.Since(began))
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

func TestRenewalKeepsALongJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &faulty{}
		l := newLocker(t, d, &lock.Options{TTL: 300 * time.Millisecond})
		le := acquire(t, l, "k")
		time.Sleep(time.Minute + 50*time.Millisecond)
		if err := le.Context().Err(); err != nil {
			t.Errorf("lost: %v", context.Cause(le.Context()))
		}
		d.set(func() {
			if d.renews != 600 {
				t.Errorf("%d renewals a minute, want one each third of 300ms", d.renews)
			}
		})
		if err := le.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestWithoutRenewalTheContextEndsWithTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var warned []lock.WarningCode
		l := newLocker(t, new(memlock.Driver), &lock.Options{TTL: time.Second, RenewEvery: -1, Hooks: lock.Hooks{
			Warn: func(_ context.Context, w lock.Warning) { warned = append(warned, w.Code) },
		}})
		began := time.Now()
		le := acquire(t, l, "k")
		<-le.Context().Done()
		if cause := context.Cause(le.Context()); !errors.Is(cause, lock.ErrLost) || time.Since(began) != time.Second {
			t.Errorf("ended after %v with %v, want ErrLost after 1s", time.Since(began), cause)
		}
		synctest.Wait() // for the warning
		if err := le.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
			t.Errorf("Release = %v, want ErrLost", err)
		}
		if !slices.Equal(warned, []lock.WarningCode{lock.WarnWorkTooLong}) {
			t.Errorf("warnings = %v, want one of work that took too long", warned)
		}
	})
}

func TestLeaseThatIsTakenAwayIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(memlock.Driver)
		l := newLocker(t, d, &lock.Options{TTL: 3 * time.Second})
		le := acquire(t, l, "k")
		_, _ = d.Release(t.Context(), "k", le.Token()) // an eviction, say
		began := time.Now()
		<-le.Context().Done()
		if cause := context.Cause(le.Context()); !errors.Is(cause, lock.ErrLost) || time.Since(began) != time.Second {
			t.Errorf("ended after %v with %v, want ErrLost at the next renewal", time.Since(began), cause)
		}
		if err := le.Renew(t.Context()); !errors.Is(err, lock.ErrLost) {
			t.Errorf("Renew = %v, want ErrLost", err)
		}
	})
}

func TestOutageDuringALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var warned []lock.WarningCode
		d := &faulty{}
		l := newLocker(t, d, &lock.Options{TTL: 3 * time.Second, Hooks: lock.Hooks{
			Warn: func(_ context.Context, w lock.Warning) { d.set(func() { warned = append(warned, w.Code) }) },
		}})
		le := acquire(t, l, "k")
		d.set(func() { d.renew = errors.New("no server") })
		time.Sleep(2400 * time.Millisecond)
		synctest.Wait()
		if !slices.Contains(warned, lock.WarnRenewLate) || le.Context().Err() != nil {
			t.Errorf("warnings = %v, lost %v; want a warning before the loss", warned, le.Context().Err())
		}
		d.set(func() { d.renew = nil })
		time.Sleep(time.Minute)
		if le.Context().Err() != nil {
			t.Error("lost although the server came back in time")
		}
		d.set(func() { d.renew = errors.New("no server") })
		<-le.Context().Done()
		if cause := context.Cause(le.Context()); !errors.Is(cause, lock.ErrLost) {
			t.Errorf("cause = %v, want ErrLost", cause)
		}
	})
}

func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocker(t, new(memlock.Driver), nil)
		le := acquire(t, l, "k")
		for range 2 {
			if err := le.Release(t.Context()); err != nil {
				t.Errorf("Release = %v, want nil", err)
			}
		}
		if cause := context.Cause(le.Context()); !errors.Is(cause, lock.ErrReleased) {
			t.Errorf("cause = %v, want ErrReleased", cause)
		}
		acquire(t, l, "k")
	})
}

func TestDoReleasesWhateverHappens(t *testing.T) {
	boom := errors.New("boom")
	for name, fn := range map[string]func(context.Context) error{
		"nil":    func(context.Context) error { return nil },
		"error":  func(context.Context) error { return boom },
		"panic":  func(context.Context) error { panic(boom) },
		"goexit": func(context.Context) error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLocker(t, new(memlock.Driver), nil)
				done := make(chan struct{})
				go func() {
					defer close(done)
					defer func() { _ = recover() }()
					if err := l.Do(t.Context(), "k", fn); (name == "error") != errors.Is(err, boom) {
						t.Errorf("Do = %v", err)
					}
				}()
				<-done
				if _, err := l.TryAcquire(t.Context(), "k"); err != nil {
					t.Errorf("TryAcquire after Do = %v, want the lease free", err)
				}
			})
		})
	}
}

func TestFailedAttemptIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("reply lost")
		d := &faulty{acquire: boom}
		l := newLocker(t, d, nil)
		if _, err := l.Acquire(t.Context(), "k"); !errors.Is(err, boom) {
			t.Errorf("Acquire = %v, want the driver's error", err)
		}
		synctest.Wait()
		d.set(func() { d.acquire = nil })
		if _, err := l.TryAcquire(t.Context(), "k"); err != nil {
			t.Errorf("TryAcquire = %v: the lost attempt left an orphan", err)
		}
	})
}

func TestHooksTellTheStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var story []string
		tell := func(s string) { mu.Lock(); defer mu.Unlock(); story = append(story, s) }
		type ctxKey struct{}
		hooks := lock.Hooks{
			AcquireStart: func(ctx context.Context, _ lock.AcquireStart) (context.Context, string) {
				tell("start")
				return context.WithValue(ctx, ctxKey{}, true), "tag"
			},
			Contended: func(_ context.Context, i lock.Contended) { tell("contended " + i.Holder.Tag + " " + i.Holder.Owner) },
			Retry:     func(context.Context, lock.Retry) { tell("retry") },
			AcquireDone: func(ctx context.Context, i lock.AcquireDone) {
				if ctx.Value(ctxKey{}) == nil {
					t.Error("AcquireDone without AcquireStart's context")
				}
				tell(i.Outcome.String())
			},
			Released: func(context.Context, lock.Released) { tell("released") },
		}
		l := newLocker(t, new(memlock.Driver), &lock.Options{Owner: "me", Retries: 2, Hooks: hooks})
		le := acquire(t, l, "k")
		_, _ = l.Acquire(t.Context(), "k")
		_ = le.Release(t.Context())
		_, _ = l.AcquireWith(t.Context(), "k", lock.Acquisition{Try: func(context.Context, lock.Request) (lock.Grant, error) {
			return lock.Grant{Status: lock.Filled}, nil
		}})
		want := "start, acquired, start, contended tag me, retry, retry, timeout, released, start, filled"
		if got := strings.Join(story, ", "); got != want {
			t.Errorf("story:\n%s, want\n%s", got, want)
		}
	})
}

func TestAcquireWithFilled(t *testing.T) {
	l := newLocker(t, new(memlock.Driver), nil)
	le, err := l.AcquireWith(t.Context(), "k", lock.Acquisition{Try: func(context.Context, lock.Request) (lock.Grant, error) {
		return lock.Grant{Status: lock.Filled}, nil
	}})
	if le != nil || !errors.Is(err, lock.ErrFilled) {
		t.Errorf("AcquireWith = %v, %v, want ErrFilled", le, err)
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocker(t, new(memlock.Driver), nil)
		le := acquire(t, l, "k")
		for range 2 {
			if err := l.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		}
		if cause := context.Cause(le.Context()); !errors.Is(cause, lock.ErrClosed) {
			t.Errorf("cause = %v, want ErrClosed", cause)
		}
		if _, err := l.Acquire(t.Context(), "other"); !errors.Is(err, lock.ErrClosed) {
			t.Errorf("Acquire after Close = %v, want ErrClosed", err)
		}
	})
}

func TestBadOptions(t *testing.T) {
	for _, tc := range []struct {
		field string
		opts  lock.Options
	}{
		{"Options.TTL", lock.Options{TTL: time.Millisecond}},
		{"Options.TTL", lock.Options{TTL: -1}},
		{"Options.RenewEvery", lock.Options{TTL: time.Second, RenewEvery: time.Second}},
		{"Options.MaxWait", lock.Options{MaxWait: -1}},
		{"Options.Retries", lock.Options{Retries: -1}},
		{"Options.Owner", lock.Options{Owner: "a|b"}},
	} {
		if _, err := lock.New(new(memlock.Driver), &tc.opts); err == nil || !strings.Contains(err.Error(), tc.field) {
			t.Errorf("New = %v, want an error naming %s", err, tc.field)
		}
	}
	if _, err := lock.New(nil, nil); err == nil {
		t.Error("New without a driver = nil, want an error")
	}
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

func TestFirstAttemptOfTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(memlock.Driver)
		var starts []lock.AcquireStart
		l := newLocker(t, d, &lock.Options{Hooks: lock.Hooks{
			AcquireStart: func(ctx context.Context, i lock.AcquireStart) (context.Context, string) {
				starts = append(starts, i)
				return ctx, "late"
			},
		}})
		attempt := func() *lock.Attempt {
			a := &lock.Attempt{Request: l.NewRequest(), Asked: time.Now()}
			a.Grant, _ = d.Acquire(t.Context(), "k", a.Request)
			return a
		}
		won := attempt()
		time.Sleep(time.Second)
		lease, err := l.AcquireWith(t.Context(), "k", lock.Acquisition{First: won})
		if err != nil || lease.Fence() != won.Grant.Fence {
			t.Fatalf("AcquireWith = %v, want the lease that was won", err)
		}
		if lease.Context().Err() != nil || lease.Token() != won.Grant.Token {
			t.Error("the lease is another than the one that was won")
		}
		if _, err := l.AcquireWith(t.Context(), "k", lock.Acquisition{First: attempt(), NoWait: true}); !errors.Is(err, lock.ErrHeld) {
			t.Errorf("AcquireWith = %v, want ErrHeld", err)
		}
		if len(starts) != 2 || starts[0].Held || !starts[1].Held || !starts[0].Began.Equal(won.Asked) {
			t.Errorf("AcquireStart = %+v, want one that was not held and one that was, with their times", starts)
		}
		_ = lease.Release(t.Context())
		l.Abandon(t.Context(), "k", attempt().Request)
		synctest.Wait()
		if _, err := l.TryAcquire(t.Context(), "k"); err != nil {
			t.Errorf("TryAcquire = %v: an abandoned attempt holds the lease", err)
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

func TestFailedWorkIsNotAcquired(t *testing.T) {
	l := newLocker(t, new(memlock.Driver), nil)
	_, err := l.AcquireWith(t.Context(), "k", lock.Acquisition{Try: func(context.Context, lock.Request) (lock.Grant, error) {
		return lock.Grant{Status: lock.Failed}, nil
	}})
	if !errors.Is(err, lock.ErrFailed) {
		t.Errorf("AcquireWith = %v, want ErrFailed", err)
	}
}

func TestReleaseWithADeadContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocker(t, new(memlock.Driver), nil)
		ctx, cancel := context.WithCancel(t.Context())
		lease, err := l.Acquire(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := lease.Release(ctx); err != nil {
			t.Errorf("Release = %v", err)
		}
		if _, err := l.TryAcquire(t.Context(), "k"); err != nil {
			t.Errorf("TryAcquire = %v: a deferred Release whose context has ended released nothing", err)
		}
	})
}

func TestNilsAreRefused(t *testing.T) {
	l := newLocker(t, new(memlock.Driver), nil)
	if _, err := l.Acquire(nil, "k"); !errors.Is(err, lock.ErrNilContext) { //nolint:staticcheck // on purpose
		t.Errorf("Acquire = %v, want ErrNilContext", err)
	}
	if _, err := l.TryAcquire(nil, "k"); !errors.Is(err, lock.ErrNilContext) { //nolint:staticcheck // on purpose
		t.Errorf("TryAcquire = %v, want ErrNilContext", err)
	}
	if err := l.Do(t.Context(), "k", nil); err == nil {
		t.Error("Do without a func = nil")
	}
}
