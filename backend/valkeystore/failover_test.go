package valkeystore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

// TestConformanceClusterWithReplicas is of three masters with a replica each,
// opened by URL.
func TestConformanceClusterWithReplicas(t *testing.T) {
	url := servertest.Cluster(t).URL()
	backendtest.RunStore(t, backendtest.StoreHarness{
		New:    func(tb testing.TB) backend.Store { return listening(tb, url, namespace(tb)) },
		Leases: true, Clock: true, Wakes: true, Multi: true, Swaps: true,
	})
}

func TestConformanceSentinel(t *testing.T) {
	url := servertest.Sentinel(t).URL()
	backendtest.RunStore(t, backendtest.StoreHarness{
		New:    func(tb testing.TB) backend.Store { return listening(tb, url, namespace(tb)) },
		Leases: true, Clock: true, Wakes: true, Multi: true, Swaps: true,
	})
}

// failovers runs test in each deployment that fails over.
func failovers(t *testing.T, key string, test func(t *testing.T, d *servertest.Deployment)) {
	l, err := valkeylease.NewLayout("n")
	if err != nil {
		t.Fatal(err)
	}
	servertest.InDeployments(t, l.Lease(key), test)
}

// soon is how long after a failover the store is used again at the latest.
const soon = 3 * time.Second

// again repeats op until it succeeds. Until the client has heard of a promotion
// its calls fail, and may do nothing else.
func again[T any](t *testing.T, limit time.Duration, what string, op func(ctx context.Context) (T, error)) T {
	t.Helper()
	began := time.Now()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		called := time.Now()
		v, err := op(ctx)
		cancel()
		if d := time.Since(called); d > 500*time.Millisecond {
			t.Errorf("%s took %v with a context of 0.1s", what, d)
		}
		if err == nil {
			t.Logf("%s: an answer after %v", what, time.Since(began).Round(time.Millisecond))
			return v
		}
		if time.Since(began) > limit {
			t.Fatalf("%s = %v, %v after the failover", what, err, limit)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestFailoverLosesWhatWasNotReplicated: the replica, cut off, knows neither the
// lease nor the fence that the master granted last. The next fence is higher
// all the same, and who holds the lost lease can write nothing over what came
// after it.
func TestFailoverLosesWhatWasNotReplicated(t *testing.T) {
	failovers(t, "k", func(t *testing.T, d *servertest.Deployment) {
		before, after := listening(t, d.URL, "n"), listening(t, d.URL, "n")
		first := lease(t, before, "k", 1)
		commit(t, before, "k", 1, "first")
		servertest.AwaitReplication(t, d.Master, d.Replica)
		cutOff(t, d)
		if err := before.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		lost := lease(t, before, "k", 2)
		if !lost.Won || lost.Fence <= first.Fence {
			t.Fatalf("Lease = %+v, want it won with a fence after %d", lost, first.Fence)
		}
		d.Master.Kill()
		d.AwaitPromotion()

		old := again(t, soon, "Get", func(ctx context.Context) ([]byte, error) { return after.Get(ctx, "k") })
		if string(old) != "first" {
			t.Errorf("Get = %q, want what the replica had: the Delete was lost", old)
		}
		again(t, soon, "Delete", func(ctx context.Context) (any, error) { return nil, after.Delete(ctx, "k") })
		next := again(t, soon, "Lease", func(ctx context.Context) (backend.LeaseReply, error) {
			return after.Lease(ctx, "k", backend.LeaseRequest{Token: token(3), TTL: time.Minute, Watch: true})
		})
		if !next.Won || next.Fence <= lost.Fence {
			t.Errorf("Lease = %+v, want it won with a fence after the lost one, %d", next, lost.Fence)
		}
		commitLate := func() {
			t.Helper()
			ok := again(t, soon, "Commit", func(ctx context.Context) (bool, error) {
				return before.Commit(ctx, "k", lost.Token, []byte("late"), time.Minute)
			})
			if ok {
				t.Error("Commit of the lost lease = true")
			}
		}
		commitLate()
		if ok, err := before.Renew(t.Context(), "k", lost.Token, time.Minute); ok || err != nil {
			t.Errorf("Renew of the lost lease = %t, %v", ok, err)
		}
		commit(t, after, "k", 3, "next")
		commitLate()
		if v, err := after.Get(t.Context(), "k"); string(v) != "next" || err != nil {
			t.Errorf("Get = %q, %v, want the later value", v, err)
		}
	})
}

// cutOff has the replica's connection to its master refused from now on. Those
// who are connected to the master stay so.
func cutOff(t *testing.T, d *servertest.Deployment) {
	t.Helper()
	if got := d.Master.Do("CONFIG SET requirepass secret\r\nCLIENT KILL TYPE replica"); got != "+OK" {
		t.Fatal(got)
	}
	for late := time.After(5 * time.Second); !strings.Contains(d.Replica.Do("INFO replication"), "master_link_status:down"); {
		select {
		case <-late:
			t.Fatal("the replica is not cut off")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestCallsInAFailoverFailAndDoNothingElse: no wrong value, no panic, no wait
// beyond the context.
func TestCallsInAFailoverFailAndDoNothingElse(t *testing.T) {
	failovers(t, "k0", func(t *testing.T, d *servertest.Deployment) {
		s := listening(t, d.URL, "n")
		const keys = 40 // on all masters
		for i := range keys {
			if err := s.Set(t.Context(), fmt.Sprint("k", i), fmt.Append(nil, i), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		servertest.AwaitReplication(t, d.Master, d.Replica)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		failed, longest := 0, time.Duration(0)
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				took, ok := readInAFailover(t, s, i%keys)
				longest = max(longest, took)
				if !ok {
					failed++
				}
			}
		})
		d.Master.Pause() // no connection breaks: it only does not answer any more
		d.AwaitPromotion()
		// Longer: the client may have begun to ask the silent master for its role.
		again(t, 2*soon, "Get", func(ctx context.Context) ([]byte, error) { return s.Get(ctx, "k0") })
		stop()
		wg.Wait()
		t.Logf("%d reads failed, the longest took %v", failed, longest)
		if longest > 500*time.Millisecond {
			t.Errorf("a read with a context of 50ms took %v", longest)
		}
		if failed == 0 {
			t.Error("no read failed: there was no outage")
		}
		for i := range keys {
			if _, ok := readInAFailover(t, s, i); !ok {
				t.Errorf("k%d cannot be read after the failover", i)
			}
		}
	})
}

// readInAFailover reads the key that holds i, in both ways, and reports whether
// it could.
func readInAFailover(t *testing.T, s *valkeystore.Store, i int) (longest time.Duration, ok bool) {
	key, want := fmt.Sprint("k", i), fmt.Sprint(i)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	v, err := s.Get(ctx, key)
	longest = time.Since(began)
	if errors.Is(err, backend.ErrMiss) || err == nil && string(v) != want {
		t.Errorf("Get(%s) = %q, %v, want its value or an outage", key, v, err)
	}
	began = time.Now()
	asks := []backend.LeaseAsk{{Key: key, LeaseRequest: backend.LeaseRequest{Token: token(1), TTL: time.Minute}}}
	a := s.LeaseMulti(ctx, asks)[0]
	if a.Err == nil && string(a.Value) != want {
		t.Errorf("LeaseMulti(%s) = %+v, want its value or an outage", key, a)
	}
	return max(longest, time.Since(began)), err == nil && a.Err == nil
}

// TestRights are those that the package's documentation names.
func TestRights(t *testing.T) {
	const rights = " reset on >pw ~n:* &n:p:* +get +set +del +append +pttl +pexpire +time +eval +evalsha +subscribe +unsubscribe +publish +pubsub"
	for name, tc := range map[string]struct {
		start func(t *testing.T) (url string, nodes []*servertest.Server)
		more  string
	}{
		"cluster": {func(t *testing.T) (string, []*servertest.Server) {
			c := servertest.Cluster(t)
			return c.URL(), c.Nodes
		}, " +cluster|shards +cluster|slots"},
		"sentinel": {func(t *testing.T) (string, []*servertest.Server) {
			s := servertest.Sentinel(t)
			return s.URL(), s.Nodes
		}, " +role"},
	} {
		t.Run(name, func(t *testing.T) {
			url, nodes := tc.start(t)
			for _, n := range nodes {
				if got := n.Do("ACL SETUSER app" + rights + tc.more); got != "+OK" {
					t.Fatal(got)
				}
			}
			s := listening(t, strings.Replace(url, "://", "://app:pw@", 1), "n")
			lease(t, s, "k", 1)
			commit(t, s, "k", 1, "v")
			if v, err := s.Get(t.Context(), "k"); string(v) != "v" || err != nil {
				t.Errorf("Get = %q, %v", v, err)
			}
		})
	}
}
