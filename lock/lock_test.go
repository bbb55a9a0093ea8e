package lock_test

import (
	"context"
	"errors"
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

func TestFailedWorkIsNotAcquired(t *testing.T) {
	l := newLocker(t, new(memlock.Driver), nil)
	_, err := l.AcquireWith(t.Context(), "k", lock.Acquisition{Try: func(context.Context, lock.Request) (lock.Grant, error) {
		return lock.Grant{Status: lock.Failed}, nil
	}})
	if !errors.Is(err, lock.ErrFailed) {
		t.Errorf("AcquireWith = %v, want ErrFailed", err)
	}
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
