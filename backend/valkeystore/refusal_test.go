package valkeystore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
	"github.com/bellwethercache/bellwether/tier"
)

// cached is a cache on the store alone, whose loads say so.
func cached(t *testing.T, s backend.Store) *cache.Cache[string, string] {
	t.Helper()
	c, err := cache.New(func(_ context.Context, key string) (string, error) { return "loaded " + key, nil },
		&cache.Options[string, string]{}, tier.Remote(s, nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestWhatServersSayInAFailover costs a load, and nothing else.
func TestWhatServersSayInAFailover(t *testing.T) {
	for _, scheme := range []string{"valkey", "valkey+cluster"} {
		for _, word := range []string{
			"MOVED 1 127.0.0.1:1", "MOVED 1 SELF", "ASK 1 127.0.0.1:1", "TRYAGAIN Multiple keys request during rehashing of slot",
			"LOADING the dataset in memory", "READONLY You can't write against a read only replica.", "CLUSTERDOWN The cluster is down",
			"MASTERDOWN Link with MASTER is down", "NOREPLICAS Not enough good replicas to write.",
		} {
			t.Run(scheme+" "+strings.Fields(word)[0], func(t *testing.T) {
				m := servertest.Mini(t)
				s, err := valkeystore.Open(strings.Replace(m.URL(), "valkey", scheme, 1), &valkeystore.Options{Namespace: "n", NoPush: true})
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Set(t.Context(), "before", []byte("value"), time.Minute); err != nil {
					t.Fatal(err)
				}
				c := cached(t, s)
				m.SetError(strings.Replace(word, "SELF", m.Addr(), 1))
				began := time.Now()
				if v, err := c.Get(t.Context(), "k"); v != "loaded k" || err != nil {
					t.Errorf("Get = %q, %v, want the load's value", v, err)
				}
				if d := time.Since(began); d > time.Second {
					t.Errorf("Get took %v", d)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				if r, err := s.Lease(ctx, "before", backend.LeaseRequest{Token: token(1), TTL: time.Minute}); err == nil || errors.Is(err, backend.ErrMiss) {
					t.Errorf("Lease = %+v, %v, want it to fail", r, err)
				}
				if v, err := s.Get(ctx, "before"); err == nil || errors.Is(err, backend.ErrMiss) {
					t.Errorf("Get = %q, %v, want it to fail", v, err)
				}
				m.SetError("")
				if v, err := s.Get(t.Context(), "before"); err != nil || string(v) != "value" {
					t.Errorf("Get = %q, %v once all is well", v, err)
				}
			})
		}
	}
}

// TestAReplicaIsRead: whoever is left on a master that was demoted reads what it
// has, and loads what it has not.
func TestAReplicaIsRead(t *testing.T) {
	d := servertest.Sentinel(t)
	if err := listening(t, d.URL(), "n").Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
		t.Fatal(err)
	}
	servertest.AwaitReplication(t, d.Nodes[0], d.Nodes[1])
	s := open(t, d.Nodes[1].URL(), "n")
	if r := lease(t, s, "k", 1); string(r.Value) != "v" {
		t.Errorf("Lease = %+v at a replica, want the value", r)
	}
	_, err := s.Lease(t.Context(), "cold", backend.LeaseRequest{Token: token(1), TTL: time.Minute})
	if e := new(valkeylease.ServerError); !errors.As(err, &e) || e.Code != "READONLY" {
		t.Errorf("Lease = %v at a replica, want READONLY", err)
	}
	if v, err := cached(t, s).Get(t.Context(), "cold"); v != "loaded cold" || err != nil {
		t.Errorf("Get = %q, %v, want the load's value", v, err)
	}
}

// TestASlotMoves: while it does, what is there can be read and what is not is
// loaded, though no script can run.
func TestASlotMoves(t *testing.T) {
	c := servertest.Cluster(t)
	layout, err := valkeylease.NewLayout("n")
	if err != nil {
		t.Fatal(err)
	}
	s := listening(t, c.URL(), "n")
	if _, err := cached(t, s).Get(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	value := layout.Value("k")
	from := c.Master(value)
	to := c.Nodes[0]
	if to == from {
		to = c.Nodes[1]
	}
	c.Move(value, from, to)
	for _, where := range []string{"source", "target"} {
		if v, err := cached(t, s).Get(t.Context(), "k"); v != "loaded k" || err != nil {
			t.Errorf("Get = %q, %v with the value still at the %s", v, err, where)
		}
		r, err := s.Lease(t.Context(), "k", backend.LeaseRequest{Token: token(1), TTL: time.Minute})
		if err != nil || r.Value == nil {
			t.Errorf("Lease = %+v, %v, want the value at the %s", r, err, where)
		}
		r, err = s.Lease(t.Context(), "k", backend.LeaseRequest{Token: token(1), TTL: time.Minute, Rejected: r.Value})
		if err == nil && r.Value != nil {
			t.Errorf("Lease = %+v, want nothing of what was rejected", r)
		}
		a := s.LeaseMulti(t.Context(), []backend.LeaseAsk{{Key: "k", LeaseRequest: backend.LeaseRequest{Token: token(1), TTL: time.Minute}}})[0]
		if a.Err != nil || a.Value == nil {
			t.Errorf("LeaseMulti = %+v, want the value at the %s", a, where)
		}
		c.MoveKey(value, from, to)
	}
	c.MoveKey(layout.Keys("k").Fence, from, to)
	c.Moved(value, to)
	again(t, soon, "Delete", func(ctx context.Context) (any, error) { return nil, s.Delete(ctx, "k") })
	if r := lease(t, s, "k", 2); !r.Won {
		t.Errorf("Lease = %+v after the move, want it won", r)
	}
}
