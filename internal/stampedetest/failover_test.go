package stampedetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/internal/fleettest"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

// What a failover may cost; see the design's promises D3, L3.
const (
	budget    = 300 * time.Millisecond  // of a call: room for a busy machine
	pollCap   = 1600 * time.Millisecond // the longest that a waiter does not look
	usedAgain = time.Second + 2*time.Second
	noise     = time.Second // of two processors for four processes, their servers and the race detector
)

// The master of a key is killed while one process loads it and the others wait:
// they load for themselves, at most one load in each, and nobody sees an error.
// Once a replica has taken over the shared tier is used again, fences go on
// rising, and what the first holder commits late replaces nothing.
func TestMasterIsKilledInALoad(t *testing.T) {
	layout, err := valkeylease.NewLayout("fleet")
	if err != nil {
		t.Fatal(err)
	}
	servertest.InDeployments(t, layout.Lease("k"), func(t *testing.T, d *servertest.Deployment) {
		const n, callers = 4, 25
		s := &server{d.Master, t}
		c := config{Loader: blocks}
		c.Remote.Budget = budget
		f := fleettest.Start(t, d.URL, n, c)
		first, herds := s.held(f, "k", callers)
		s.waiting("k", n-1)
		f.SetLoader("", loader{Takes: taken})
		f.SetLoader("k", loader{Takes: taken})
		killed := fleettest.Now()
		d.Master.Kill()
		var last time.Duration
		for _, h := range herds[1:] {
			got := h.Wait()
			if len(got.Errors) > 0 || got.Lost > 0 || got.Callers != callers {
				t.Errorf("Get = %v, want a value for all", got)
			}
			last = max(last, got.After(killed, 1))
		}
		t.Logf("the last waiter had a value %v after the master's death; a load takes %v", last, taken)
		if limit := budget + pollCap + taken + noise; last > limit {
			t.Errorf("the last waiter had a value %v after the master's death, want it within %v", last, limit)
		}
		oneEach(t, f, "k")

		next := d.AwaitPromotion()
		sharedAgain(t, f, layout, next)
		afterFailover(t, f, first, herds[0])
		if got := f.Get(onNode(t, layout, next, "cold"), callers, soon); len(got.Values) != 1 || len(got.Errors) > 0 {
			t.Errorf("Get of a cold key = %v, want one value for all", got)
		}
	})
}

// oneEach fails the test if two loads of key have run in one process, or a fence
// did not rise.
func oneEach(t *testing.T, f *fleettest.Fleet, key string) {
	t.Helper()
	loads, running := f.Loads(key), make(map[*fleettest.Proc]int)
	for _, l := range loads {
		if running[l.Proc]++; running[l.Proc] > 1 {
			t.Errorf("%d loads in process %d, want one at most", running[l.Proc], l.Proc.Index)
		}
	}
	t.Logf("%d loads", len(loads))
	rising(t, loads)
}

// rising fails the test unless the fences of the loads that had one rise.
func rising(t *testing.T, loads []fleettest.Load) {
	t.Helper()
	last := uint64(0)
	for _, l := range loads {
		if l.Fence != 0 && l.Fence <= last {
			t.Errorf("load %s has fence %d after %d, want it to rise", l.ID, l.Fence, last)
		}
		last = max(last, l.Fence)
	}
}

// onNode returns a key, of those that begin with prefix, that node holds.
func onNode(t *testing.T, layout valkeylease.Layout, node *servertest.Server, prefix string) string {
	t.Helper()
	for i := range 100 {
		key := fmt.Sprint(prefix, i)
		if !strings.HasPrefix(node.Do("EXISTS "+layout.Value(key)), "-MOVED") {
			return key
		}
	}
	t.Fatal("no key on the node")
	return ""
}

// sharedAgain waits until what one process writes to the node that was promoted
// is read by the others.
func sharedAgain(t *testing.T, f *fleettest.Fleet, layout valkeylease.Layout, next *servertest.Server) {
	t.Helper()
	promoted := fleettest.Now()
	for i := 0; ; i++ {
		key := onNode(t, layout, next, fmt.Sprint("shared-", i, "-"))
		ok := f.Procs[0].Set(key, "v") == nil
		for _, p := range f.Procs[1:] {
			v, err := p.Peek(key)
			ok = ok && v == "v" && err == nil
		}
		took := fleettest.Now().Sub(promoted)
		if ok {
			t.Logf("the shared tier is used again %v after the promotion", took)
		}
		if took > usedAgain+noise {
			t.Errorf("the shared tier is used again %v after the promotion: %t, want it within %v", took, ok, usedAgain)
			return
		}
		if ok {
			return
		}
	}
}

// afterFailover deletes the key and loads it anew while its first load, which
// began before the failover, still runs; then that ends.
func afterFailover(t *testing.T, f *fleettest.Fleet, first fleettest.Load, herd *fleettest.Herd) {
	t.Helper()
	p := others(f, first.Proc)[0]
	if err := p.Delete("k"); err != nil {
		t.Fatalf("Delete = %v after the failover", err)
	}
	before := len(f.Loads("k"))
	p.Get("k", 5, soon)
	loads := f.Loads("k")
	if len(loads) != before+1 {
		t.Fatalf("%d loads, want one after the Delete:%v", len(loads)-before, loads[before:])
	}
	later := loads[before].AwaitCommit(soon)
	if later.Fence == 0 || later.Lost {
		t.Errorf("load = %+v after the failover, want it to hold a lease", later)
	}
	rising(t, loads)

	first.Release(fleettest.Value("late"))
	if got := herd.Wait(); len(got.Errors) > 0 || got.Values["late"]+got.Values[later.ID] != got.Callers {
		t.Errorf("Get = %v, want the late value, or the later one", got)
	}
	if first = first.AwaitCommit(soon); !first.Lost {
		t.Errorf("late load = %+v, want its entry refused", first)
	}
	for _, p := range f.Procs {
		p.Kill()
		p.Restart() // its memory is empty now
	}
	wantPeek(t, f, "k", later.ID)
}
