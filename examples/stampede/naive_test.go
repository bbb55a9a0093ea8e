package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/bellwethercache/bellwether/lock"
)

// gatedAPI answers each call only when the test says so.
type gatedAPI struct {
	url   string
	calls chan chan struct{} // of each call that has begun: close it to answer
}

func newGatedAPI(t *testing.T) *gatedAPI {
	t.Helper()
	g := &gatedAPI{calls: make(chan chan struct{})}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := make(chan struct{})
		select {
		case g.calls <- answer:
		case <-r.Context().Done():
			return
		}
		<-answer
		_ = json.NewEncoder(w).Encode(weather{Name: "London"})
	}))
	t.Cleanup(srv.Close)
	g.url = srv.URL
	return g
}

// withNaive is the textbook's protection on a server whose clock the test moves.
func withNaive(t *testing.T, api string, lockTTL time.Duration, backoff lock.Backoff) (*naive, *miniredis.Miniredis) {
	t.Helper()
	m := miniredis.RunT(t)
	src := newSource(api, "k", 10, nil)
	t.Cleanup(src.close)
	n, err := openNaive(&setup{Protection: protectNaive, Valkey: "valkey://" + m.Addr(), LockTTL: lockTTL}, src, noop.NewTracerProvider().Tracer(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.close() })
	n.backoff = backoff
	return n, m
}

// request is one get with its track.
func request(ctx context.Context, p protection) record {
	t := new(track)
	began := time.Now()
	_, err := p.get(withTrack(ctx, t), cities[0])
	return t.finish(0, time.Since(began), err)
}

func instantly(int) time.Duration { return 0 }

func TestNaiveLoadsOnceWhileItsLockLasts(t *testing.T) {
	api := newGatedAPI(t)
	lost, ended := make(chan struct{}), make(chan struct{})
	n, m := withNaive(t, api.url, time.Minute, func(int) time.Duration {
		close(lost)
		<-ended // sooner, and it might read nothing and yet get the lock: the textbook does not look twice
		return 0
	})
	var holder, waiter record
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(ended)
		holder = request(t.Context(), n)
	})
	answer := <-api.calls
	wg.Go(func() { waiter = request(t.Context(), n) })
	<-lost
	close(answer)
	wg.Wait()
	if holder.Status != statusAPI || holder.Lock != lockAcquired || holder.Waited {
		t.Errorf("holder = %+v, want an API call under the lock", holder)
	}
	if waiter.Status != statusFilled || waiter.Lock != lockHeld || !waiter.Waited || waiter.Retries != 1 {
		t.Errorf("waiter = %+v, want filled after a wait", waiter)
	}
	if m.Exists(n.lockKey(cities[0])) {
		t.Error("the lock is still there")
	}
	if r := request(t.Context(), n); r.Status != statusL2 || r.Waited {
		t.Errorf("later = %+v, want an L2 hit", r)
	}
}

// What the textbook gets wrong: T0 first load, T100 the lock is gone, second
// load; and the first one's DEL removes the second one's lock.
func TestNaiveLockShorterThanTheLoad(t *testing.T) {
	api := newGatedAPI(t)
	n, m := withNaive(t, api.url, 100*time.Millisecond, instantly)
	var one, two sync.WaitGroup
	var first, second record
	one.Go(func() { first = request(t.Context(), n) })
	answerFirst := <-api.calls
	m.FastForward(100 * time.Millisecond)
	two.Go(func() { second = request(t.Context(), n) })
	answerSecond := <-api.calls
	if !m.Exists(n.lockKey(cities[0])) {
		t.Error("the second holder has no lock")
	}
	close(answerFirst)
	one.Wait()
	if m.Exists(n.lockKey(cities[0])) {
		t.Error("the first holder's plain DEL has left the second one's lock")
	}
	close(answerSecond)
	two.Wait()
	for _, r := range []record{first, second} {
		if r.Status != statusAPI || r.Lock != lockAcquired {
			t.Errorf("%+v, want an API call under the lock", r)
		}
	}
}

func TestNaiveTimesOutAfterFiveRetries(t *testing.T) {
	api := newGatedAPI(t)
	n, m := withNaive(t, api.url, time.Minute, instantly)
	if err := m.Set(n.lockKey(cities[0]), "somebody who died"); err != nil {
		t.Fatal(err)
	}
	go func() { close(<-api.calls) }()
	r := request(t.Context(), n)
	if r.Status != statusAPI || !r.TimedOut || r.Retries != naiveRetries || r.Lock != lockHeld {
		t.Errorf("%+v, want an API call after a timeout and 5 retries", r)
	}
	if !m.Exists(n.lockKey(cities[0])) {
		t.Error("who never had the lock deleted it")
	}
}

func TestWithoutAServerTheTextbookLoads(t *testing.T) {
	api := newGatedAPI(t)
	n, m := withNaive(t, api.url, time.Minute, instantly)
	m.Close()
	go func() { close(<-api.calls) }()
	if r := request(t.Context(), n); r.Status != statusAPI || r.Lock != "" || r.TimedOut {
		t.Errorf("%+v, want an API call without a lock", r)
	}
}

func TestNoneLoadsForEverybody(t *testing.T) {
	api := newGatedAPI(t)
	m := miniredis.RunT(t)
	src := newSource(api.url, "k", 10, nil)
	defer src.close()
	p, err := openNone(&setup{Protection: protectNone, Valkey: "valkey://" + m.Addr()}, src, noop.NewTracerProvider().Tracer(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.close() }()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if r := request(t.Context(), p); r.Status != statusAPI || r.Waited {
				t.Errorf("%+v, want an API call", r)
			}
		})
	}
	var answers []chan struct{}
	for range 3 {
		answers = append(answers, <-api.calls)
	}
	for _, a := range answers {
		close(a)
	}
	wg.Wait()
	if r := request(t.Context(), p); r.Status != statusL2 {
		t.Errorf("later = %+v, want an L2 hit", r)
	}
}
