package valkeypush

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"
	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeyconn"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

func TestMain(m *testing.M) {
	// A cluster's client asks for the topology a second after an error, and closes
	// the connections to nodes that are gone after five, whether it is closed or not.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*clusterClient)._refresh.func2"))
}

// member is a process: a client and its hub.
type member struct {
	*Hub
	t *testing.T
	c valkey.Client
	l valkeylease.Layout
}

func dial(t *testing.T, url string, change func(*valkey.ClientOption)) valkey.Client {
	t.Helper()
	opt, err := valkeyconn.Options(url)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&opt)
	}
	c, err := valkey.NewClient(opt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func join(t *testing.T, url string, change func(*valkey.ClientOption)) *member {
	t.Helper()
	l, err := valkeylease.NewLayout("n")
	if err != nil {
		t.Fatal(err)
	}
	n := &member{Hub: New(l, Config{}), t: t, c: dial(t, url, change), l: l}
	t.Cleanup(func() {
		n.c.Close()
		n.Close()
	})
	n.Start(n.c)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	n.Settled(ctx)
	if ctx.Err() != nil {
		t.Fatal("not settled within 5s")
	}
	return n
}

// acquire asks for the lease of key as a store does.
func (n *member) acquire(key string, token int) valkeylease.Reply {
	n.t.Helper()
	r, err := n.try(key, token)
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

func (n *member) try(key string, token int) (valkeylease.Reply, error) {
	k := n.l.Keys(key)
	a := valkeylease.Ask{
		Keys: k, Self: n.Self(true), Guard: true,
		LeaseRequest: backend.LeaseRequest{Token: fmt.Sprintf("%032x", token), TTL: 30 * time.Second},
	}
	r, err := valkeylease.Acquire(n.t.Context(), n.c, a)
	if err == nil {
		n.Saw(n.c, a, r)
	}
	return r, err
}

func (n *member) watch(key string) chan backend.Notice {
	rung := make(chan backend.Notice, 100)
	n.t.Cleanup(n.Watch(n.l.Lease(key), func(x backend.Notice) { rung <- x }))
	return rung
}

func (n *member) commit(key string, token int) {
	n.t.Helper()
	ok, err := valkeylease.Commit(n.t.Context(), n.c, valkeylease.Fill{
		Keys: n.l.Keys(key), Token: fmt.Sprintf("%032x", token), Value: []byte("v"), TTL: time.Minute, Push: 1024,
	})
	if err != nil || !ok {
		n.t.Fatalf("Commit = %t, %v", ok, err)
	}
}

func heard(t *testing.T, rung <-chan backend.Notice) backend.Notice {
	t.Helper()
	select {
	case n := <-rung:
		return n
	case <-time.After(5 * time.Second):
		t.Fatal("no wake-up within 5s")
		return backend.Notice{}
	}
}

func (n *member) becomes(m backend.WakeMode) {
	n.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); n.Mode() != m; {
		if time.Now().After(deadline) {
			n.t.Fatalf("Mode = %q, want %q within 5s", n.Mode(), m)
		}
		<-time.After(time.Millisecond)
	}
}

func TestALostConnectionWakesAllAndHeals(t *testing.T) {
	s := servertest.Valkey(t)
	a, b := join(t, s.URL(), nil), join(t, s.URL(), nil)
	a.acquire("k", 1)
	k, idle := b.watch("k"), b.watch("idle")
	if r := b.acquire("k", 2); !r.Pushed {
		t.Fatalf("Acquire = %+v, want its end to be told", r)
	}
	if got := s.Do("CLIENT KILL TYPE pubsub"); got != ":2" {
		t.Fatalf("CLIENT KILL = %s, want two subscribers", got)
	}
	heard(t, k)
	heard(t, idle)
	heard(t, k) // once more when subscribed again: messages may have been lost
	a.becomes(backend.WakeLive)
	b.becomes(backend.WakeLive)
	if r := b.acquire("k", 2); !r.Pushed || r.TookOver {
		t.Fatalf("Acquire = %+v, want its end to be told", r)
	}
	for len(k) > 0 {
		<-k
	}
	a.commit("k", 1)
	if n := heard(t, k); string(n.Value) != "v" {
		t.Errorf("woken with %+v, want the value", n)
	}
}

func TestWhileDownARequestNamesNoProcess(t *testing.T) {
	s := servertest.Valkey(t)
	a := join(t, s.URL(), nil)
	if x := a.Self(true); x.Holder == "" || x.Waiter != x.Holder {
		t.Fatalf("Self = %+v, want the process as holder and waiter", x)
	}
	if x := a.Self(false); x.Waiter != "" {
		t.Errorf("Self without a watch = %+v", x)
	}
	rung := a.watch("k")
	s.Kill()
	heard(t, rung)
	if x := a.Self(true); x.Holder != "" || x.Waiter != "" || a.Mode() != backend.WakePoll {
		t.Errorf("Self = %+v, mode %s without a server", x, a.Mode())
	}
	s.Restart()
	a.becomes(backend.WakeLive)
}

func TestWhatTheServerAllowsDecidesTheMode(t *testing.T) {
	s := servertest.Valkey(t)
	for _, tc := range []struct {
		rights string
		want   backend.WakeMode
	}{
		{"&n:p:* +subscribe +unsubscribe +publish +pubsub", backend.WakeLive},
		{"&n:p:* +subscribe +unsubscribe +publish", backend.WakePush},
		{"&n:p:* +subscribe +unsubscribe +pubsub", backend.WakePoll},
		{"&n:p:* +publish +pubsub", backend.WakePoll},
		{"+subscribe +unsubscribe +publish +pubsub", backend.WakePoll}, // no channel
	} {
		user := "u" + strings.NewReplacer("+", "", " ", "", "&", "", ":", "", "*", "").Replace(tc.rights)
		s.Do("ACL SETUSER " + user + " reset on >pw ~n:* +get +set +del +append +pttl +pexpire +time +eval +evalsha " + tc.rights)
		url := "valkey://" + user + ":pw@" + s.Addr()
		a, b := join(t, url, nil), join(t, url, nil)
		if a.Mode() != tc.want {
			t.Errorf("%s: mode %q, want %q", tc.rights, a.Mode(), tc.want)
			continue
		}
		key := user
		if r := a.acquire(key, 1); !r.Won {
			t.Errorf("%s: Acquire = %+v, want it won", tc.rights, r)
		}
		rung := b.watch(key)
		if r := b.acquire(key, 2); r.Won || r.Pushed != (tc.want != backend.WakePoll) || (r.Process != "") != (tc.want == backend.WakeLive) {
			t.Errorf("%s: Acquire = %+v", tc.rights, r)
		}
		a.commit(key, 1)
		if tc.want != backend.WakePoll {
			heard(t, rung)
		}
	}
}

// TestWhatIsNotPassedOnIsNotPush: a proxy that accepts all and forwards nothing.
func TestWhatIsNotPassedOnIsNotPush(t *testing.T) {
	a := join(t, servertest.Valkey(t).URL(), nil)
	conn, _ := a.c.Dedicate()
	defer conn.Close()
	l := &link{hub: a.Hub}
	if m, refused := l.probe(t.Context(), a.c, conn, "nonce", nil, nil); m != poll || !refused {
		t.Errorf("probe = %d, %t, want poll, refused: the nonce has not come back", m, refused)
	}
}

// TestALateMessageBringsNoOldValue: its lease had ended before the watch began,
// and a Delete may have followed.
func TestALateMessageBringsNoOldValue(t *testing.T) {
	s := servertest.Valkey(t)
	a, b := join(t, s.URL(), nil), join(t, s.URL(), nil)
	first := a.acquire("k", 1)
	late := valkeylease.Message{Lease: b.l.Lease("k"), Fence: first.Fence, Notice: backend.Notice{Value: []byte("old")}}
	ask := valkeylease.Ask{Keys: b.l.Keys("k"), Self: b.Self(true)} // sent before the watch begins
	k := b.watch("k")
	b.deliver(late)
	if n := heard(t, k); n.Value != nil {
		t.Errorf("woken with %+v before any answer, want to look again", n)
	}
	b.Saw(b.c, ask, valkeylease.Reply{LeaseReply: backend.LeaseReply{Pushed: true}, Holding: first.Fence})
	b.deliver(late)
	if n := heard(t, k); n.Value != nil {
		t.Errorf("woken with %+v after an answer to an earlier request, want to look again", n)
	}
	a.commit("k", 1)
	if err := valkeylease.DeleteMany(t.Context(), a.c, []valkeylease.Keys{a.l.Keys("k")}, a.process)[0]; err != nil {
		t.Fatal(err)
	}
	a.acquire("k", 2)
	b.acquire("k", 3)
	b.deliver(late)
	if len(k) > 0 {
		t.Errorf("woken with %+v, which is older than the lease that it waits for", <-k)
	}
	a.commit("k", 2)
	if n := heard(t, k); string(n.Value) != "v" {
		t.Errorf("woken with %+v, want the value", n)
	}
}

func TestAHubThatIsOffDoesNothing(t *testing.T) {
	l, _ := valkeylease.NewLayout("n")
	h := New(l, Config{Off: true})
	h.Start(nil)
	h.Saw(nil, valkeylease.Ask{}, valkeylease.Reply{})
	h.Settled(t.Context())
	if h.Mode() != backend.WakePoll || h.Self(true).Waiter != "" {
		t.Errorf("mode %s", h.Mode())
	}
	rung := make(chan backend.Notice, 1)
	h.Watch("k", func(n backend.Notice) { rung <- n })
	h.Close()
	heard(t, rung)
}

func TestCloseEndsOnAHungServerAndWakesWhoWaits(t *testing.T) {
	s := servertest.Valkey(t)
	a := join(t, s.URL(), nil)
	rung := a.watch("k")
	s.Pause()
	defer s.Resume()
	began := time.Now()
	a.c.Close()
	a.Close()
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("Close took %v", d)
	}
	heard(t, rung)
	a.Start(a.c)
	a.Close()
}

func TestASilentPartitionEnds(t *testing.T) {
	s := servertest.Valkey(t)
	a := join(t, s.URL(), nil)
	rung := a.watch("k")
	s.Pause()
	began := time.Now()
	heard(t, rung)
	if d := time.Since(began); d > 2500*time.Millisecond {
		t.Errorf("noticed after %v, want about 1.5s: the client's keep-alive and write timeout", d)
	}
	s.Resume()
	a.becomes(backend.WakeLive)
}

func TestOldProtocol(t *testing.T) {
	s := servertest.Valkey(t)
	resp2 := func(o *valkey.ClientOption) { o.AlwaysRESP2 = true }
	a, b := join(t, s.URL(), resp2), join(t, s.URL(), nil)
	if a.Mode() != backend.WakeLive {
		t.Fatalf("mode %s over RESP2", a.Mode())
	}
	b.acquire("k", 1)
	rung := a.watch("k")
	a.acquire("k", 2)
	b.commit("k", 1)
	if n := heard(t, rung); string(n.Value) != "v" {
		t.Errorf("woken with %+v, want the value", n)
	}
}
