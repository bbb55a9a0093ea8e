package valkeylock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/lock/locktest"
	"github.com/bellwethercache/bellwether/lock/valkeylock"
)

func TestConformanceCluster(t *testing.T) {
	url := servertest.Cluster(t).URL()
	locktest.Run(t, locktest.Harness{New: func(tb testing.TB) lock.Driver { return listening(tb, url) }, Wakes: true})
}

func TestConformanceSentinel(t *testing.T) {
	url := servertest.Sentinel(t).URL()
	locktest.Run(t, locktest.Harness{New: func(tb testing.TB) lock.Driver { return listening(tb, url) }, Wakes: true})
}

// TestALockOutlivesAFailover: one whose TTL is longer than a failover takes, and
// that the replica knows of.
func TestALockOutlivesAFailover(t *testing.T) {
	layout, err := valkeylease.NewLayout("n")
	if err != nil {
		t.Fatal(err)
	}
	servertest.InDeployments(t, layout.Lease("k"), func(t *testing.T, d *servertest.Deployment) {
		opts := &lock.Options{TTL: time.Minute, RenewEvery: 500 * time.Millisecond}
		var lockers [2]*lock.Locker
		for i := range lockers {
			driver, err := valkeylock.Open(d.URL, &valkeylock.Options{Namespace: "n"})
			if err != nil {
				t.Fatal(err)
			}
			defer driver.Close()
			driver.Listen(t.Context())
			l, err := lock.New(driver, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			lockers[i] = l
		}
		lease, err := lockers[0].Acquire(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		servertest.AwaitReplication(t, d.Master, d.Replica)
		d.Master.Kill()
		d.AwaitPromotion()
		// Until a client has heard of the promotion, it answers with errors.
		if other, err := reached(t, func() (*lock.Lease, error) { return lockers[1].TryAcquire(t.Context(), "k") }); !errors.Is(err, lock.ErrHeld) {
			t.Fatalf("TryAcquire = %+v, %v while the lease with fence %d is held, want ErrHeld", other, err, lease.Fence())
		}
		if _, err := reached(t, func() (any, error) { return nil, lease.Renew(t.Context()) }); err != nil {
			t.Fatalf("Renew = %v after a failover of less than the TTL", err)
		}
		if err := lease.Context().Err(); err != nil {
			t.Fatalf("lost in a failover of less than its TTL: %v", context.Cause(lease.Context()))
		}
		if err := lease.Release(t.Context()); err != nil {
			t.Fatalf("Release = %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		other, err := reached(t, func() (*lock.Lease, error) { return lockers[1].Acquire(ctx, "k") })
		if err != nil || other.Fence() <= lease.Fence() {
			t.Fatalf("Acquire = %+v, %v, want a fence after %d", other, err, lease.Fence())
		}
		if err := other.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// reached repeats op until the server has answered it.
func reached[T any](t *testing.T, op func() (T, error)) (T, error) {
	t.Helper()
	for late := time.After(10 * time.Second); ; {
		v, err := op()
		if !errors.Is(err, backend.ErrUnavailable) {
			return v, err
		}
		select {
		case <-late:
			t.Fatalf("not reached 10s after the failover: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
