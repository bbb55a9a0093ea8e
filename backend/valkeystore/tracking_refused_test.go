package valkeystore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

// firstCalls are what a store may be asked first once a server refuses to track.
var firstCalls = map[string]func(t *testing.T, s *valkeystore.Store){
	"nothing": func(*testing.T, *valkeystore.Store) {},
	"get": func(t *testing.T, s *valkeystore.Store) {
		if _, err := s.Get(t.Context(), "k"); err != nil {
			t.Errorf("Get = %v", err)
		}
	},
	"set": func(t *testing.T, s *valkeystore.Store) {
		if err := s.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
			t.Errorf("Set = %v", err)
		}
	},
	"many": func(t *testing.T, s *valkeystore.Store) {
		var asks []backend.LeaseAsk
		for _, k := range []string{"k", "a", "b", "c", "d", "e", "f"} {
			asks = append(asks, backend.LeaseAsk{Key: k, LeaseRequest: backend.LeaseRequest{Token: token(1), TTL: time.Minute}})
		}
		for _, a := range s.LeaseMulti(t.Context(), asks) {
			if a.Err != nil {
				t.Errorf("LeaseMulti = %v", a.Err)
			}
		}
	},
}

// revoke takes the right to track, and the connections that have used it.
func revoke(t *testing.T, srv *servertest.Server) {
	t.Helper()
	if got := srv.Do("ACL SETUSER default -client|tracking"); got != "+OK" {
		t.Fatal(got)
	}
	srv.Do("CLIENT KILL TYPE pubsub")
	srv.Do("CLIENT KILL TYPE normal SKIPME yes")
}

// toldByMessages fails unless hearing begins anew, and what p changes is told of by
// messages from then on.
func toldByMessages(t *testing.T, h *heard, s, p *valkeystore.Store) {
	t.Helper()
	h.await("Deaf", 10*time.Second, is(backend.Deaf))
	for {
		h.await("Heard", 10*time.Second, is(backend.Heard))
		if s.CoherenceMode() == backend.CoherencePublish {
			break
		}
	}
	if err := p.Set(t.Context(), "k", []byte("new"), time.Minute); err != nil {
		t.Fatal(err)
	}
	h.await("a message of a change", 10*time.Second, func(inv backend.Invalidation) bool { return key("k")(inv) && string(inv.Head) == "new" })
	if v, err := s.Get(t.Context(), "k"); string(v) != "new" || err != nil {
		t.Errorf("Get = %q, %v", v, err)
	}
}

// TestTrackingIsRefusedLater costs no call: with the connections that were tracked
// the right to it is gone.
func TestTrackingIsRefusedLater(t *testing.T) {
	for _, mode := range tracking {
		for name, call := range firstCalls {
			t.Run(string(mode)+" "+name, func(t *testing.T) {
				srv := servertest.Valkey(t)
				s, p := telling(t, srv.URL(), "n", mode), telling(t, srv.URL(), "n", backend.CoherencePublish)
				h := hear(t, s)
				if err := p.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
					t.Fatal(err)
				}
				look(t, s, "k")
				if m := s.CoherenceMode(); m != mode {
					t.Fatalf("CoherenceMode = %q, want %q", m, mode)
				}
				revoke(t, srv)
				call(t, s)
				toldByMessages(t, h, s, p)
				for _, again := range firstCalls {
					again(t, s)
				}
			})
		}
	}
}

// TestReadsAreTrackedNoMore though the subscription stays as it was: it would tell of
// nothing.
func TestReadsAreTrackedNoMore(t *testing.T) {
	srv := servertest.Valkey(t)
	s, p := telling(t, srv.URL(), "n", backend.CoherenceKeys), telling(t, srv.URL(), "n", backend.CoherencePublish)
	h := hear(t, s)
	if err := p.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := srv.Do("ACL SETUSER default -client|tracking"); got != "+OK" {
		t.Fatal(got)
	}
	srv.Do("CLIENT KILL TYPE normal SKIPME yes")
	look(t, s, "k")
	toldByMessages(t, h, s, p)
}

// TestOneMasterRefusesToTrack: in a cluster the others' tracking ends with it.
func TestOneMasterRefusesToTrack(t *testing.T) {
	c := servertest.Cluster(t)
	for name, call := range firstCalls {
		t.Run(name, func(t *testing.T) {
			s, p := telling(t, c.URL(), "n", backend.CoherenceKeys), telling(t, c.URL(), "n", backend.CoherencePublish)
			h := hear(t, s)
			if err := p.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
				t.Fatal(err)
			}
			look(t, s, "k")
			if m := s.CoherenceMode(); m != backend.CoherenceKeys {
				t.Fatalf("CoherenceMode = %q, want %q", m, backend.CoherenceKeys)
			}
			revoke(t, c.Nodes[0])
			call(t, s)
			toldByMessages(t, h, s, p)
			c.Nodes[0].Do("ACL SETUSER default +client|tracking")
		})
	}
}

// TestAnotherServerThatCannotTrack takes the first one's place behind its address.
func TestAnotherServerThatCannotTrack(t *testing.T) {
	for _, mode := range tracking {
		srv := servertest.Valkey(t)
		s := telling(t, srv.URL(), "n", mode)
		h := hear(t, s)
		srv.Kill()
		h.await("Deaf", 10*time.Second, is(backend.Deaf))
		m := miniredis.NewMiniRedis()
		if err := m.StartAddr(srv.Addr()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		h.await("Heard", 10*time.Second, is(backend.Heard))
		if m := s.CoherenceMode(); m != backend.CoherencePublish {
			t.Errorf("%s: CoherenceMode = %q, want %q", mode, m, backend.CoherencePublish)
		}
		if err := s.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
			t.Errorf("%s: Set = %v", mode, err)
		}
		look(t, s, "k")
	}
}

// rejected is how often a command was refused.
func rejected(srv *servertest.Server, command string) (n int) {
	_, stats, _ := strings.Cut(srv.Do("INFO commandstats"), "cmdstat_"+command+":")
	_, count, _ := strings.Cut(stats, "rejected_calls=")
	_, _ = fmt.Sscan(strings.SplitN(count, ",", 2)[0], &n)
	return n
}

// TestSubscribingIsRefused though tracking is not: nothing counts as told until it
// is allowed, and then the mode is what was asked for.
func TestSubscribingIsRefused(t *testing.T) {
	for _, mode := range append([]backend.CoherenceMode{backend.CoherencePublish}, tracking...) {
		t.Run(string(mode), func(t *testing.T) {
			srv := servertest.Valkey(t)
			// The channel of a process, and no other.
			if got := srv.Do("ACL SETUSER app reset on >pw ~* +@all &n:p:????????????"); got != "+OK" {
				t.Fatal(got)
			}
			p := telling(t, srv.URL(), "n", backend.CoherencePublish)
			s := telling(t, strings.Replace(srv.URL(), "://", "://app:pw@", 1), "n", mode)
			h := &heard{t, make(chan backend.Invalidation, 1000)}
			t.Cleanup(s.Invalidations(backend.Interest{Keys: true}, func(inv backend.Invalidation) { h.news <- inv }))
			for late := time.After(10 * time.Second); rejected(srv, "subscribe") < 2; {
				select {
				case <-late:
					t.Fatal("SUBSCRIBE is not tried again")
				case <-time.After(10 * time.Millisecond):
				}
			}
			if m := s.CoherenceMode(); m != backend.CoherenceDeaf {
				t.Errorf("CoherenceMode = %q, want %q", m, backend.CoherenceDeaf)
			}
			for len(h.news) > 0 {
				if inv := <-h.news; inv.Kind == backend.Heard {
					t.Error("told Heard, want it not to be told")
				}
			}
			if err := s.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
				t.Errorf("Set = %v", err)
			}
			look(t, s, "k")
			if got := srv.Do("ACL SETUSER app &n:p:*"); got != "+OK" {
				t.Fatal(got)
			}
			h.await("Heard", 10*time.Second, is(backend.Heard))
			if m := s.CoherenceMode(); m != mode {
				t.Errorf("CoherenceMode = %q, want %q", m, mode)
			}
			look(t, s, "k")
			if err := p.Set(t.Context(), "k", []byte("new"), time.Minute); err != nil {
				t.Fatal(err)
			}
			h.await("a change", 10*time.Second, key("k"))
		})
	}
}
