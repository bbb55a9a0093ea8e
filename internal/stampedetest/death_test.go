package stampedetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/fleettest"
)

// taken is how long a load takes that comes after a death.
const taken = 200 * time.Millisecond

// death kills the holder of a load and returns after how long the others, of
// whom each has so many callers, have a value.
func death(t *testing.T, f *fleettest.Fleet, key string, herds []*fleettest.Herd, first fleettest.Load, callers int) time.Duration {
	t.Helper()
	f.SetLoader(key, loader{Takes: taken})
	killed := fleettest.Now()
	first.Proc.Kill()
	var after time.Duration
	for i, h := range herds {
		got := h.Wait()
		if i == 0 {
			continue // the dead
		}
		second := f.AwaitLoad(key, 2, soon)
		if got.Want(t, second.ID); got.Callers != callers {
			t.Errorf("%v, want %d callers", got, callers)
		}
		after = max(after, got.After(killed, 1))
	}
	f.WantLoads(key, 2)
	return after
}

func TestHolderIsKilled(t *testing.T) {
	const limit = taken + 250*time.Millisecond
	s := newServer(t)
	f := start(t, s.URL(), 4, config{LeaseTTL: 30 * time.Second, Loader: blocks})
	wantMode(t, f, backend.WakeLive)
	best := time.Hour
	for _, key := range []string{"a", "b", "c"} {
		first, herds := s.held(f, key, 25)
		s.waiting(key, 3)
		d := death(t, f, key, herds, first, 25)
		t.Logf("the others had the next value %v after the death; the load takes %v", d, taken)
		if best = min(best, d); best < limit {
			return
		}
		first.Proc.Restart() // the machine is busy
	}
	t.Errorf("the others had the next value %v after the death, want at most %v", best, limit)
}

// What a process does first must not cost its lease's time when it dies.
func TestHolderIsKilledInItsFirstLoad(t *testing.T) {
	const limit = taken + 250*time.Millisecond
	s := newServer(t)
	best := time.Hour
	for range 3 {
		s.FlushAll()
		f := start(t, s.URL(), 3, config{Cold: true, LeaseTTL: 30 * time.Second, Loader: blocks})
		first, herds := s.held(f, "k", 10)
		s.waiting("k", 2)
		d := death(t, f, "k", herds, first, 10)
		t.Logf("the others had the next value %v after the death; the load takes %v", d, taken)
		if best = min(best, d); best < limit {
			return
		}
	}
	t.Errorf("the others had the next value %v after the death, want at most %v", best, limit)
}

// Where nobody can tell that a holder has died, its lease's end does.
func TestHolderIsKilledUnseen(t *testing.T) {
	const lease = time.Second
	for name, open := range map[string]func(s *server, c *config) (string, backend.WakeMode){
		"polling": func(s *server, c *config) (string, backend.WakeMode) {
			c.NoPush = true
			return s.URL(), backend.WakePoll
		},
		"liveness refused": func(s *server, _ *config) (string, backend.WakeMode) {
			return s.user("&fleet:p:* +subscribe +unsubscribe +publish"), backend.WakePush
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			c := config{LeaseTTL: lease, Loader: blocks}
			url, mode := open(s, &c)
			f := start(t, url, 3, c)
			wantMode(t, f, mode)
			first, herds := s.held(f, "k", 10)
			d := death(t, f, "k", herds, first, 10)
			t.Logf("the others had the next value %v after the death; the load takes %v", d, taken)
			if limit := lease + 1600*time.Millisecond + taken; d > limit {
				t.Errorf("the others had the next value %v after the death, want at most %v", d, limit)
			}
		})
	}
}

// A holder that stood still for longer than its lease has lost it.
func TestHolderIsPaused(t *testing.T) {
	const lease = 500 * time.Millisecond
	s := newServer(t)
	f := start(t, s.URL(), 3, config{LeaseTTL: lease, Loader: blocks})
	first, herds := s.held(f, "k", 10)
	first.Proc.Pause()
	paused := fleettest.Now()
	second := f.AwaitLoad("k", 2, soon)
	s.until("twice the lease", func() bool { return fleettest.Now().Sub(paused) > 2*lease })
	second.Release()
	second = second.AwaitCommit(soon)
	for _, h := range herds[1:] {
		h.Wait().Want(t, second.ID)
	}
	first.Release(fleettest.Value("late"))
	first.Proc.Resume()
	if got := herds[0].Wait(); got.Values["late"]+got.Values[second.ID]+got.Failed(context.DeadlineExceeded) != 10 {
		t.Errorf("Get = %v, want the late value or the newer one", got)
	}
	if first = first.AwaitCommit(soon); !first.Lost || second.Lost || second.Fence <= first.Fence {
		t.Errorf("late load = %+v, newer load = %+v, want the late one lost", first, second)
	}
	wantPeek(t, f, "k", second.ID)
	f.Get("k", 5, soon).Want(t, second.ID)
	first.Proc.Restart() // its memory is empty now
	wantPeek(t, f, "k", second.ID)
	f.WantLoads("k", 2)
}

// A wake-up that is lost with its connection is not slept through: without it
// those who wait look again 1.6 s after they began, at the earliest.
func TestPushIsLost(t *testing.T) {
	const bound = time.Second
	s := newServer(t)
	f := start(t, s.URL(), 5, config{Loader: blocks})
	wantMode(t, f, backend.WakeLive)
	var last []time.Duration // callers' delays
	for _, key := range []string{"a", "b"} {
		load, herds := s.held(f, key, 10)
		s.waiting(key, 4)
		if n := s.Do("CLIENT KILL TYPE pubsub"); n != ":5" {
			t.Errorf("CLIENT KILL = %s, want :5", n)
		}
		load.Release()
		load = load.AwaitCommit(soon)
		var after time.Duration
		for _, h := range herds {
			got := h.Wait()
			got.Want(t, load.ID)
			after = max(after, got.After(load.Committed, 1))
		}
		last = append(last, after)
		f.WantLoads(key, 1)
		s.until("new subscriptions", func() bool {
			for _, p := range f.Procs {
				if p.Stats().Tiers[0].WakeMode != backend.WakeLive {
					return false
				}
			}
			return true
		})
	}
	if t.Logf("the last caller had its value %v after the commit", last); slices.Min(last) > bound {
		t.Errorf("the last caller had its value %v after the commit, want it within %v", last, bound)
	}
	load, herds := s.held(f, "after", 10)
	s.waiting("after", 4) // to be told, again
	load.Release()
	for _, h := range herds {
		h.Wait().Want(t, load.ID)
	}
}
