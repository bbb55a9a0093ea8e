package memcachedstore_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
	"github.com/bellwethercache/bellwether/backend/memcachedstore"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(tb testing.TB, namespace string, servers ...string) *memcachedstore.Store {
	tb.Helper()
	s, err := memcachedstore.Open(servers, &memcachedstore.Options{Namespace: namespace})
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

func TestConformance(t *testing.T) {
	addr := servertest.Memcached(t).Addr()
	backendtest.RunStore(t, backendtest.StoreHarness{
		New:    func(tb testing.TB) backend.Store { return open(tb, namespace(tb), addr) },
		Leases: true, Multi: true, Swaps: true,
	})
}

func TestBadArguments(t *testing.T) {
	one := []string{"localhost:11211"}
	for _, tc := range []struct {
		field   string
		servers []string
		opts    memcachedstore.Options
	}{
		{"servers", nil, memcachedstore.Options{}},
		{"servers[1]", []string{"localhost:11211", "localhost"}, memcachedstore.Options{}},
		{"Options.Namespace", one, memcachedstore.Options{Namespace: "a:b"}},
		{"Options.Namespace", one, memcachedstore.Options{Namespace: "a b"}},
		{"Options.Namespace", one, memcachedstore.Options{Namespace: strings.Repeat("a", 129)}},
		{"Options.MaxValue", one, memcachedstore.Options{MaxValue: -1}},
		{"Options.Timeout", one, memcachedstore.Options{Timeout: -1}},
		{"Options.MaxConns", one, memcachedstore.Options{MaxConns: -1}},
	} {
		if _, err := memcachedstore.Open(tc.servers, &tc.opts); err == nil || !strings.Contains(err.Error(), tc.field) {
			t.Errorf("Open(%v, %+v) = %v, want an error naming %s", tc.servers, tc.opts, err, tc.field)
		}
	}
}
