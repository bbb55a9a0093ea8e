package valkeystore_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/internal/fleettest"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

var tracking = []backend.CoherenceMode{backend.CoherencePrefix, backend.CoherenceKeys}

func TestConformanceTracking(t *testing.T) {
	url := servertest.Valkey(t).URL()
	for _, mode := range tracking {
		t.Run(string(mode), func(t *testing.T) {
			backendtest.RunStore(t, backendtest.StoreHarness{
				New:    func(tb testing.TB) backend.Store { return telling(tb, url, namespace(tb), mode) },
				Leases: true, Clock: true, Multi: true, Swaps: true, Tags: true,
				Wakes: mode != backend.CoherenceKeys, // see TestTrackedByKeyWakesCarryNoValue
				Peer:  func(tb testing.TB, _ backend.Store) backend.Store { return telling(tb, url, namespace(tb), mode) },
			})
		})
	}
}

// TestConformancePrefixRedis: tracking is none of Valkey's alone.
func TestConformancePrefixRedis(t *testing.T) {
	url := servertest.Redis(t).URL()
	backendtest.RunStore(t, backendtest.StoreHarness{
		New: func(tb testing.TB) backend.Store { return telling(tb, url, namespace(tb), backend.CoherencePrefix) },
		Peer: func(tb testing.TB, _ backend.Store) backend.Store {
			return telling(tb, url, namespace(tb), backend.CoherencePrefix)
		},
		Swaps: true, Tags: true, // leases are no matter of tracking
	})
}

// TestTrackedByKeyWakesCarryNoValue: who takes a value that he has not read would
// not be told of its next change.
func TestTrackedByKeyWakesCarryNoValue(t *testing.T) {
	url := servertest.Valkey(t).URL()
	s, p := telling(t, url, "n", backend.CoherenceKeys), telling(t, url, "n", backend.CoherencePublish)
	lease(t, p, "k", 1)
	rung := make(chan backend.Notice, 10)
	defer s.Watch("k", func(n backend.Notice) { rung <- n })()
	lease(t, s, "k", 2)
	commit(t, p, "k", 1, "value")
	if n := <-rung; n.Value != nil {
		t.Errorf("woken with %q, want to have to look", n.Value)
	}
}

// TestTrackedByKeyNobodyElseIsTold: a change of what nobody has read costs the server
// its own reply, and one's own is not told.
func TestTrackedByKeyNobodyElseIsTold(t *testing.T) {
	srv := servertest.Valkey(t)
	s, p := telling(t, srv.URL(), "n", backend.CoherenceKeys), telling(t, srv.URL(), "n", backend.CoherenceKeys)
	own, other := hear(t, s), hear(t, p)
	set := func() {
		if err := s.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	set() // after it the server knows the script
	before := srv.Usage()
	const sets = 50
	for range sets {
		set()
	}
	u := srv.Usage().Since(before)
	if want := int64(sets * len(":1\r\n")); u.Out != want || u.Commands["evalsha"] != sets {
		t.Errorf("%d Sets have the server send %d bytes, want %d: %v", sets, u.Out, want, u.Commands)
	}
	for len(own.news)+len(other.news) > 0 {
		select {
		case inv := <-own.news:
			t.Errorf("told of one's own change: %+v", inv)
		case inv := <-other.news:
			t.Errorf("told of what was not read: %+v", inv)
		}
	}
}

// heard hears of changes. It fails the test if what is awaited does not come.
type heard struct {
	t    *testing.T
	news chan backend.Invalidation
}

func hear(t *testing.T, i backend.Invalidator) *heard {
	h := &heard{t, make(chan backend.Invalidation, 1000)}
	t.Cleanup(i.Invalidations(backend.Interest{Keys: true, Tags: true}, func(inv backend.Invalidation) { h.news <- inv }))
	h.await("Heard", 10*time.Second, is(backend.Heard))
	return h
}

func is(kind backend.InvalidationKind) func(backend.Invalidation) bool {
	return func(inv backend.Invalidation) bool { return inv.Kind == kind }
}

// key is a change of a key.
func key(name string) func(backend.Invalidation) bool {
	return func(inv backend.Invalidation) bool { return inv.Kind == backend.KeyChanged && inv.Key == name }
}

// await waits for an invalidation, and forgets those before it.
func (h *heard) await(what string, limit time.Duration, is func(backend.Invalidation) bool) (took time.Duration) {
	h.t.Helper()
	began := time.Now()
	end := time.NewTimer(limit)
	defer end.Stop()
	for {
		select {
		case inv := <-h.news:
			if is(inv) {
				return time.Since(began)
			}
		case <-end.C:
			h.t.Fatalf("not told within %v: %s", limit, what)
		}
	}
}

// TestTrackingRefused: without the right, or without RESP3, changes are told by
// messages, and CoherenceMode says so.
func TestTrackingRefused(t *testing.T) {
	srv := servertest.Valkey(t)
	srv.Do("ACL SETUSER plain on >pw ~* &* +@all -client|tracking")
	u, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("plain", "pw")
	for _, mode := range tracking {
		s, p := telling(t, u.String(), "n", mode), telling(t, srv.URL(), "n", mode)
		h := hear(t, s)
		if m := s.CoherenceMode(); m != backend.CoherencePublish {
			t.Errorf("%s: CoherenceMode = %q, want %q", mode, m, backend.CoherencePublish)
		}
		if err := p.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
		h.await("a change", 10*time.Second, func(inv backend.Invalidation) bool { return key("k")(inv) && string(inv.Head) == "v" })
	}
}

// TestMixedModes: processes need not agree on how they learn of changes.
func TestMixedModes(t *testing.T) {
	url := servertest.Valkey(t).URL()
	modes := append([]backend.CoherenceMode{backend.CoherencePublish}, tracking...)
	long := "sha256-" + strings.Repeat("f", 64) // as a long one's hash looks
	var ears []*heard
	var stores []*valkeystore.Store
	for _, mode := range modes {
		s := telling(t, url, "n", mode)
		stores, ears = append(stores, s), append(ears, hear(t, s))
		if m := s.CoherenceMode(); m != mode {
			t.Errorf("CoherenceMode = %q, want %q", m, mode)
		}
	}
	for i, writer := range stores {
		for _, k := range []string{"k", long} {
			for _, s := range stores {
				_, _ = s.Get(t.Context(), k)
			}
			if err := writer.Set(t.Context(), k, []byte(modes[i]), time.Minute); err != nil {
				t.Fatal(err)
			}
			for j, h := range ears {
				if j != i {
					h.await(string(modes[j])+" of what "+string(modes[i])+" has written", 10*time.Second, key(k))
				}
			}
		}
	}
}

// TestTrackingLost: a flush of the server, and the loss of connections, begin
// hearing anew.
func TestTrackingLost(t *testing.T) {
	for _, mode := range tracking {
		srv := servertest.Valkey(t)
		s := telling(t, srv.URL(), "n", mode)
		h := hear(t, s)
		if err := s.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
		srv.FlushAll()
		h.await(string(mode)+": a flush", 10*time.Second, is(backend.Heard))
		srv.Do("CLIENT KILL TYPE normal SKIPME yes")
		srv.Do("CLIENT KILL TYPE pubsub")
		h.await(string(mode)+": hearing to begin anew", 10*time.Second, is(backend.Heard))
	}
}

// TestASilentConnectionIsNoticed: within two seconds, though nothing resets it,
// and when it is heard again hearing begins anew.
func TestASilentConnectionIsNoticed(t *testing.T) {
	srv := servertest.Valkey(t)
	for _, mode := range append([]backend.CoherenceMode{backend.CoherencePublish}, tracking...) {
		proxy := fleettest.NewProxy(t, srv.Addr())
		s := telling(t, "valkey://"+proxy.Addr(), "n", mode)
		h := hear(t, s)
		proxy.BlackHole(true)
		h.await(string(mode)+": Deaf", 2*time.Second+slack, is(backend.Deaf))
		if m := s.CoherenceMode(); m != backend.CoherenceDeaf {
			t.Errorf("%s: CoherenceMode = %q, want %q", mode, m, backend.CoherenceDeaf)
		}
		proxy.BlackHole(false)
		h.await(string(mode)+": Heard", 10*time.Second, is(backend.Heard))
	}
}

// slack is what a busy machine may add to a bound.
const slack = 500 * time.Millisecond

func TestCoherenceOptions(t *testing.T) {
	if _, err := valkeystore.Open("valkey://localhost", &valkeystore.Options{Coherence: "gossip"}); err == nil || !strings.Contains(err.Error(), "Options.Coherence") {
		t.Errorf("Open = %v, want an error naming Options.Coherence", err)
	}
	srv := servertest.Valkey(t)
	c := admin(t, srv.URL())
	if _, err := valkeystore.New(c, &valkeystore.Options{Coherence: backend.CoherenceKeys}); err == nil || !strings.Contains(err.Error(), "Open") {
		t.Errorf("New = %v, want an error that says what to do", err)
	}
	s := telling(t, srv.URL(), "n", backend.CoherenceOff)
	defer s.Invalidations(backend.Interest{Keys: true}, func(inv backend.Invalidation) { t.Errorf("told %+v", inv) })()
	if m := s.CoherenceMode(); m != backend.CoherenceOff {
		t.Errorf("CoherenceMode = %q, want %q", m, backend.CoherenceOff)
	}
	if err := telling(t, srv.URL(), "n", "").Set(context.Background(), "k", nil, time.Minute); err != nil {
		t.Error(err)
	}
}
