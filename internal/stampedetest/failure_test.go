package stampedetest

import (
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/fleettest"
)

// A source that is down is asked once in a cool-down, however many want to know.
func TestFailingSource(t *testing.T) {
	const cool = 300 * time.Millisecond
	s := newServer(t)
	f := start(t, s.URL(), 4, config{
		Policy: cache.Policy{CoolDown: cool, CoolDownMax: 2 * cool}, ShareFailures: true,
		Loader: loader{Takes: 50 * time.Millisecond, Then: fleettest.Error("boom")},
	})
	wantFailed := func(got *fleettest.Got) {
		t.Helper()
		n := got.Failed(cache.ErrCooling)
		for name, callers := range got.Errors {
			if f := got.Failures[name]; !f.Is(cache.ErrCooling) && name == "LoadError+boom" {
				n += callers
			}
		}
		if n != got.Callers {
			t.Errorf("Get = %v, want the load's failure for all", got)
		}
	}
	got := f.Get("k", 25, soon)
	if wantFailed(got); got.Callers != 100 || got.Percentile(1) > soon/2 {
		t.Errorf("Get = %v, want 100 callers, who do not wait in vain", got)
	}
	for len(f.Loads("k")) < 4 {
		wantFailed(f.Get("k", 25, soon))
	}
	loads := f.Loads("k")
	for i, least := range []time.Duration{cool, 2 * cool, 2 * cool} { // up to a quarter less
		pause := loads[i+1].Began.Sub(loads[i].Ended)
		t.Logf("the source had %v of peace after failure %d", pause, i+1)
		if pause < least*3/4 {
			t.Errorf("the source was asked again %v after failure %d, want at least %v", pause, i+1, least*3/4)
		}
	}
	f.SetLoader("k", loader{})
	s.until("value after the cool-down", func() bool { return len(f.Procs[0].Get("k", 1, soon).Errors) == 0 })
	f.Get("k", 25, soon).Want(t, f.Loads("k")[4].ID)
}

func TestFailingSourceAndAStaleValue(t *testing.T) {
	f := start(t, newServer(t).URL(), 4, config{
		Policy: cache.Policy{CoolDown: time.Minute, StaleIfError: time.Hour},
		Loader: loader{Takes: 50 * time.Millisecond, Then: fleettest.Error("boom")},
	})
	if err := f.Procs[0].Set("k", "old"); err != nil {
		t.Fatal(err)
	}
	if err := f.Procs[0].Expire("k"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.Get("k", 25, soon).Want(t, "old")
		f.WantLoads("k", 1)
	}
}

// Without push those who wait look for themselves: later, and as well.
func TestWithoutPush(t *testing.T) {
	for name, url := range map[string]func(s *server, c *config) string{
		"turned off":      func(s *server, c *config) string { c.NoPush = true; return s.URL() },
		"refused by ACL":  func(s *server, _ *config) string { return s.user("") },
		"only publishing": func(s *server, _ *config) string { return s.user("&fleet:p:* +publish") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			c := config{LeaseTTL: time.Second, Loader: loader{Takes: 300 * time.Millisecond}}
			f := start(t, url(s, &c), 4, c)
			wantMode(t, f, backend.WakePoll)
			got := f.Get("k", 50, soon)
			load := f.AwaitLoad("k", 1, soon).AwaitCommit(soon)
			t.Logf("p99 %v after the commit", got.After(load.Committed, 0.99))
			if got.Want(t, load.ID); got.After(load.Committed, 1) > 1500*time.Millisecond {
				t.Errorf("the last value came %v after the commit, want it within a step of the backoff", got.After(load.Committed, 1))
			}
			f.WantLoads("k", 1)
			wantPeek(t, f, "k", load.ID)
			s.free("k")
			f.SetLoader("failing", loader{Takes: 100 * time.Millisecond, Then: fleettest.Error("boom")})
			if got := f.Get("failing", 50, soon); len(got.Values) > 0 {
				t.Errorf("Get = %v, want failures", got)
			}
			for _, l := range f.Loads("failing")[1:] { // only after a cool-down
				if first := f.Loads("failing")[0]; l.Began.Sub(first.Ended) < 75*time.Millisecond {
					t.Errorf("load %+v, want it a cool-down after %+v", l, first)
				}
			}
		})
	}
}
