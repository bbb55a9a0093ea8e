package stampedetest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/fleettest"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

func TestRoundTrips(t *testing.T) {
	s := newServer(t)
	f := start(t, s.URL(), 3, config{Proxied: true})
	f.Procs[2].Get("other", 1, soon) // the server knows the scripts
	before := s.Commands()
	load := servertest.Commands{"evalsha": 2} // read or lease, commit
	if d := cost(f.Procs[0], "k"); !maps.Equal(d, load) {
		t.Errorf("a cold load cost %v, want %v", d, load)
	}
	if n := s.Commands().Since(before)["evalsha"]; n != 2 {
		t.Errorf("INFO commandstats counts %d evalsha for a cold load, want 2", n)
	}
	if d := cost(f.Procs[1], "k"); d.Total() != 1 {
		t.Errorf("a remote hit cost %v, want 1 command", d)
	}
	if d := cost(f.Procs[1], "k"); d.Total() != 0 {
		t.Errorf("a hit in memory cost %v, want none", d)
	}
	f.WantLoads("k", 1)
}

// The main job: a key that was in memory has expired, everywhere.
func TestRoundTripsOfAnExpiredKey(t *testing.T) {
	const ttl = time.Second
	s := newServer(t)
	f := start(t, s.URL(), 2, config{Proxied: true, Policy: cache.Policy{TTL: ttl}})
	loads, hits := f.Procs[0], f.Procs[1]
	read := func(key string) { // so many hits make it read first
		keys := []string{key}
		for i := range 60 {
			keys = append(keys, fmt.Sprint(key, i))
		}
		_, _ = loads.GoMany(keys...).Wait()
		if found, err := hits.GoMany(keys...).Wait(); len(found) != len(keys) || err != nil {
			t.Fatalf("GetMany = %d values, %v", len(found), err)
		}
	}
	read("other")
	if d := cost(hits, "cold"); !maps.Equal(d, servertest.Commands{"get": 1, "evalsha": 2}) {
		t.Errorf("a cold load after hits cost %v, want a get and 2 evalsha", d)
	}
	read("k") // but memory knows that it held this one to its end
	over := fleettest.Now() + fleettest.Moment(ttl)
	s.until("end of the entry", func() bool {
		return fleettest.Now() > over && s.Do("EXISTS "+s.keys("k").Value) == ":0"
	})
	if d := cost(hits, "k"); !maps.Equal(d, servertest.Commands{"evalsha": 2}) {
		t.Errorf("a load of an expired key cost %v, want 2 evalsha", d)
	}
	f.WantLoads("k", 2)
}

// cost is what a Get asks of the server, beyond opening connections.
func cost(p *fleettest.Proc, key string) servertest.Commands {
	before := p.Proxy.Commands()
	p.Get(key, 1, soon)
	d := p.Proxy.Commands().Since(before)
	delete(d, "hello")
	delete(d, "client")
	return d
}

func TestOneLoadOfAColdKey(t *testing.T) {
	rounds := 10
	if long {
		rounds = 50
	}
	f := start(t, newServer(t).URL(), 8, config{Loader: loader{Takes: 20 * time.Millisecond}})
	for i := range rounds {
		key := fmt.Sprint("k", i)
		got := f.Get(key, 100, soon)
		f.WantLoads(key, 1)
		if got.Want(t, f.Loads(key)[0].ID); got.Callers != 800 {
			t.Errorf("%v, want 800 callers", got)
		}
	}
	for _, p := range f.Procs {
		if n := p.Stats().Unprotected; n != 0 {
			t.Errorf("%d unprotected loads in process %d", n, p.Index)
		}
	}
}

// Waiters have the value at once, and it is not by asking that they learn of it.
func TestWaitersAreTold(t *testing.T) {
	const (
		callers = 10 // in each process
		rounds  = 5
		bound   = 60 * time.Millisecond // 10 ms on two idle cores; those who poll take 100 ms and more
	)
	s := newServer(t)
	f := start(t, s.URL(), 17, config{Loader: blocks})
	wantMode(t, f, backend.WakeLive)
	var delays []time.Duration
	for i := range rounds {
		key := fmt.Sprint("k", i)
		herd := f.Go(key, callers, soon)
		load := f.AwaitLoad(key, 1, soon)
		s.waiting(key, 16)
		load.Release()
		got := herd.Wait()
		got.Want(t, load.ID)
		load = load.AwaitCommit(soon)
		delays = append(delays, got.After(load.Committed, 0.99))
		t.Logf("after the commit: median %v, p99 %v, last %v; after the load's end: p99 %v", got.After(load.Committed, 0.5),
			got.After(load.Committed, 0.99), got.After(load.Committed, 1), got.After(load.Ended, 0.99))
		f.WantLoads(key, 1)
	}
	if best := slices.Min(delays); best > bound {
		t.Errorf("p99 of the waiters' delays = %v, want at least one below %v", delays, bound)
	}
}

// How long a load takes costs the server next to nothing.
func TestWaitersDoNotAsk(t *testing.T) {
	s := newServer(t)
	f := start(t, s.URL(), 5, config{Proxied: true, Loader: blocks})
	f.SetLoader("other", loader{})
	for _, p := range f.Procs {
		p.Get("other", 1, soon)
	}
	asked := func(key string, takes time.Duration) (most, polls int64) {
		f.SetLoader(key, loader{Takes: takes})
		load, herds := s.held(f, key, 20)
		before := make(map[*fleettest.Proc]servertest.Commands)
		for _, p := range others(f, load.Proc) {
			before[p] = p.Proxy.Commands()
		}
		for _, h := range herds {
			h.Wait().Want(t, load.ID)
		}
		for p, b := range before {
			d := p.Proxy.Commands().Since(b)
			delete(d, "hello")
			delete(d, "client")
			most, polls = max(most, d.Total()-d["pubsub"]), max(polls, d["pubsub"])
			t.Logf("a load of %v: process %d sent %v", takes, p.Index, d)
		}
		return most, polls
	}
	short, _ := asked("short", 300*time.Millisecond)
	most, polls := asked("long", 3*time.Second)
	// One look is the net, for what nobody tells; its next comes after 4.8 s.
	if most > short+1 || most > 2 {
		t.Errorf("a waiting process sent %d commands during 3 s, and %d during 300 ms; want at most 1 more", most, short)
	}
	if polls > 32 {
		t.Errorf("%d looks whether the holder lives within 3 s, want 10 a second", polls)
	}
}

func TestBatchesShareTheirLoads(t *testing.T) {
	f := start(t, newServer(t).URL(), 4, config{Loader: loader{Takes: 100 * time.Millisecond}})
	var all []string
	for i := range 40 {
		all = append(all, fmt.Sprint("k", i))
	}
	var batches []*fleettest.Many
	for i, p := range f.Procs {
		part := slices.Clone(all[6*i : 6*i+22]) // each key in one to four of them
		if i%2 == 1 {
			slices.Reverse(part)
		}
		batches = append(batches, p.GoMany(part...))
	}
	single := f.Go(all[20], 10, soon)
	values := make(map[string]string)
	for i, b := range batches {
		found, err := b.Wait()
		if err != nil || len(found) != 22 {
			t.Errorf("GetMany of process %d = %d values, %v, want 22", i, len(found), err)
		}
		for key, v := range found {
			if other, ok := values[key]; ok && other != v {
				t.Errorf("%q is %q and %q", key, v, other)
			}
			values[key] = v
		}
	}
	single.Wait().Want(t, values[all[20]])
	for _, key := range all {
		f.WantLoads(key, 1)
	}
}

// Whoever cannot wait for the usual time of a load is told at once.
func TestDeadlineThatCannotBeMet(t *testing.T) {
	const usual, deadline = time.Second, 500 * time.Millisecond
	s := newServer(t)
	f := start(t, s.URL(), 2, config{
		Policy: cache.Policy{StaleIfError: time.Hour}, Loader: loader{Takes: usual},
	})
	s.hearing(f, backend.CoherencePublish)
	holder, waiter := f.Procs[0], f.Procs[1]
	if err := holder.Set("stale", "old"); err != nil {
		t.Fatal(err)
	}
	if err := holder.Expire("stale"); err != nil {
		t.Fatal(err)
	}
	holder.Get("other", 1, soon) // now it knows how long a load takes
	herds := []*fleettest.Herd{holder.Go("none", 1, soon), holder.Go("stale", 1, soon)}
	f.AwaitLoad("none", 1, soon)
	f.AwaitLoad("stale", 1, soon)
	none, old := waiter.Get("none", 5, deadline), waiter.Get("stale", 5, deadline)
	if none.Failed(cache.ErrInProgress) != 5 || none.Percentile(1) > deadline*4/5 {
		t.Errorf("Get = %v, want ErrInProgress at once", none)
	}
	if old.Want(t, "old"); old.Percentile(1) > deadline*4/5 {
		t.Errorf("Get = %v, want the stale value at once", old)
	}
	if patient := waiter.Get("none", 1, soon); len(patient.Errors) != 0 {
		t.Errorf("Get = %v, want the value after a wait", patient)
	}
	for _, h := range herds {
		h.Wait()
	}
	f.WantLoads("none", 1)
	f.WantLoads("stale", 1)
}
