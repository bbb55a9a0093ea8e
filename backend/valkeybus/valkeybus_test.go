package valkeybus_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"
	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
	"github.com/bellwethercache/bellwether/backend/memcachedstore"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/backend/valkeybus"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/fleettest"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeyconn"
	"github.com/bellwethercache/bellwether/tier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(tb testing.TB, url, namespace string) *valkeybus.Bus {
	tb.Helper()
	b, err := valkeybus.Open(url, &valkeybus.Options{Namespace: namespace})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = b.Close() })
	return b
}

func TestConformance(t *testing.T) {
	url := servertest.Valkey(t).URL()
	namespace := func(tb testing.TB) string { return strings.ReplaceAll(tb.Name(), "/", ".") }
	backendtest.RunBus(t, backendtest.BusHarness{
		New:  func(tb testing.TB) backend.Bus { return open(tb, url, namespace(tb)) },
		Peer: func(tb testing.TB, _ backend.Bus) backend.Bus { return open(tb, url, namespace(tb)) },
	})
}

func TestBadOptions(t *testing.T) {
	if _, err := valkeybus.Open("valkey://localhost", &valkeybus.Options{Namespace: "a:b"}); err == nil || !strings.Contains(err.Error(), "Options.Namespace") {
		t.Errorf("Open = %v, want an error naming Options.Namespace", err)
	}
	if _, err := valkeybus.Open("http://app:secret@localhost", nil); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Open = %v, want an error without the password", err)
	}
	if _, err := valkeybus.New(nil, nil); err == nil {
		t.Error("New(nil) succeeds")
	}
}

func TestBorrowedClientStaysOpen(t *testing.T) {
	opt, err := valkeyconn.Options(servertest.Valkey(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	c, err := valkey.NewClient(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := valkeybus.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), backend.Invalidation{Key: "k"}); err != nil {
		t.Error(err)
	}
	_ = b.Close()
	if err := c.Do(t.Context(), c.B().Ping().Build()).Error(); err != nil {
		t.Errorf("the bus closed a client it was handed: %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	b := open(t, "valkey://127.0.0.1:1", "n")
	if err := b.Publish(t.Context(), backend.Invalidation{Key: "k"}); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Publish = %v, want backend.ErrUnavailable", err)
	}
	if m := b.CoherenceMode(); m != backend.CoherenceDeaf {
		t.Errorf("CoherenceMode = %q, want %q", m, backend.CoherenceDeaf)
	}
}

// node is a process with memory over a store that tells nothing.
type node struct {
	*cache.Cache[string, int]
	t     *testing.T
	loads *atomic.Int64
}

func (n node) await(what string, ok func() bool) {
	n.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			n.t.Fatalf("not within 10s: %s", what)
		}
	}
}

func (n node) hears(mode backend.CoherenceMode) {
	n.t.Helper()
	n.await("CoherenceMode "+string(mode), func() bool { return n.Stats().Tiers[0].CoherenceMode == mode })
}

func (n node) serves(v int) {
	n.t.Helper()
	n.await("what another has set", func() bool {
		got, err := n.Get(n.t.Context(), "k")
		return err == nil && got == v
	})
}

func start(t *testing.T, memcached, url string, loads *atomic.Int64) node {
	t.Helper()
	store, err := memcachedstore.Open([]string{memcached}, nil)
	if err != nil {
		t.Fatal(err)
	}
	load := func(context.Context, string) (int, error) { return int(loads.Add(1)), nil }
	c, err := cache.New(load, nil, tier.Local(memstore.NewMemory(100), nil), tier.Remote(store, &tier.RemoteOptions{Bus: open(t, url, "n")}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	n := node{c, t, loads}
	n.hears(backend.CoherencePublish)
	return n
}

// TestMemoryOverMemcached: what one process sets, deletes, expires and loads anew
// reaches the memory of another.
func TestMemoryOverMemcached(t *testing.T) {
	memcached, url := servertest.Memcached(t).Addr(), servertest.Valkey(t).URL()
	loads := new(atomic.Int64)
	loads.Store(1000)
	a, b := start(t, memcached, url, loads), start(t, memcached, url, loads)
	ctx := t.Context()
	b.serves(1001)
	a.serves(1001)
	if err := a.Set(ctx, "k", 7); err != nil {
		t.Fatal(err)
	}
	b.serves(7)
	// News of b's load may have come during the Set, which then does not stay in memory.
	a.serves(7)
	before := a.Stats().Hits
	if v, err := a.Get(ctx, "k"); v != 7 || err != nil || a.Stats().Hits != before+1 {
		t.Errorf("Get = %d, %v, want it from memory", v, err)
	}
	if err := b.Delete(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	a.serves(1002)
	b.serves(1002)
	if err := a.Expire(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	b.serves(1003)
	a.serves(1003)
	if n := loads.Load(); n != 1003 {
		t.Errorf("%d loads, want 3", n-1000)
	}
}

// TestASilentBusIsNoticed: within two seconds, and what was in memory is dropped
// when it is heard again.
func TestASilentBusIsNoticed(t *testing.T) {
	memcached, srv := servertest.Memcached(t).Addr(), servertest.Valkey(t)
	proxy := fleettest.NewProxy(t, srv.Addr())
	loads := new(atomic.Int64)
	a, b := start(t, memcached, srv.URL(), loads), start(t, memcached, "valkey://"+proxy.Addr(), loads)
	b.serves(1)
	proxy.BlackHole(true)
	began := time.Now()
	if err := a.Set(t.Context(), "k", 7); err != nil {
		t.Fatal(err)
	}
	b.hears(backend.CoherenceDeaf)
	if d := time.Since(began); d > 2500*time.Millisecond {
		t.Errorf("deaf after %v, want at most 2s", d)
	}
	if v, err := b.Get(t.Context(), "k"); v != 1 || err != nil {
		t.Errorf("Get = %d, %v, want what there is in memory", v, err)
	}
	if err := b.Set(t.Context(), "other", 1); err == nil {
		t.Error("Set = nil, though nobody can be told of it")
	}
	proxy.BlackHole(false)
	b.hears(backend.CoherencePublish)
	b.serves(7)
}
