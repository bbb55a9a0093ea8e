package memcachedstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memcachedstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/tier"
)

const slack = 2 * time.Second // what a busy machine may add to a bound

func token(n int) string { return fmt.Sprintf("%032x", n) }

func set(t *testing.T, s backend.Store, key, value string) {
	t.Helper()
	if err := s.Set(t.Context(), key, []byte(value), time.Minute); err != nil {
		t.Fatalf("Set = %v", err)
	}
}

func want(t *testing.T, s backend.Store, key, value string) {
	t.Helper()
	if v, err := s.Get(t.Context(), key); err != nil || string(v) != value {
		t.Errorf("Get = %.40q, %v, want %q", v, err, value)
	}
}

// TestTheFleetLoadsOnce: two processes' caches, and a crowd before each.
func TestTheFleetLoadsOnce(t *testing.T) {
	addr := servertest.Memcached(t).Addr()
	var loads atomic.Int32
	load := func(context.Context, string) (int, error) {
		<-time.After(200 * time.Millisecond)
		return int(loads.Add(1)), nil
	}
	var wg sync.WaitGroup
	for range 2 {
		c, err := cache.New(load, nil, tier.Remote(open(t, "fleet", addr), nil))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		for range 25 {
			wg.Go(func() {
				if v, err := c.Get(t.Context(), "k"); v != 1 || err != nil {
					t.Errorf("Get = %d, %v, want 1, nil", v, err)
				}
			})
		}
	}
	wg.Wait()
}

func TestTheServerGoesAwayAndComesBack(t *testing.T) {
	srv := servertest.Memcached(t)
	s := open(t, "n", srv.Addr())
	var wg sync.WaitGroup
	for i := range 20 { // so that there are many connections to find dead
		wg.Go(func() { set(t, s, fmt.Sprint(i), "v") })
	}
	wg.Wait()
	srv.Kill()
	began := time.Now()
	if _, err := s.Get(t.Context(), "1"); !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrMiss) {
		t.Errorf("Get = %v, want backend.ErrUnavailable", err)
	}
	if err := s.Set(t.Context(), "1", nil, time.Minute); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Set = %v, want backend.ErrUnavailable", err)
	}
	if ok, err := s.Commit(t.Context(), "1", token(1), []byte("v"), time.Minute); ok || !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Commit = %t, %v, want false, backend.ErrUnavailable", ok, err)
	}
	if d := time.Since(began); d > slack {
		t.Errorf("without a server three calls took %v", d)
	}
	srv.Restart()
	set(t, s, "1", "again") // at once: no backoff here
	want(t, s, "1", "again")
	if _, err := s.Get(t.Context(), "2"); !errors.Is(err, backend.ErrMiss) {
		t.Errorf("Get = %v, want a miss: the server is empty", err)
	}
}

// TestARestartedServerServesAllConnections: the dead ones cost nobody an error.
func TestARestartedServerServesAllConnections(t *testing.T) {
	srv := servertest.Memcached(t)
	s := open(t, "n", srv.Addr())
	for round := range 3 {
		if round > 0 {
			srv.Restart()
		}
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if err := s.Set(t.Context(), fmt.Sprint(i), []byte("v"), time.Minute); err != nil {
					t.Errorf("Set after %d restarts = %v", round, err)
				}
			})
		}
		wg.Wait()
	}
}

func TestCallsEndWithTheirContextOnAHungServer(t *testing.T) {
	srv := servertest.Memcached(t)
	patient, err := memcachedstore.Open([]string{srv.Addr()}, &memcachedstore.Options{Namespace: "n", Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer patient.Close()
	s := open(t, "n", srv.Addr())
	set(t, s, "k", "v")
	srv.Pause()
	began := time.Now()
	var wg sync.WaitGroup
	for i := range 200 { // more than there may be connections
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if i%2 == 0 {
				ctx, cancel = context.WithCancel(t.Context())
				time.AfterFunc(100*time.Millisecond, cancel)
			}
			defer cancel()
			if _, err := patient.Get(ctx, "k"); !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("Get = %v from a hung server, want backend.ErrUnavailable", err)
			}
		})
	}
	wg.Wait()
	if d := time.Since(began); d > 100*time.Millisecond+slack {
		t.Errorf("200 calls with 100ms each took %v", d)
	}
	began = time.Now()
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Get without a deadline = %v, want backend.ErrUnavailable", err)
	}
	if d := time.Since(began); d > time.Second+slack {
		t.Errorf("Get without a deadline took %v, want Options.Timeout", d)
	}
	srv.Resume()
	want(t, s, "k", "v")
}

// TestClosingAndWaiting: with one connection, which an operation under way
// keeps, the next waits no longer than its context; and Close ends the first.
func TestClosingAndWaiting(t *testing.T) {
	srv := servertest.Memcached(t)
	s, err := memcachedstore.Open([]string{srv.Addr()}, &memcachedstore.Options{MaxConns: 1, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	set(t, s, "k", "v")
	srv.Pause()
	got := make(chan error, 1)
	go func() { // ends with the Get
		_, err := s.Get(context.WithoutCancel(t.Context()), "k")
		got <- err
	}()
	<-time.After(50 * time.Millisecond)
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Get(ctx, "k"); !errors.Is(err, backend.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get = %v, want it unavailable, for its deadline", err)
	}
	_ = s.Close()
	if err := <-got; !errors.Is(err, backend.ErrClosed) {
		t.Errorf("Get = %v, want backend.ErrClosed", err)
	}
	if d := time.Since(began); d > slack {
		t.Errorf("that took %v", d)
	}
}

func TestAServerWithoutSwapIsRefused(t *testing.T) {
	s := open(t, "n", servertest.Memcached(t, "-C").Addr())
	set(t, s, "k", "v")
	if err := s.Set(t.Context(), "k", []byte("w"), time.Minute); !errors.Is(err, memcachedstore.ErrNoCAS) {
		t.Errorf("Set = %v, want ErrNoCAS", err)
	}
	want(t, s, "k", "v")
}

func TestSizes(t *testing.T) {
	addr := servertest.Memcached(t).Addr()
	s := open(t, "n", addr)
	most := strings.Repeat("v", 1<<20-4<<10)
	key := strings.Repeat("k", 247) // the longest that is kept as it is
	r, err := s.Lease(t.Context(), key, backend.LeaseRequest{
		Token: token(1), Owner: strings.Repeat("o", 1024), Tag: strings.Repeat("t", 1024), TTL: time.Minute,
	})
	if err != nil || !r.Won {
		t.Fatalf("Lease = %+v, %v", r, err)
	}
	if ok, err := s.Commit(t.Context(), key, token(1), []byte(most), time.Minute); !ok || err != nil {
		t.Fatalf("Commit = %t, %v of the largest entry", ok, err)
	}
	want(t, s, key, most)
	// The refresh of the largest entry: with its lease in the same item.
	r, err = s.Lease(t.Context(), key, backend.LeaseRequest{
		Token: token(2), Owner: strings.Repeat("o", 1024), Tag: strings.Repeat("t", 1024), TTL: time.Minute, Rejected: []byte("v"),
	})
	if err != nil || !r.Won {
		t.Fatalf("Lease = %+v, %v over the largest entry", r, err)
	}
	if err := s.Set(t.Context(), "k", []byte(most+"v"), time.Minute); !errors.Is(err, memcachedstore.ErrTooLarge) {
		t.Errorf("Set = %v, want ErrTooLarge", err)
	}
	if _, err := s.Commit(t.Context(), "k", token(1), []byte(most+"v"), time.Minute); !errors.Is(err, memcachedstore.ErrTooLarge) {
		t.Errorf("Commit = %v, want ErrTooLarge", err)
	}

	// The server takes less than we were told.
	big, err := memcachedstore.Open([]string{addr}, &memcachedstore.Options{Namespace: "n", MaxValue: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer big.Close()
	set(t, big, "k", "v")
	if err := big.Set(t.Context(), "k", make([]byte, 3<<19), time.Minute); !errors.Is(err, memcachedstore.ErrTooLarge) {
		t.Errorf("Set = %v, want ErrTooLarge", err)
	}
	want(t, big, "k", "v")

	// An entry that we do not accept is a miss, and can be replaced.
	small, err := memcachedstore.Open([]string{addr}, &memcachedstore.Options{Namespace: "n", MaxValue: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	if _, err := small.Get(t.Context(), key); !errors.Is(err, backend.ErrMiss) {
		t.Errorf("Get = %v of an entry beyond MaxValue, want a miss", err)
	}
	set(t, small, key, "short")
	want(t, small, key, "short")
}

func TestSeveralServers(t *testing.T) {
	a, b, c := servertest.Memcached(t), servertest.Memcached(t), servertest.Memcached(t)
	s, other := open(t, "n", a.Addr(), b.Addr(), c.Addr()), open(t, "n", c.Addr(), a.Addr(), b.Addr())
	var keys []string
	for i := range 60 {
		keys = append(keys, fmt.Sprint("k", i))
		set(t, s, keys[i], keys[i])
	}
	for _, k := range keys {
		want(t, other, k, k) // in whatever order they are named
	}
	c.Kill()
	lost, moved := 0, 0
	fewer := open(t, "n", a.Addr(), b.Addr())
	for _, k := range keys {
		if _, err := s.Get(t.Context(), k); errors.Is(err, backend.ErrUnavailable) {
			lost++
		} else if v, err := fewer.Get(t.Context(), k); err != nil || string(v) != k {
			moved++
		}
	}
	if lost < 8 || lost > 32 || moved != 0 {
		t.Errorf("of 60 keys on three servers %d are gone with one, and %d others have moved", lost, moved)
	}
	if err := s.Delete(t.Context(), keys...); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Delete = %v with a server gone, want backend.ErrUnavailable", err)
	}
	for _, k := range keys {
		if v, err := fewer.Get(t.Context(), k); err == nil {
			t.Errorf("Get(%s) = %q after Delete, want a miss", k, v)
		}
	}
}

func TestLongLives(t *testing.T) {
	s := open(t, "n", servertest.Memcached(t).Addr())
	for _, ttl := range []time.Duration{29 * 24 * time.Hour, 31 * 24 * time.Hour, 100 * 365 * 24 * time.Hour, 1<<63 - 1} {
		if err := s.Set(t.Context(), "k", []byte("v"), ttl); err != nil {
			t.Fatal(err)
		}
		<-time.After(1100 * time.Millisecond) // a date in the past, or none, would show by now
		want(t, s, "k", "v")
	}
}

// TestForeignItems: whatever lies under our name counts as nothing, and gives
// way.
func TestForeignItems(t *testing.T) {
	srv := servertest.Memcached(t)
	s := open(t, "n", srv.Addr())
	for _, item := range []string{
		"set n:k 0 0 20\r\n\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x00\x00\x00\x00\x00\x00\x00v\r\n", // but for the mark ours
		"set n:k 0 0 5\r\nhello\r\n", "set n:k 0 0 0\r\n\r\n",
		"set n:k 3188785153 0 0\r\n\r\n", "set n:k 3188785153 0 3\r\n\x07aa\r\n", "set n:k 3188785153 0 12\r\n\xff00000000000\r\n",
	} {
		raw(t, srv.Addr(), item)
		if v, err := s.Get(t.Context(), "k"); !errors.Is(err, backend.ErrMiss) {
			t.Errorf("Get = %q, %v over %q, want a miss", v, err, item)
		}
		if err := s.Delete(t.Context(), "k"); err != nil {
			t.Errorf("Delete = %v over %q", err, item)
		}
		if r, err := s.Lease(t.Context(), "k", backend.LeaseRequest{Token: token(1), TTL: time.Minute}); err != nil || !r.Won || r.Fence < 1e15 {
			t.Errorf("Lease = %+v, %v over %q, want it won", r, err, item)
		}
	}
}

// raw sends a line of the protocol and waits for STORED.
func raw(t *testing.T, addr, command string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, command)
	b := make([]byte, 64)
	if n, _ := conn.Read(b); string(b[:n]) != "STORED\r\n" {
		t.Fatalf("%q: %q", command, b[:n])
	}
}

// TestOneKeyTwiceInABatch: each question is a step of its own.
func TestOneKeyTwiceInABatch(t *testing.T) {
	s := open(t, "n", servertest.Memcached(t).Addr())
	ask := func(n int) backend.LeaseAsk {
		return backend.LeaseAsk{Key: "k", LeaseRequest: backend.LeaseRequest{Token: token(n), TTL: time.Minute}}
	}
	a := s.LeaseMulti(t.Context(), []backend.LeaseAsk{ask(1), ask(2), ask(1)})
	if !a[0].Won || a[1].Won || a[1].Err != nil || !a[2].Won || a[2].Fence != a[0].Fence {
		t.Errorf("LeaseMulti = %+v, want the first to win, and again", a)
	}
	for _, c := range s.CommitMulti(t.Context(), []backend.CommitAsk{
		{Key: "k", Token: token(1), Value: []byte("v"), TTL: time.Minute}, {Key: "k", Token: token(1), Value: []byte("v"), TTL: time.Minute},
	}) {
		if !c.OK || c.Err != nil {
			t.Errorf("CommitMulti = %+v, want it written, and again", c)
		}
	}
	for _, a := range s.LeaseMulti(t.Context(), []backend.LeaseAsk{ask(1), ask(2), ask(3)}) {
		if string(a.Value) != "v" {
			t.Errorf("LeaseMulti = %+v, want the value", a)
		}
	}
	if err := s.Delete(t.Context(), "k", "k", "k"); err != nil {
		t.Errorf("Delete = %v", err)
	}
}

// TestRacing: whatever races, one holds, and what a load without its lease
// brings is not kept.
func TestRacing(t *testing.T) {
	addr := servertest.Memcached(t).Addr()
	a, b := open(t, "n", addr), open(t, "n", addr)
	for round := range 100 {
		key := fmt.Sprint(round)
		var wg sync.WaitGroup
		fences := make([]uint64, 8)
		for i := range fences {
			s := []*memcachedstore.Store{a, b}[i%2]
			wg.Go(func() {
				r, err := s.Lease(t.Context(), key, backend.LeaseRequest{Token: token(i), TTL: time.Minute})
				if err != nil {
					t.Errorf("Lease = %v", err)
				}
				fences[i] = r.Fence
			})
		}
		wg.Wait()
		holder := slices.IndexFunc(fences, func(f uint64) bool { return f > 0 })
		if holder < 0 || slices.IndexFunc(fences[holder+1:], func(f uint64) bool { return f > 0 }) >= 0 {
			t.Fatalf("fences = %d, want that of one who has won", fences)
		}
		wg.Go(func() { _, _ = a.Commit(t.Context(), key, token(holder), []byte("loaded"), time.Minute) })
		wg.Go(func() { set(t, b, key, "set") })
		wg.Wait()
		want(t, a, key, "set")
	}
}
