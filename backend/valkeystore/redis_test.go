package valkeystore_test

import (
	"testing"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
	"github.com/bellwethercache/bellwether/internal/servertest"
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
