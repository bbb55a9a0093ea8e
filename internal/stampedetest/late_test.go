package stampedetest

import (
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/fleettest"
)

// What is written during a load wins, whichever process writes it.
func TestWriteDuringALoad(t *testing.T) {
	s := newServer(t)
	f := start(t, s.URL(), 3, config{Loader: blocks, Policy: cache.Policy{StaleIfError: time.Hour}})
	for _, op := range []struct {
		name  string
		write func(p *fleettest.Proc, key string) error
		loads int // in all
	}{
		{"delete", (*fleettest.Proc).Delete, 2},
		{"expire", (*fleettest.Proc).Expire, 2},
		{"set", func(p *fleettest.Proc, key string) error { return p.Set(key, "set") }, 1},
	} {
		for i, who := range []string{"holder", "waiter", "another"} {
			writeDuringALoad(t, s, f, op.name+"-by-"+who, i, op.write, op.loads)
		}
	}
}

// writeDuringALoad writes key in process i while process 0 loads it. Process 1
// waits for that if it is to write.
func writeDuringALoad(t *testing.T, s *server, f *fleettest.Fleet, key string, i int, write func(*fleettest.Proc, string) error, loads int) {
	t.Helper()
	herd := f.Procs[0].Go(key, 5, soon)
	first := f.AwaitLoad(key, 1, soon)
	f.SetLoader(key, loader{})
	var waiting *fleettest.Herd
	if i == 1 {
		waiting = f.Procs[1].Go(key, 5, soon)
		s.waiting(key, 1)
	}
	if err := write(f.Procs[i], key); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	if waiting != nil { // the lease that it waited for is over
		got := waiting.Wait()
		got.Want(t, current(f, key))
	}
	// The holder hears of it: nobody joins the load before any more.
	s.until("end of the flight before", func() bool {
		got := f.Procs[0].Get(key, 1, 200*time.Millisecond)
		return got.Values[current(f, key)] == 1
	})
	first.Release()
	herd.Wait().Want(t, first.ID) // it was asked for before
	if first = first.AwaitCommit(soon); !first.Lost {
		t.Errorf("%s: load = %+v, want its entry refused", key, first)
	}
	for _, p := range f.Procs {
		got := p.Get(key, 5, soon)
		if got.Want(t, current(f, key)); got.Values[first.ID] > 0 {
			t.Errorf("%s: process %d: %v, want nothing of the load before", key, p.Index, got)
		}
	}
	wantPeek(t, f, key, current(f, key))
	f.WantLoads(key, loads)
	s.free(key)
}

// current is the value of key after its second load, or "set".
func current(f *fleettest.Fleet, key string) string {
	if loads := f.Loads(key); len(loads) > 1 {
		return loads[1].ID
	}
	return "set"
}

// A command whose answer, or which itself, is lost on its way is repeated, and
// the same lease goes on.
func TestReplyIsLost(t *testing.T) {
	s := newServer(t)
	f := start(t, s.URL(), 3, config{Proxied: true, LeaseTTL: 30 * time.Second, Loader: loader{Takes: 100 * time.Millisecond}})
	for _, p := range f.Procs {
		p.Get("other", 1, soon) // the server knows the scripts
	}
	for _, c := range []struct {
		name     string
		lose     func(p *fleettest.Proxy, n int, contains ...string) <-chan struct{}
		contains []string
	}{
		{"reply-lease", (*fleettest.Proxy).LoseReply, []string{":f:"}},
		{"reply-commit", (*fleettest.Proxy).LoseReply, []string{"value of reply-commit"}},
		{"request-lease", (*fleettest.Proxy).LoseRequest, []string{":f:"}},
		{"request-commit", (*fleettest.Proxy).LoseRequest, []string{"value of request-commit"}},
	} {
		f.SetLoader(c.name, loader{Takes: 100 * time.Millisecond, Then: fleettest.Value("value of " + c.name)})
		lost := c.lose(f.Procs[0].Proxy, 1, append(c.contains, "EVALSHA", ":"+c.name)...)
		load, herds := s.held(f, c.name, 20)
		for _, h := range herds {
			h.Wait().Want(t, "value of "+c.name)
		}
		select {
		case <-lost:
		default:
			t.Errorf("%s: nothing was lost", c.name)
		}
		if load = load.AwaitCommit(soon); load.Lost || load.Fence == 0 {
			t.Errorf("load = %+v, want the same lease to go on", load)
		}
		f.WantLoads(c.name, 1)
		wantPeek(t, f, c.name, "value of "+c.name)
		s.free(c.name)
	}
}

// A server that forgets costs loads, at most one in each process, and nothing
// else.
func TestServerForgetsALease(t *testing.T) {
	for name, forget := range map[string]func(s *server){
		"flush":   func(s *server) { s.FlushAll() },
		"evict":   func(s *server) { s.Do("DEL " + s.keys("k").Lease) },
		"restart": func(s *server) { s.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			const n = 4
			s := newServer(t)
			f := start(t, s.URL(), n, config{LeaseTTL: 600 * time.Millisecond, Loader: blocks})
			first, herds := s.held(f, "k", 10)
			s.waiting("k", n-1)
			f.SetLoader("k", loader{Takes: 100 * time.Millisecond})
			forget(s)
			for _, h := range herds[1:] { // while the first load still runs
				if got := h.Wait(); len(got.Errors) > 0 {
					t.Errorf("%v, want values only", got)
				}
			}
			first.Release(fleettest.Value("late"))
			if got := herds[0].Wait(); len(got.Errors) > 0 {
				t.Errorf("%v, want values only", got)
			}
			loads := f.Loads("k")
			if t.Logf("%d loads", len(loads)); len(loads) < 2 || len(loads) > n {
				t.Errorf("%d loads, want at least 2 and at most one in each of %d processes", len(loads), n)
			}
			if first = first.AwaitCommit(soon); !first.Lost {
				t.Errorf("late load = %+v, want its entry refused", first)
			}
			if v := s.Do("GET " + s.keys("k").Value); strings.Contains(v, "late") {
				t.Error("the late load has written its value")
			}
			if v, err := first.Proc.Peek("k"); v == "late" {
				t.Errorf("Peek = %q, %v in the late load's process", v, err)
			}
			s.free("k")
		})
	}
}
