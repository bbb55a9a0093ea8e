package valkeystore_test

import (
	"testing"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

// TestConformanceRedis: nothing here needs what only Valkey has.
func TestConformanceRedis(t *testing.T) {
	url := servertest.Redis(t).URL()
	backendtest.RunStore(t, backendtest.StoreHarness{
		New:    func(tb testing.TB) backend.Store { return listening(tb, url, namespace(tb)) },
		Leases: true, Clock: true, Wakes: true, Multi: true, Swaps: true, Tags: true,
		Peer: func(tb testing.TB, _ backend.Store) backend.Store { return listening(tb, url, namespace(tb)) },
	})
}

// TestConformanceRedisDeployments is of a cluster with replicas and of Sentinels,
// in each mode, and of a failover afterwards.
func TestConformanceRedisDeployments(t *testing.T) {
	l, err := valkeylease.NewLayout("n")
	if err != nil {
		t.Fatal(err)
	}
	servertest.InRedisDeployments(t, l.Lease("k"), func(t *testing.T, d *servertest.Deployment) {
		for _, mode := range append([]backend.CoherenceMode{backend.CoherencePublish}, tracking...) {
			t.Run(string(mode), func(t *testing.T) {
				open := func(tb testing.TB) backend.Store { return telling(tb, d.URL, namespace(tb), mode) }
				byMessages := mode == backend.CoherencePublish
				backendtest.RunStore(t, backendtest.StoreHarness{
					New: open, Peer: func(tb testing.TB, _ backend.Store) backend.Store { return open(tb) },
					Leases: byMessages, Wakes: byMessages, Multi: byMessages, Clock: byMessages, Swaps: true, Tags: true,
				})
			})
		}
		t.Run("failover", func(t *testing.T) { failsOver(t, d, backend.CoherenceKeys) })
	})
}
