package valkeystore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"
	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/internal/fleettest"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeyconn"
)

func TestMain(m *testing.M) {
	fleettest.RunIfChild()
	// A cluster's client asks for the topology a second after an error, and closes
	// the connections to nodes that are gone after five, whether it is closed or not.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*clusterClient).redirectOrNew.func1"))
}

// telling opens a store that is ready to wake, and learns of changes in this way.
func telling(tb testing.TB, url, namespace string, mode backend.CoherenceMode) *valkeystore.Store {
	tb.Helper()
	s, err := valkeystore.Open(url, &valkeystore.Options{Namespace: namespace, Coherence: mode})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	if m := s.Listen(tb.Context()); m != backend.WakeLive {
		tb.Fatalf("Listen = %q, want %q", m, backend.WakeLive)
	}
	return s
}

// listening opens a store that is ready to wake.
func listening(tb testing.TB, url, namespace string) *valkeystore.Store {
	tb.Helper()
	s := open(tb, url, namespace)
	if m := s.Listen(tb.Context()); m != backend.WakeLive {
		tb.Fatalf("Listen = %q, want %q", m, backend.WakeLive)
	}
	return s
}

func open(tb testing.TB, url, namespace string) *valkeystore.Store {
	tb.Helper()
	s, err := valkeystore.Open(url, &valkeystore.Options{Namespace: namespace})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// namespace gives each case one of its own, so that a store is empty.
func namespace(tb testing.TB) string {
	return strings.NewReplacer("/", ".", "#", ".").Replace(tb.Name())
}

func TestConformanceValkey(t *testing.T) {
	url := servertest.Valkey(t).URL()
	backendtest.RunStore(t, backendtest.StoreHarness{
		New:    func(tb testing.TB) backend.Store { return listening(tb, url, namespace(tb)) },
		Leases: true, Clock: true, Wakes: true, Multi: true, Swaps: true, Tags: true,
		Peer: func(tb testing.TB, _ backend.Store) backend.Store { return listening(tb, url, namespace(tb)) },
	})
}

func TestConformanceMini(t *testing.T) {
	m := servertest.Mini(t)
	backendtest.RunStore(t, backendtest.StoreHarness{
		New:    func(tb testing.TB) backend.Store { return listening(tb, m.URL(), namespace(tb)) },
		Leases: true, Clock: true, Wakes: true, Multi: true, Swaps: true, Advance: m.Advance, Tags: true,
		Peer: func(tb testing.TB, _ backend.Store) backend.Store { return listening(tb, m.URL(), namespace(tb)) },
	})
}

// TestConformanceBorrowedClient: the user's own client, with the settings that
// New asks for.
func TestConformanceBorrowedClient(t *testing.T) {
	opt, err := valkeyconn.Options(servertest.Mini(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	client, err := valkey.NewClient(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, err := valkeystore.New(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
		t.Error(err)
	}
	_ = s.Close()
	if err := client.Do(t.Context(), client.B().Ping().Build()).Error(); err != nil {
		t.Errorf("the store closed a client it was handed: %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, tc := range []struct {
		field string
		opts  valkeystore.Options
	}{
		{"Options.Namespace", valkeystore.Options{Namespace: "a:b"}},
		{"Options.Namespace", valkeystore.Options{Namespace: "a{b"}},
		{"Options.MaxValue", valkeystore.Options{MaxValue: -1}},
	} {
		if _, err := valkeystore.Open("valkey://localhost", &tc.opts); err == nil || !strings.Contains(err.Error(), tc.field) {
			t.Errorf("Open(%+v) = %v, want an error naming %s", tc.opts, err, tc.field)
		}
	}
	if _, err := valkeystore.New(nil, nil); err == nil {
		t.Error("New(nil) = nil, want an error")
	}
}

func TestValuesAreBounded(t *testing.T) {
	url := servertest.Mini(t).URL()
	big := open(t, url, "n")
	small, err := valkeystore.Open(url, &valkeystore.Options{Namespace: "n", MaxValue: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	if err := small.Set(t.Context(), "k", make([]byte, 11), time.Minute); !errors.Is(err, valkeystore.ErrTooLarge) {
		t.Errorf("Set = %v, want ErrTooLarge", err)
	}
	if err := big.Set(t.Context(), "k", make([]byte, 11), time.Minute); err != nil {
		t.Fatal(err)
	}
	if v, err := small.Get(t.Context(), "k"); err != nil || len(v) != 10 {
		t.Errorf("Get = %d bytes, %v, want 10: cut, so that it is taken for no entry", len(v), err)
	}
	if r, err := small.Lease(t.Context(), "k", backend.LeaseRequest{Token: strings.Repeat("0", 32), TTL: time.Second}); err != nil || len(r.Value) != 10 {
		t.Errorf("Lease = %d bytes, %v, want 10", len(r.Value), err)
	}
	if err := big.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	big.Listen(t.Context()) // else it names itself later, and that wakes
	small.Listen(t.Context())
	lease(t, big, "k", 1)
	rung := make(chan backend.Notice, 1)
	defer small.Watch("k", func(n backend.Notice) { rung <- n })()
	if r := lease(t, small, "k", 2); !r.Pushed {
		t.Fatalf("Lease = %+v, want its end to be told", r)
	}
	commit(t, big, "k", 1, "more than ten")
	if n := <-rung; len(n.Value) != 10 {
		t.Errorf("woken with %d bytes, want 10", len(n.Value))
	}
}

// TestManyReadsTogether goes through the batches.
func TestManyReadsTogether(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) string{
		"valkey": func(t *testing.T) string { return servertest.Valkey(t).URL() },
		"mini":   func(t *testing.T) string { return servertest.Mini(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			url := start(t)
			s := open(t, url, "batch")
			keys := []string{"a", "b", "c", "d", "e"}
			for _, k := range keys {
				if err := s.Set(t.Context(), k, []byte(k), time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			for g := range 100 {
				wg.Go(func() {
					for i := range 50 {
						k := keys[(g+i)%len(keys)]
						if v, err := s.Get(t.Context(), k); err != nil || string(v) != k {
							t.Errorf("Get(%s) = %q, %v", k, v, err)
						}
						if _, err := s.Get(t.Context(), "absent"); !errors.Is(err, backend.ErrMiss) {
							t.Errorf("Get(absent) = %v", err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestCallsEndWithTheirContextOnAHungServer(t *testing.T) {
	srv := servertest.Valkey(t)
	s := open(t, srv.URL(), "hung")
	if err := s.Set(t.Context(), "k", nil, time.Minute); err != nil {
		t.Fatal(err)
	}
	srv.Pause()
	defer srv.Resume()
	var wg sync.WaitGroup
	began := time.Now()
	for range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := s.Get(ctx, "k"); err == nil {
				t.Error("Get = nil from a hung server")
			}
		})
	}
	wg.Wait()
	if d := time.Since(began); d > 600*time.Millisecond {
		t.Errorf("200 calls with 100ms each took %v", d)
	}
}
