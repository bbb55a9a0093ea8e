package cache_test

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// TestWaitsByScope has one process load, another of its callers join, another
// process wait, and one more give up.
func TestWaitsByScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		s := newServer()
		a := open(t, count(&calls, time.Second), nil, memory(t), s.tier(nil))
		b := open(t, count(&calls, time.Second), nil, memory(t), s.tier(nil))
		c := open(t, count(&calls, time.Second), nil, memory(t), s.tier(nil))
		var wg sync.WaitGroup
		at := func(d time.Duration, do func()) { wg.Go(func() { time.Sleep(d); do() }) }
		at(0, func() { want(t, 1)(a.Get(t.Context(), "k")) })
		at(time.Millisecond, func() { want(t, 1)(a.Get(t.Context(), "k")) })
		at(2*time.Millisecond, func() { want(t, 1)(b.Get(t.Context(), "k")) })
		at(3*time.Millisecond, func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := c.Get(ctx, "k"); err == nil {
				t.Error("a caller outlived its deadline")
			}
		})
		wg.Wait()
		for name, tc := range map[string]struct {
			stats                     cache.Stats
			waits, timeouts           uint64
			remote, remoteTimeouts    uint64
			acquired, filled, expired uint64
		}{
			"loads":    {stats: a.Stats(), waits: 1, acquired: 1},
			"waits":    {stats: b.Stats(), waits: 1, remote: 1, filled: 1},
			"gives up": {stats: c.Stats(), waits: 1, timeouts: 1, remote: 1, remoteTimeouts: 1, expired: 1},
		} {
			s := tc.stats
			if s.Waits != tc.waits || s.WaitTimeouts != tc.timeouts || s.RemoteWaits != tc.remote || s.RemoteTimeouts != tc.remoteTimeouts {
				t.Errorf("%s: %d waits, %d timeouts, and for others %d, %d", name, s.Waits, s.WaitTimeouts, s.RemoteWaits, s.RemoteTimeouts)
			}
			w := lock.Outcomes{lock.OutcomeAcquired: tc.acquired, lock.OutcomeFilled: tc.filled, lock.OutcomeCanceled: tc.expired}
			if s.Acquisitions != w {
				t.Errorf("%s: acquisitions %v, want %v", name, s.Acquisitions, w)
			}
		}
	})
}

func TestStatsOfMemory(t *testing.T) {
	c := open(t, func(context.Context, string) (int, error) { return 1, nil }, nil, tier.Local(memstore.NewMemory(3), nil))
	for i := range 4 {
		want(t, 1)(c.Get(t.Context(), fmt.Sprint(i)))
	}
	before := c.Stats()
	want(t, 1)(c.Get(t.Context(), "4"))
	now := c.Stats()
	if m := now.Memory; len(m) != 1 || m[0] != (tier.LocalStats{Counted: true, Entries: 3, Evicted: 2}) {
		t.Errorf("Memory = %+v, want 3 entries and 2 evicted", m)
	}
	if d := now.Sub(&before); d.Memory[0] != (tier.LocalStats{Counted: true, Entries: 3, Evicted: 1}) || now.Memory[0].Evicted != 2 {
		t.Errorf("since: %+v, want 1 evicted", d.Memory)
	}
}

// TestDroppedEntriesDoNotCount: what a Clear, or a gap in the news, has dropped is
// still in the memory, and no entry.
func TestDroppedEntriesDoNotCount(t *testing.T) {
	for name, m := range map[string]func() tier.Tier{
		"memstore":  func() tier.Tier { return tier.Local(memstore.NewMemory(100), nil) },
		"ristretto": func() tier.Tier { return memory(t) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &late{peer: &peer{Store: memstore.NewStore()}, mode: backend.CoherenceDeaf}
				c := open(t, func(context.Context, string) (int, error) { return 1, nil }, nil, m(), tier.Remote(l, nil))
				l.on(backend.Invalidation{Kind: backend.Heard})
				fill := func(n int) {
					t.Helper()
					for i := range n {
						want(t, 1)(c.Get(t.Context(), fmt.Sprint(i)))
					}
					time.Sleep(10 * time.Millisecond) // ristretto takes them in later
				}
				counts := func(after string, n int) {
					t.Helper()
					for range 4 { // also while the room is given back, and once it is
						if got := c.Stats().Memory[0].Entries; got != n {
							t.Errorf("%s: %d entries, want %d", after, got, n)
						}
						time.Sleep(700 * time.Millisecond)
					}
				}
				fill(5)
				counts("loads", 5)
				ok(t, c.Clear(t.Context()))
				counts("Clear", 0)
				fill(3)
				counts("loads", 3)
				l.on(backend.Invalidation{Kind: backend.Deaf})
				counts("deaf", 3)
				l.on(backend.Invalidation{Kind: backend.Heard})
				counts("a gap", 0)
				fill(2)
				ok(t, c.ExpireAll(t.Context()))
				counts("ExpireAll", 2)
			})
		})
	}
}

// TestSubForgetsNothing sets every count to a number: what Sub does not take
// away is no count.
func TestSubForgetsNothing(t *testing.T) {
	state := map[string]bool{"LongestLoad": true, "UsualLoad": true, "Waiting": true, "Loading": true}
	s := cache.Stats{Memory: make([]tier.LocalStats, 1), Tiers: make([]tier.Stats, 1)}
	v := reflect.ValueOf(&s).Elem()
	fill := func(v reflect.Value) {
		switch {
		case v.CanUint():
			v.SetUint(7)
		case v.CanInt():
			v.SetInt(7)
		}
	}
	var visit func(v reflect.Value, do func(name string, v reflect.Value))
	visit = func(v reflect.Value, do func(name string, v reflect.Value)) {
		for i := range v.NumField() {
			f := v.Field(i)
			switch f.Kind() {
			case reflect.Slice:
				visit(f.Index(0), do)
			case reflect.Array:
				for j := range f.Len() {
					do(v.Type().Field(i).Name, f.Index(j))
				}
			default:
				do(v.Type().Field(i).Name, f)
			}
		}
	}
	visit(v, func(_ string, f reflect.Value) { fill(f) })
	d := s.Sub(&s)
	state["Entries"], state["Queued"] = true, true
	visit(reflect.ValueOf(d), func(name string, f reflect.Value) {
		if (f.CanUint() || f.CanInt()) && f.IsZero() == state[name] {
			t.Errorf("%s is %v after Sub of itself", name, f)
		}
	})
}
