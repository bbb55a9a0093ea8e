package cache_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// TestBacklog has a process change what it cannot reach, and looks at what the fleet
// has once it can. Both have 1 before. Each case says what they have after, and how
// many loads that takes.
func TestBacklog(t *testing.T) {
	set := func(p *cabled, v int) {
		p.queued(p.SetWith(p.t.Context(), "k", v, cache.SetOptions{Tags: []string{"red"}}))
	}
	del := func(p *cabled) { p.queued(p.Delete(p.t.Context(), "k")) }
	expire := func(p *cabled) { p.queued(p.Expire(p.t.Context(), "k")) }
	for name, tc := range map[string]struct {
		cold     bool               // the store holds nothing
		quick    bool               // the change comes at once after the loads
		change   func(a, b *cabled) // while a is cut off
		want     int                // by both
		loads    int                // from the source, by the end
		replayed uint64             // 0: 1
		policy   cache.Policy
	}{
		"delete":                         {change: func(a, _ *cabled) { del(a) }, want: 2, loads: 2},
		"set":                            {change: func(a, _ *cabled) { set(a, 70) }, want: 70, loads: 1},
		"set in an empty store":          {cold: true, change: func(a, _ *cabled) { set(a, 70) }, want: 70},
		"the newest of two sets":         {change: func(a, _ *cabled) { set(a, 70); set(a, 71) }, want: 71, loads: 1},
		"set, then delete":               {change: func(a, _ *cabled) { set(a, 70); del(a) }, want: 2, loads: 2},
		"delete, then set":               {change: func(a, _ *cabled) { del(a); set(a, 70) }, want: 70, loads: 1},
		"delete, then expire":            {change: func(a, _ *cabled) { del(a); expire(a) }, want: 2, loads: 2, policy: policy{StaleIfError: time.Hour}},
		"expire":                         {change: func(a, _ *cabled) { expire(a) }, want: 2, loads: 2, policy: policy{StaleIfError: time.Hour}},
		"set, then expire":               {change: func(a, _ *cabled) { set(a, 70); expire(a) }, want: 2, loads: 2, policy: policy{StaleIfError: time.Hour}},
		"delete by tag":                  {change: func(a, _ *cabled) { a.queued(a.DeleteTags(a.t.Context(), "red", "blue")) }, want: 2, loads: 2, replayed: 2},
		"expire by tag":                  {change: func(a, _ *cabled) { a.queued(a.ExpireTags(a.t.Context(), "red")) }, want: 2, loads: 2},
		"clear":                          {change: func(a, _ *cabled) { a.queued(a.Clear(a.t.Context())) }, want: 2, loads: 2},
		"set, and another sets later":    {change: func(a, b *cabled) { set(a, 70); <-time.After(5 * time.Second); ok(a.t, b.Set(a.t.Context(), "k", 80)) }, want: 80, loads: 1},
		"set, after another has":         {change: func(a, b *cabled) { ok(a.t, b.Set(a.t.Context(), "k", 80)); <-time.After(5 * time.Second); set(a, 70) }, want: 70, loads: 1},
		"set, and nobody knows who last": {change: func(a, b *cabled) { set(a, 70); ok(a.t, b.Set(a.t.Context(), "k", 80)) }, want: 2, loads: 2},
		"set, and another removes the tag": {change: func(a, b *cabled) {
			set(a, 70)
			<-time.After(5 * time.Second)
			ok(a.t, b.DeleteTags(a.t.Context(), "red"))
		}, want: 2, loads: 2},
		"set that lives no longer": {change: func(a, _ *cabled) {
			a.queued(a.SetTTL(a.t.Context(), "k", 70, time.Second))
			<-time.After(2 * time.Second)
		}, want: 2, loads: 2},
		"set, at once after what it has seen": {quick: true, change: func(a, _ *cabled) { set(a, 70); set(a, 71) }, want: 71, loads: 1},
		"set that has arrived": {quick: true, change: func(a, _ *cabled) {
			a.lose.Store(true)
			set(a, 70)
			a.lose.Store(false)
		}, want: 70, loads: 1},
		"set that has arrived, then another": {quick: true, change: func(a, _ *cabled) {
			a.lose.Store(true)
			set(a, 70)
			a.lose.Store(false)
			set(a, 71)
		}, want: 71, loads: 1},
		"set that has arrived, then expire": {quick: true, change: func(a, _ *cabled) {
			a.lose.Store(true)
			set(a, 70)
			a.lose.Store(false)
			expire(a)
		}, want: 2, loads: 2, policy: policy{StaleIfError: time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := newCabled(t, cache.Options[string, int]{Policy: tc.policy}, nil)
				if !tc.cold {
					a.get("k", 1)
					b.get("k", 1)
				}
				if !tc.quick {
					<-time.After(5 * time.Second)
				}
				a.cut()
				tc.change(a, b)
				<-time.After(5 * time.Second)
				a.mend()
				a.settled(max(tc.replayed, 1))
				for range 2 {
					b.get("k", tc.want)
					a.get("k", tc.want)
				}
				if *a.source != tc.loads {
					t.Errorf("%d loads, want %d", *a.source, tc.loads)
				}
			})
		})
	}
}

// TestExpireAndClocks: what was made stale is so at once, also for a process whose
// estimate of the server's time is behind.
func TestExpireAndClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newCabled(t, cache.Options[string, int]{}, nil)
		b.slow.Store((300 * time.Millisecond).Microseconds())
		a.get("k", 1)
		<-time.After(10 * time.Second)
		ok(t, a.Expire(t.Context(), "k"))
		b.get("k", 2)
	})
}

// TestBacklogHidesWhatIsOld: between the moment at which the store is back and that
// at which it knows of a change, the process that has made the change does not see
// what was there before.
func TestBacklogHidesWhatIsOld(t *testing.T) {
	for name, change := range map[string]func(a *cabled) error{
		"set":    func(a *cabled) error { return a.Set(a.t.Context(), "k", 70) },
		"delete": func(a *cabled) error { return a.Delete(a.t.Context(), "k") },
		"expire": func(a *cabled) error { return a.Expire(a.t.Context(), "k") },
		"tag":    func(a *cabled) error { return a.DeleteTags(a.t.Context(), "red") },
		"stale":  func(a *cabled) error { return a.ExpireTags(a.t.Context(), "red") },
		"clear":  func(a *cabled) error { return a.Clear(a.t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := newCabled(t, cache.Options[string, int]{}, &tier.RemoteOptions{BreakerFailures: -1})
				a.get("k", 1)
				b.get("k", 1)
				a.cut()
				a.queued(change(a))
				<-time.After(5 * time.Second)
				a.refuse.set(errors.New("READONLY")) // so that it stays queued
				a.mend()
				many, err := a.GetMany(t.Context(), []string{"k"})
				if many["k"] == 1 || err != nil {
					t.Errorf("GetMany = %v, %v, want nothing that was there before", many, err)
				}
				for range 3 {
					if v, err := a.Get(t.Context(), "k"); v == 1 || err != nil {
						t.Errorf("Get = %d, %v, want what is newer than 1", v, err)
					}
				}
				a.refuse.set(nil)
				<-time.After(time.Minute)
				if s := a.Stats().Tiers[0]; s.Queued != 0 {
					t.Errorf("%d queued after a minute", s.Queued)
				}
				if v, err := b.Get(t.Context(), "k"); v == 1 || err != nil {
					t.Errorf("Get of another process = %d, %v, want what is newer than 1", v, err)
				}
			})
		})
	}
}
