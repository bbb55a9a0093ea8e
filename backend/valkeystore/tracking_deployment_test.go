package valkeystore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

func TestConformanceTrackingInDeployments(t *testing.T) {
	for name, url := range map[string]string{"cluster": servertest.Cluster(t).URL(), "sentinel": servertest.Sentinel(t).URL()} {
		for _, mode := range tracking {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				open := func(tb testing.TB) backend.Store { return telling(tb, url, namespace(tb), mode) }
				backendtest.RunStore(t, backendtest.StoreHarness{
					New: open, Peer: func(tb testing.TB, _ backend.Store) backend.Store { return open(tb) },
					Swaps: true, Tags: true, // leases are no matter of tracking
				})
			})
		}
	}
}

// TestTrackedOnAllMasters: what is read by any of the client's connections, one key
// at a time or in batches, is told of, on whichever master it is.
func TestTrackedOnAllMasters(t *testing.T) {
	url := servertest.Cluster(t).URL()
	for _, mode := range tracking {
		s, p := telling(t, url, "n", mode), telling(t, url, "n", backend.CoherencePublish)
		h := hear(t, s)
		if m := s.CoherenceMode(); m != mode {
			t.Errorf("CoherenceMode = %q, want %q", m, mode)
		}
		const keys = 60 // on all masters, and by all connections to each
		name := func(i int) string { return fmt.Sprint(mode, i) }
		var asks []backend.LeaseAsk
		for i := range keys {
			if err := p.Set(t.Context(), name(i), []byte("old"), time.Minute); err != nil {
				t.Fatal(err)
			}
			asks = append(asks, backend.LeaseAsk{Key: name(i), LeaseRequest: backend.LeaseRequest{Token: token(1), TTL: time.Minute}})
		}
		for round, read := range []func(){
			func() {
				for i := range keys {
					look(t, s, name(i))
				}
			},
			func() {
				for i, a := range s.LeaseMulti(t.Context(), asks) {
					if a.Err != nil || a.Value == nil {
						t.Fatalf("answer %d = %+v", i, a)
					}
				}
			},
			func() {
				for _, a := range asks {
					if r, err := s.Lease(t.Context(), a.Key, a.LeaseRequest); err != nil || r.Value == nil {
						t.Fatalf("Lease = %+v, %v", r, err)
					}
				}
			},
		} {
			read()
			for i := range keys {
				if err := p.Set(t.Context(), name(i), fmt.Append(nil, round), time.Minute); err != nil {
					t.Fatal(err)
				}
				h.await(fmt.Sprintf("%s: round %d, key %d", mode, round, i), 5*time.Second, key(name(i)))
			}
		}
	}
}

func look(t *testing.T, s backend.Store, key string) {
	t.Helper()
	if _, err := s.Get(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// TestTrackingSurvivesAFailover: who hears is deaf from the master's death on, in a
// cluster too, where the others do not pass on what the server tells by itself;
// hears, which drops what was in memory, once the new master tells; and hears
// what changes there.
func TestTrackingSurvivesAFailover(t *testing.T) {
	for _, mode := range tracking {
		t.Run(string(mode), func(t *testing.T) {
			failovers(t, "k", func(t *testing.T, d *servertest.Deployment) { failsOver(t, d, mode) })
		})
	}
}

// failsOver kills the master of k.
func failsOver(t *testing.T, d *servertest.Deployment, mode backend.CoherenceMode) {
	s, p := telling(t, d.URL, "n", mode), telling(t, d.URL, "n", mode)
	h := hear(t, s)
	if err := p.Set(t.Context(), "k", []byte("old"), time.Hour); err != nil {
		t.Fatal(err)
	}
	look(t, s, "k")
	servertest.AwaitReplication(t, d.Master, d.Replica)
	d.Master.Kill()
	h.await("Deaf", 5*time.Second, is(backend.Deaf))
	if m := s.CoherenceMode(); m != backend.CoherenceDeaf {
		t.Errorf("CoherenceMode = %q with the master dead, want %q", m, backend.CoherenceDeaf)
	}
	d.AwaitPromotion()
	h.await("Heard", 2*soon, is(backend.Heard))
	if m := s.CoherenceMode(); m != mode {
		t.Errorf("CoherenceMode = %q after the failover, want %q", m, mode)
	}
	again(t, soon, "Get", func(ctx context.Context) ([]byte, error) { return s.Get(ctx, "k") })
	for i := range 20 { // whichever connection it is
		again(t, soon, "Set", func(ctx context.Context) (any, error) {
			return nil, p.Set(ctx, "k", fmt.Append(nil, "new ", i), time.Hour)
		})
		h.await("a change at the new master", 5*time.Second, key("k"))
		look(t, s, "k")
	}
}
