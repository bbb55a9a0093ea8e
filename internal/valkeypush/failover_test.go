package valkeypush

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

// failovers runs test in each deployment that fails over; the key is k.
func failovers(t *testing.T, test func(t *testing.T, d *servertest.Deployment)) {
	l, err := valkeylease.NewLayout("n")
	if err != nil {
		t.Fatal(err)
	}
	servertest.InDeployments(t, l.Lease("k"), test)
}

// late refuses new connections to one address.
type late struct {
	addr atomic.Pointer[string]
}

func (l *late) change(o *valkey.ClientOption) {
	o.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		if a := l.addr.Load(); a != nil && addr == *a {
			return nil, errors.New("late")
		}
		return d.DialContext(ctx, "tcp", addr)
	}
}

// TestTheLivingSurviveAFailover: at the node that was promoted nobody is
// subscribed at first, and a holder that comes late is not dead.
func TestTheLivingSurviveAFailover(t *testing.T) {
	failovers(t, func(t *testing.T, d *servertest.Deployment) {
		var l late
		holder, waiter := join(t, d.URL, l.change), join(t, d.URL, nil)
		first := holder.acquire("k", 1)
		if !first.Won || first.Fence == 0 {
			t.Fatalf("Acquire = %+v", first)
		}
		k := waiter.watch("k")
		if r := waiter.acquire("k", 2); r.Won || !r.Pushed || r.Process != holder.process {
			t.Fatalf("Acquire = %+v, want it held by one that can be seen", r)
		}
		servertest.AwaitReplication(t, d.Master, d.Replica)
		addr := d.Replica.Addr()
		l.addr.Store(&addr)
		d.Master.Kill()
		next := d.AwaitPromotion()
		promoted := time.Now()
		if next != d.Replica {
			t.Fatalf("%s was promoted, want %s", next.Addr(), addr)
		}
		// The waiter comes at once, the holder only later.
		answered := false
		ask := func() {
			r, err := waiter.try("k", 2)
			if err != nil { // the client has not heard of the promotion yet
				return
			}
			answered = true
			if dead := waiter.deadNow(); r.Won || len(dead) > 0 {
				t.Fatalf("Acquire = %+v, dead %v: want it held by one who lives, and is late", r, dead)
			}
		}
		for waiter.subscribedAt(addr) == nil {
			if time.Since(promoted) > gather {
				t.Fatalf("not subscribed at the promoted node after %v", time.Since(promoted))
			}
			<-time.After(20 * time.Millisecond)
			ask()
		}
		t.Logf("the waiter is subscribed %v after all have agreed on the promotion", time.Since(promoted))
		for end := time.Now().Add(gather / 2); time.Now().Before(end); ask() {
			<-time.After(20 * time.Millisecond)
		}
		if !answered {
			t.Fatal("no answer from the promoted node")
		}
		l.addr.Store(nil)
		holder.becomes(backend.WakeLive)
		for holder.subscribedAt(addr) == nil {
			<-time.After(5 * time.Millisecond)
		}
		for len(k) > 0 {
			<-k
		}
		if r := waiter.acquire("k", 2); r.Won || !r.Pushed {
			t.Fatalf("Acquire = %+v, want its end to be told", r)
		}
		<-time.After(2 * lookEvery) // it is seen there now
		died := time.Now()
		holder.c.Close()
		holder.Close()
		for r := waiter.acquire("k", 2); !r.Won; r = waiter.acquire("k", 2) {
			heard(t, k)
		}
		if took := time.Since(died); took > time.Second {
			t.Errorf("a dead holder's lease was taken over after %v, want about 0.2s", took)
		}
		t.Logf("a dead holder's lease was taken over after %v", time.Since(died))
	})
}

// TestTheDeadMasterIsLeft: it does not keep the others from being pushed to.
func TestTheDeadMasterIsLeft(t *testing.T) {
	failovers(t, func(t *testing.T, d *servertest.Deployment) {
		a, b := join(t, d.URL, nil), join(t, d.URL, nil)
		a.acquire("k", 1)
		dead := d.Master.Addr()
		d.Master.Kill()
		next := d.AwaitPromotion()
		promoted := time.Now()
		for _, n := range []*member{a, b} {
			for n.subscribedAt(next.Addr()) == nil || n.linked(dead) || n.Mode() != backend.WakeLive {
				if time.Since(promoted) > 2*gather {
					t.Fatalf("after %v: subscribed at the new master: %t, to the old one a link: %t, mode %s",
						time.Since(promoted), n.subscribedAt(next.Addr()) != nil, n.linked(dead), n.Mode())
				}
				<-time.After(5 * time.Millisecond)
				_, _ = n.try("k", 1) // an idle client looks at the topology every few seconds only
			}
		}
		t.Logf("all is well %v after all have agreed on the promotion", time.Since(promoted))
		// Whatever was lost with the master: an end is told again.
		if r := a.acquire("k", 1); !r.Won {
			t.Fatalf("Acquire = %+v, want the same lease or a new one", r)
		}
		k := b.watch("k")
		if r := b.acquire("k", 2); r.Won || !r.Pushed || r.Process != a.process {
			t.Fatalf("Acquire = %+v", r)
		}
		a.commit("k", 1)
		if n := heard(t, k); string(n.Value) != "v" {
			t.Errorf("woken with %+v, want the value", n)
		}
	})
}

// subscribedAt returns the link to addr if it is up.
func (n *member) subscribedAt(addr string) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.links[addr]; l != nil && l.mode == live {
		return l
	}
	return nil
}

func (n *member) linked(addr string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links[addr] != nil
}
