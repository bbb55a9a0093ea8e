package valkeypush

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

// proxy passes bytes on until it is cut: to the server a killed process looks
// like its connections.
func proxy(t *testing.T, to string) (addr string, cut func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	pass := func(a, b net.Conn) {
		_, _ = io.Copy(a, bufio.NewReader(b))
		_, _ = a.Close(), b.Close()
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			context.AfterFunc(ctx, func() { _, _ = in.Close(), out.Close() })
			go pass(in, out)
			go pass(out, in)
		}
	}()
	cut = func() {
		_ = l.Close()
		cancel()
	}
	t.Cleanup(cut)
	return l.Addr().String(), cut
}

func TestTheLeaseOfADeadProcessIsTakenOver(t *testing.T) {
	s := servertest.Valkey(t)
	addr, kill := proxy(t, s.Addr())
	dead, alive := join(t, "valkey://"+addr, nil), join(t, s.URL(), nil)
	waiter, other := join(t, s.URL(), nil), join(t, s.URL(), nil)
	dead.acquire("k", 1)
	alive.acquire("k2", 2)
	k, k2, o := waiter.watch("k"), waiter.watch("k2"), other.watch("k")
	waiter.acquire("k", 3)
	waiter.acquire("k2", 3)
	other.acquire("k", 4)
	<-time.After(250 * time.Millisecond) // some looks at the living
	if len(k)+len(k2) > 0 {
		t.Fatal("woken while both holders live")
	}
	began := time.Now()
	kill()
	heard(t, k)
	if d := time.Since(began); d > 200*time.Millisecond {
		t.Errorf("found dead after %v, want within 0.2s", d)
	}
	heard(t, o)
	if len(k2) > 0 {
		t.Error("woken for a lease whose holder lives")
	}
	if r := waiter.acquire("k", 3); !r.Won || !r.TookOver {
		t.Fatalf("Acquire = %+v, want it taken over", r)
	}
	if r := waiter.acquire("k2", 3); r.Won {
		t.Errorf("Acquire = %+v, want it held by one who lives", r)
	}
	waiter.commit("k", 3)
	if n := heard(t, o); string(n.Value) != "v" {
		t.Errorf("woken with %+v, want the value: who waited for the dead waits for who took over", n)
	}
}

// TestBelievedDeadIsNotEnough: the script looks again.
func TestBelievedDeadIsNotEnough(t *testing.T) {
	s := servertest.Valkey(t)
	a, b := join(t, s.URL(), nil), join(t, s.URL(), nil)
	a.acquire("k", 1)
	b.bury(a.process, time.Now())
	if r := b.acquire("k", 2); r.Won || r.TookOver {
		t.Errorf("Acquire = %+v, want it held: its holder is subscribed", r)
	}
	b.watch("k")
	b.acquire("k", 2)
	if x := b.Self(false); len(x.Dead) != 0 {
		t.Errorf("Dead = %v after the server has denied it", x.Dead)
	}
}

// TestWhoIsNotSubscribedTakesNothingOver: what it believes is of another node.
func TestWhoIsNotSubscribedTakesNothingOver(t *testing.T) {
	s := servertest.Valkey(t)
	gone, b := join(t, s.URL(), nil), join(t, s.URL(), nil)
	gone.acquire("k", 1)
	gone.Close()
	for _, self := range []string{"", "0123456789ab", b.process} {
		r, err := valkeylease.Acquire(t.Context(), b.c, valkeylease.Ask{
			Keys: b.l.Keys("k"), Self: valkeylease.Self{Holder: self, Dead: []string{gone.process}},
			LeaseRequest: backend.LeaseRequest{Token: strings.Repeat("2", 32), TTL: time.Minute},
		})
		if err != nil || r.Won != (self == b.process) {
			t.Errorf("Acquire by %q = %+v, %v, want it taken over only by who is subscribed", self, r, err)
		}
	}
}

// TestAReconnectIsNoDeath: one look that sees nobody is not enough.
func TestAReconnectIsNoDeath(t *testing.T) {
	s := servertest.Valkey(t)
	a := join(t, s.URL(), nil)
	id, err := a.c.Do(t.Context(), a.c.B().Arbitrary("CLIENT", "LIST", "TYPE", "pubsub").Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimPrefix(id, "txt:"), "id="), " ")
	b := join(t, s.URL(), nil)
	a.acquire("k", 1)
	rung := b.watch("k")
	if got := s.Do("CLIENT KILL ID " + id); got != ":1" {
		t.Fatalf("CLIENT KILL ID %q = %s", id, got)
	}
	b.lookAfter(b.l.Lease("k"), a.process) // looks at once
	a.becomes(backend.WakeLive)
	select {
	case <-rung:
		t.Errorf("woken: %v taken for dead", b.deadNow())
	case <-time.After(300 * time.Millisecond):
	}
}

func TestWhatIsNotKnownIsNotDead(t *testing.T) {
	s := servertest.Valkey(t)
	a := join(t, s.URL(), nil)
	_, nodes := a.holders(map[string]bool{})
	if _, ok := a.gone([]string{"x"}, nodes); !ok {
		t.Error("gone of a server that answers is not known")
	}
	if _, ok := a.gone([]string{"x"}, nil); ok {
		t.Error("gone of no node is known")
	}
	s.Kill()
	if n, ok := a.gone([]string{"x"}, nodes); ok {
		t.Errorf("gone = %v from a dead server", n)
	}
}

func TestAnEndedWatchEndsTheLooks(t *testing.T) {
	s := servertest.Valkey(t)
	a, b := join(t, s.URL(), nil), join(t, s.URL(), nil)
	a.acquire("k", 1)
	stop := b.Watch(b.l.Lease("k"), func(backend.Notice) {})
	b.acquire("k", 2)
	polling := func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.polling
	}
	if !polling() {
		t.Fatal("nobody looks after the holder")
	}
	stop()
	for deadline := time.Now().Add(5 * time.Second); polling(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the looks go on after the watch has ended")
		}
	}
	looks := func() string {
		info, _ := a.c.Do(t.Context(), a.c.B().Info().Section("commandstats").Build()).ToString()
		_, after, _ := strings.Cut(info, "cmdstat_pubsub|numsub:calls=")
		n, _, _ := strings.Cut(after, ",")
		return n
	}
	before := looks()
	<-time.After(3 * lookEvery)
	if after := looks(); after != before {
		t.Errorf("%s looks after the watch has ended, %s before", after, before)
	}
}
