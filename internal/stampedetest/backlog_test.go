package stampedetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/fleettest"
	"github.com/bellwethercache/bellwether/tier"
)

// TestChangesOutliveACut: what a process that is cut off sets and deletes, it says
// that it could not, and all have it once it is connected again.
func TestChangesOutliveACut(t *testing.T) {
	s := newServer(t)
	f := start(t, s.URL(), 3, config{Proxied: true})
	s.hearing(f, backend.CoherencePublish)
	cut := f.Procs[0]
	changes := map[string]func(key string) error{
		"set":    func(key string) error { return cut.Set(key, "new") },
		"delete": cut.Delete,
		"expire": cut.Expire,
		"tagged": func(string) error { return cut.DeleteTags("tag") },
	}
	for round := range 2 {
		key := func(name string) string { return fmt.Sprint(name, round) }
		for name := range changes {
			if err := f.Procs[1].SetTagged(key(name), "old", map[bool]string{true: "tag", false: "other"}[name == "tagged"]); err != nil {
				t.Fatal(err)
			}
			if v := warm(t, f, key(name)); v != "old" {
				t.Fatalf("Get = %q after a Set of old", v)
			}
		}
		before := cut.Stats().Tiers[0].Replayed
		switch round {
		case 0:
			cut.Proxy.Refuse(true)
			cut.Proxy.Cut()
		case 1:
			cut.Proxy.BlackHole(true)
		}
		for name, change := range changes {
			if err := change(key(name)); !errors.Is(err, backend.ErrUnavailable) || !errors.Is(err, tier.ErrQueued) {
				t.Errorf("%s of a process that is cut off = %v, want ErrUnavailable and ErrQueued", name, err)
			}
		}
		for name := range changes {
			if got := cut.Get(key(name), 1, soon); got.Values["old"] != 0 || len(got.Errors) != 0 {
				t.Errorf("%s: Get of who has changed it = %v, want no old value", name, got)
			}
		}
		cut.Proxy.Refuse(false)
		cut.Proxy.BlackHole(false)
		began := fleettest.Now()
		for cut.Stats().Tiers[0].Queued > 0 {
			for name := range changes {
				if got := cut.Get(key(name), 1, soon); got.Values["old"] != 0 || len(got.Errors) != 0 {
					t.Errorf("%s: Get of who has changed it = %v, want no old value", name, got)
				}
			}
			if fleettest.Now().Sub(began) > soon {
				t.Fatalf("%d changes still queued", cut.Stats().Tiers[0].Queued)
			}
		}
		t.Logf("round %d: %d changes made up for %v after the connection was back", round, cut.Stats().Tiers[0].Replayed-before, fleettest.Now().Sub(began))
		s.hearing(f, backend.CoherencePublish)
		for name := range changes {
			got := f.Get(key(name), 2, soon)
			// Of what is removed by tag the process that was cut off may have loaded another
			// meanwhile, for itself.
			if got.Values["old"] != 0 || len(got.Values) != 1 && name != "tagged" || len(got.Errors) != 0 {
				t.Errorf("%s: Get = %v, want one value for all, and not the old one", name, got)
			}
			if name == "set" && got.Values["new"] == 0 {
				t.Errorf("Get = %v after a Set of new", got)
			}
		}
	}
}
