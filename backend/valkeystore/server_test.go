package valkeystore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeyconn"
)

func token(n int) string { return fmt.Sprintf("%032x", n) }

// admin is a client beside the store's.
func admin(t testing.TB, url string) valkey.Client {
	t.Helper()
	opt, err := valkeyconn.Options(url)
	if err != nil {
		t.Fatal(err)
	}
	c, err := valkey.NewClient(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// calls returns how often each command has run: also those in scripts.
func calls(t *testing.T, c valkey.Client) map[string]int {
	t.Helper()
	info, err := c.Do(t.Context(), c.B().Info().Section("commandstats").Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]int{}
	for line := range strings.Lines(info) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		var n int
		if _, err := fmt.Sscan(strings.SplitN(rest, ",", 2)[0], &n); ok && err == nil {
			m[name] = n
		}
	}
	return m
}

func lease(t *testing.T, s *valkeystore.Store, key string, n int) backend.LeaseReply {
	t.Helper()
	r, err := s.Lease(t.Context(), key, backend.LeaseRequest{Token: token(n), TTL: time.Minute, Watch: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func commit(t *testing.T, s *valkeystore.Store, key string, n int, v string) {
	t.Helper()
	if ok, err := s.Commit(t.Context(), key, token(n), []byte(v), time.Minute); err != nil || !ok {
		t.Fatalf("Commit = %t, %v", ok, err)
	}
}

// TestAColdLoadCostsTwoCommands: what the herd's first costs the server, and
// that a waiter reads nothing.
func TestAColdLoadCostsTwoCommands(t *testing.T) {
	url := servertest.Valkey(t).URL()
	a, b, c := listening(t, url, "n"), listening(t, url, "n"), admin(t, url)
	lease(t, a, "warm", 1) // the scripts are loaded
	commit(t, a, "warm", 1, "v")
	before := calls(t, c)
	if r := lease(t, a, "k", 1); !r.Won {
		t.Fatalf("Lease = %+v, want it won", r)
	}
	commit(t, a, "k", 1, "value")
	after := calls(t, c)
	for name, want := range map[string]int{"evalsha": 2, "eval": 0, "time": 1, "set": 3, "get": 4, "del": 1, "publish": 0, "pubsub|numsub": 0} {
		if got := after[name] - before[name]; got != want {
			t.Errorf("a cold load runs %s %d times, want %d", name, got, want)
		}
	}

	lease(t, a, "k2", 1)
	rung := make(chan backend.Notice, 10)
	defer b.Watch("k2", func(n backend.Notice) { rung <- n })()
	before = calls(t, c)
	if r := lease(t, b, "k2", 2); !r.Pushed {
		t.Fatalf("Lease = %+v, want its end to be told", r)
	}
	lease(t, b, "k2", 2) // once more: it is listed once
	commit(t, a, "k2", 1, "value")
	if n := <-rung; string(n.Value) != "value" {
		t.Errorf("woken with %+v, want the value", n)
	}
	after = calls(t, c)
	for name, want := range map[string]int{"evalsha": 3, "append": 1, "publish": 1} {
		if got := after[name] - before[name]; got != want {
			t.Errorf("a wait for a load runs %s %d times, want %d", name, got, want)
		}
	}
}

// TestAHitReadsNothingElse: one GET and no TIME in the script.
func TestAHitReadsNothingElse(t *testing.T) {
	url := servertest.Valkey(t).URL()
	s, c := listening(t, url, "n"), admin(t, url)
	if err := s.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
		t.Fatal(err)
	}
	lease(t, s, "k", 1) // takes the time along
	before := calls(t, c)
	lease(t, s, "k", 1)
	after := calls(t, c)
	for name, want := range map[string]int{"evalsha": 1, "get": 1, "time": 0, "subscribe": 0} {
		if got := after[name] - before[name]; got != want {
			t.Errorf("a hit runs %s %d times, want %d", name, got, want)
		}
	}
}

func TestScriptsSurviveAFlush(t *testing.T) {
	srv := servertest.Valkey(t)
	s := listening(t, srv.URL(), "n")
	for i := range 2 {
		if i == 1 {
			srv.Do("SCRIPT FLUSH SYNC")
		}
		var asks []backend.LeaseAsk
		var commits []backend.CommitAsk
		for k := range 700 {
			key := fmt.Sprint(i, "-", k)
			asks = append(asks, backend.LeaseAsk{Key: key, LeaseRequest: backend.LeaseRequest{Token: token(1), TTL: time.Minute}})
			commits = append(commits, backend.CommitAsk{Key: key, Token: token(1), Value: []byte(key), TTL: time.Minute})
		}
		for k, a := range s.LeaseMulti(t.Context(), asks) {
			if a.Err != nil || !a.Won {
				t.Fatalf("answer %d = %+v", k, a)
			}
		}
		srv.Do("SCRIPT FLUSH SYNC")
		for k, a := range s.CommitMulti(t.Context(), commits) {
			if a.Err != nil || !a.OK {
				t.Fatalf("answer %d = %+v", k, a)
			}
		}
		srv.Do("SCRIPT FLUSH SYNC")
		lease(t, s, fmt.Sprint("x", i), 1)
		commit(t, s, fmt.Sprint("x", i), 1, "v")
		if err := s.Delete(t.Context(), "a", "b"); err != nil {
			t.Error(err)
		}
	}
}

func TestARestartCostsNoCall(t *testing.T) {
	srv := servertest.Valkey(t)
	s := listening(t, srv.URL(), "n")
	lease(t, s, "k", 1)
	srv.Restart()
	a := s.LeaseMulti(t.Context(), []backend.LeaseAsk{{Key: "k", LeaseRequest: backend.LeaseRequest{Token: token(2), TTL: time.Minute}}})
	if a[0].Err != nil || !a[0].Won {
		t.Errorf("LeaseMulti = %+v, want it won: the first connection is dead, and the server knows no script", a[0])
	}
}

// TestALostReplyCostsNoCall: the connection breaks while the command waits at
// the server.
func TestALostReplyCostsNoCall(t *testing.T) {
	srv := servertest.Valkey(t)
	c := admin(t, srv.URL())
	// Without a subscription, whose probe would be what waits.
	s, err := valkeystore.Open(srv.URL(), &valkeystore.Options{Namespace: "n", NoPush: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ask := backend.LeaseAsk{Key: "k", LeaseRequest: backend.LeaseRequest{Token: token(2), TTL: time.Minute}}
	for name, call := range map[string]func() (backend.LeaseReply, error){
		"Lease": func() (backend.LeaseReply, error) { return s.Lease(t.Context(), "l", ask.LeaseRequest) },
		"LeaseMulti": func() (backend.LeaseReply, error) {
			a := s.LeaseMulti(t.Context(), []backend.LeaseAsk{ask})[0]
			return a.LeaseReply, a.Err
		},
	} {
		srv.Do("CLIENT PAUSE 20000 WRITE")
		done := make(chan string, 1)
		go func() { // ends with the call
			r, err := call()
			done <- fmt.Sprint(r.Won, " ", err)
		}()
		for waiting := false; !waiting; <-time.After(time.Millisecond) {
			info, _ := c.Do(t.Context(), c.B().Info().Section("clients").Build()).ToString()
			waiting = strings.Contains(info, "blocked_clients:1")
		}
		srv.Do("CLIENT KILL TYPE normal SKIPME yes")
		srv.Do("CLIENT UNPAUSE")
		if got := <-done; got != "true <nil>" {
			t.Errorf("%s = %s, want it won", name, got)
		}
	}
}

func TestPushOptions(t *testing.T) {
	url := servertest.Valkey(t).URL()
	for _, tc := range []struct {
		push  int
		value string
		sent  bool
	}{{0, strings.Repeat("x", 4096), true}, {0, strings.Repeat("x", 4097), false}, {3, "abc", true}, {3, "abcd", false}, {-1, "", false}} {
		ns := fmt.Sprintf("n%d-%d", tc.push, len(tc.value))
		s, err := valkeystore.Open(url, &valkeystore.Options{Namespace: ns, PushValue: tc.push})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.Listen(t.Context())
		lease(t, s, "k", 1)
		rung := make(chan backend.Notice, 10)
		defer s.Watch("k", func(n backend.Notice) { rung <- n })()
		lease(t, s, "k", 2)
		commit(t, s, "k", 1, tc.value)
		if n := <-rung; (n.Value != nil) != tc.sent {
			t.Errorf("PushValue %d, %d bytes: woken with the value: %t, want %t", tc.push, len(tc.value), n.Value != nil, tc.sent)
		}
	}
	s, err := valkeystore.Open(url, &valkeystore.Options{NoPush: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lease(t, s, "k", 1)
	if r := lease(t, s, "k", 2); s.Listen(t.Context()) != backend.WakePoll || r.Pushed {
		t.Errorf("Lease = %+v, mode %s with NoPush", r, s.WakeMode())
	}
}

// TestPushBeginsWithTheFirstLease: nobody has called Listen.
func TestPushBeginsWithTheFirstLease(t *testing.T) {
	url := servertest.Valkey(t).URL()
	s := open(t, url, "n")
	rung := make(chan backend.Notice, 10)
	defer s.Watch("k", func(n backend.Notice) { rung <- n })()
	lease(t, s, "k", 1)
	if r := lease(t, s, "k", 2); !r.Pushed {
		<-rung // look again: now the end can be told
		r = lease(t, s, "k", 2)
		if !r.Pushed || s.WakeMode() != backend.WakeLive {
			t.Errorf("Lease = %+v, mode %s", r, s.WakeMode())
		}
	}
}

// TestHostileBytes: whatever stands under our keys, nothing breaks and nothing
// lasts for ever.
func TestHostileBytes(t *testing.T) {
	url := servertest.Valkey(t).URL()
	s, c := listening(t, url, "n"), admin(t, url)
	ctx := context.Background()
	key := func(kind string) string {
		full, err := c.Do(ctx, c.B().Keys().Pattern("n:l:*").Build()).AsStrSlice()
		if err != nil || len(full) != 1 {
			t.Fatalf("KEYS = %q, %v", full, err)
		}
		return strings.Replace(full[0], ":l:", kind, 1)
	}
	lease(t, s, "k", 1)
	l, f := key(":l:"), key(":f:")
	do := func(args ...string) {
		if err := c.Do(ctx, c.B().Arbitrary(args...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	for _, garbage := range []string{"", "garbage", "||||||||", "!|", "!|x|y", "\nabc", strings.Repeat("f", 70000)} {
		do("SET", l, garbage, "PX", "60000")
		r := lease(t, s, "k", 2)
		if r.Won {
			t.Errorf("%.10q: Lease = %+v, want it held or cooling", garbage, r)
		}
		if err := s.Delete(ctx, "k"); err != nil {
			t.Error(err)
		}
	}
	do("SET", l, token(1)+"|1|1|0|0123456789ab|0|o|t"+strings.Repeat("\n0123456789ab", 6000))
	if r := lease(t, s, "k", 2); r.Won || r.Pushed || r.Owner != "o" {
		t.Errorf("a full list: Lease = %+v, want it held, its end not to be told", r)
	}
	do("DEL", l)
	do("RPUSH", l, "a")
	if r := lease(t, s, "k", 2); r.Won {
		t.Errorf("a list: Lease = %+v, want it held", r)
	}
	do("DEL", l)
	last := uint64(0)
	for _, garbage := range []string{"", "x", "9007199254740993", "99999999999999999999999999|3", "5|99999999", "-1|-1", "1e3|1"} {
		do("SET", f, garbage)
		r := lease(t, s, "k", 3)
		if !r.Won || r.Fence <= last || r.Fence > 1<<53 {
			t.Errorf("%q: Lease = %+v, want it won with a fence after %d", garbage, r, last)
		}
		last = r.Fence
		if ok, err := s.Release(ctx, "k", token(3), backend.Failure{}); err != nil || !ok {
			t.Errorf("Release = %t, %v", ok, err)
		}
	}
	do("SET", l, "!|3|no end")
	if r := lease(t, s, "k", 4); !r.Won {
		t.Errorf("a cool-down without an end: Lease = %+v, want it won", r)
	}
}

// TestOutOfMemoryALeaseCanBeGivenUp: also with a cool-down.
func TestOutOfMemoryALeaseCanBeGivenUp(t *testing.T) {
	srv := servertest.Valkey(t)
	s := listening(t, srv.URL(), "n")
	lease(t, s, "k", 1)
	srv.Do("CONFIG SET maxmemory 1")
	ok, err := s.Release(t.Context(), "k", token(1), backend.Failure{CoolDown: time.Minute, Text: "x"})
	if err != nil || !ok {
		t.Errorf("Release = %t, %v", ok, err)
	}
	srv.Do("CONFIG SET maxmemory 0")
	if r := lease(t, s, "k", 2); r.Cooling == nil {
		t.Errorf("Lease = %+v, want it cooling", r)
	}
}
