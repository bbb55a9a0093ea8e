package lock_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/lock/memlock"
)

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
