package valkeylock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/lock/locktest"
	"github.com/bellwethercache/bellwether/lock/valkeylock"
)

func TestMain(m *testing.M) {
	// A cluster's client asks for the topology a second after an error, and closes
	// the connections to nodes that are gone after five, whether it is closed or not.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*clusterClient)._refresh.func2"))
}

func namespace(tb testing.TB) string { return strings.ReplaceAll(tb.Name(), "/", ".") }

func open(tb testing.TB, url string) *valkeylock.Driver {
	tb.Helper()
	d, err := valkeylock.Open(url, &valkeylock.Options{Namespace: namespace(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = d.Close() })
	return d
}

// listening opens a driver that is ready to wake.
func listening(tb testing.TB, url string) *valkeylock.Driver {
	tb.Helper()
	d := open(tb, url)
	if !d.Listen(tb.Context()) {
		tb.Fatal("Listen = false")
	}
	return d
}

func TestConformanceValkey(t *testing.T) {
	url := servertest.Valkey(t).URL()
	locktest.Run(t, locktest.Harness{New: func(tb testing.TB) lock.Driver { return listening(tb, url) }, Wakes: true})
}

func TestConformanceTLS(t *testing.T) {
	url := servertest.TLS(t).URL()
	locktest.Run(t, locktest.Harness{New: func(tb testing.TB) lock.Driver { return listening(tb, url) }, Wakes: true})
}

func TestConformanceMini(t *testing.T) {
	m := servertest.Mini(t)
	locktest.Run(t, locktest.Harness{
		New: func(tb testing.TB) lock.Driver { return listening(tb, m.URL()) }, Wakes: true, Advance: m.Advance,
	})
}

func TestLockOutlivesAShortTTLAndIsLostWithTheServer(t *testing.T) {
	s := servertest.Valkey(t)
	locker, err := lock.New(open(t, s.URL()), &lock.Options{TTL: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer locker.Close()
	lease, err := locker.Acquire(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-lease.Context().Done():
		t.Fatalf("lost while the server is well: %v", context.Cause(lease.Context()))
	case <-time.After(time.Second): // three TTLs
	}
	s.Kill()
	select {
	case <-lease.Context().Done():
	case <-time.After(3 * time.Second):
		t.Fatal("not lost 3s after the server's end, with a TTL of 300ms")
	}
	if cause := context.Cause(lease.Context()); !errors.Is(cause, lock.ErrLost) {
		t.Errorf("cause = %v, want ErrLost", cause)
	}
	if err := lease.Release(t.Context()); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Release = %v, want ErrUnavailable", err)
	}
}

func TestBadOptions(t *testing.T) {
	for field, opts := range map[string]valkeylock.Options{
		"Options.Namespace": {Namespace: "a:b"}, "Options.Timeout": {Timeout: -1},
	} {
		if _, err := valkeylock.Open("valkey://localhost", &opts); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("Open = %v, want an error naming %s", err, field)
		}
	}
	if _, err := valkeylock.New(nil, nil); err == nil {
		t.Error("New(nil) = nil, want an error")
	}
}
