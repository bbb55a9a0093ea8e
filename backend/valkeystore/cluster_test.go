package valkeystore_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeyconn"
)

// cluster starts two primaries that share the slots.
func cluster(t *testing.T) (a, b *servertest.Server) {
	t.Helper()
	args := []string{"--cluster-enabled", "yes", "--cluster-node-timeout", "1000"}
	a, b = servertest.Valkey(t, args...), servertest.Valkey(t, args...)
	a.Do("CLUSTER ADDSLOTSRANGE 0 8191")
	b.Do("CLUSTER ADDSLOTSRANGE 8192 16383")
	host, port, err := net.SplitHostPort(b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	a.Do("CLUSTER MEET " + host + " " + port)
	for _, url := range []string{a.URL(), b.URL()} {
		c := admin(t, url)
		for deadline := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
			info, _ := c.Do(t.Context(), c.B().ClusterInfo().Build()).ToString()
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:2") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("no cluster: %s", info)
			}
		}
	}
	return a, b
}

func openCluster(tb testing.TB, url, namespace string) *valkeystore.Store {
	tb.Helper()
	opt, err := valkeyconn.Options(url)
	if err != nil {
		tb.Fatal(err)
	}
	opt.ForceSingleClient = false
	client, err := valkey.NewClient(opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.Close)
	if m := client.Mode(); m != valkey.ClientModeCluster {
		tb.Fatalf("client in mode %v, want a cluster's", m)
	}
	s, err := valkeystore.New(client, &valkeystore.Options{Namespace: namespace})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	if m := s.Listen(tb.Context()); m != backend.WakeLive {
		tb.Fatalf("Listen = %q, want %q", m, backend.WakeLive)
	}
	return s
}

func TestConformanceCluster(t *testing.T) {
	a, b := cluster(t)
	backendtest.RunStore(t, backendtest.StoreHarness{
		New:    func(tb testing.TB) backend.Store { return openCluster(tb, a.URL(), namespace(tb)) },
		Leases: true, Clock: true, Wakes: true, Multi: true, Swaps: true, Tags: true,
		Peer: func(tb testing.TB, _ backend.Store) backend.Store { return openCluster(tb, a.URL(), namespace(tb)) },
	})
	t.Run("one node without scripts", func(t *testing.T) {
		s := openCluster(t, a.URL(), "n")
		var asks []backend.LeaseAsk
		for i := range 50 {
			key := fmt.Sprint(i)
			if err := s.Set(t.Context(), key, []byte(key), time.Minute); err != nil {
				t.Fatal(err)
			}
			asks = append(asks, backend.LeaseAsk{Key: key, LeaseRequest: backend.LeaseRequest{Token: token(1), TTL: time.Minute}})
		}
		s.LeaseMulti(t.Context(), asks)
		b.Do("SCRIPT FLUSH SYNC")
		for i, x := range s.LeaseMulti(t.Context(), asks) {
			if x.Err != nil || string(x.Value) != asks[i].Key {
				t.Errorf("answer %d = %q, %v, want the value of its key", i, x.Value, x.Err)
			}
		}
	})
}

// A holder is seen to be gone whichever node its lease is on: it is subscribed at
// each.
func TestTakeoverInACluster(t *testing.T) {
	a, _ := cluster(t)
	gone, alive := openCluster(t, a.URL(), "n"), openCluster(t, a.URL(), "n")
	waiter := openCluster(t, a.URL(), "n")
	const keys = 8 // on both nodes, but for one chance in 128
	woken := make(chan string, 4*keys)
	ask := func(s *valkeystore.Store, key string, n int) backend.LeaseReply {
		t.Helper()
		r, err := s.Lease(t.Context(), key, backend.LeaseRequest{Token: token(n), TTL: time.Minute, Watch: true})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for i := range keys {
		key := fmt.Sprint("k", i)
		if r := ask(gone, key, 1); !r.Won {
			t.Fatalf("Lease = %+v, want it won", r)
		}
		t.Cleanup(waiter.Watch(key, func(backend.Notice) { woken <- key }))
		if r := ask(waiter, key, 2); r.Won || !r.Pushed {
			t.Fatalf("Lease = %+v, want it held, its end to be told", r)
		}
	}
	ask(alive, "other", 3)
	t.Cleanup(waiter.Watch("other", func(backend.Notice) { woken <- "other" }))
	ask(waiter, "other", 4)

	_ = gone.Close() // to the servers that is how a death looks
	began := time.Now()
	for left := keys; left > 0; {
		select {
		case key := <-woken:
			if key == "other" {
				t.Fatal("woken though the holder lives")
			}
			if r := ask(waiter, key, 2); r.Won && r.TookOver {
				left--
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%d leases of a dead holder are left", left)
		}
	}
	t.Logf("all taken over after %v", time.Since(began))
	if r := ask(waiter, "other", 4); r.Won {
		t.Errorf("Lease = %+v, want that of a living holder left alone", r)
	}
}
