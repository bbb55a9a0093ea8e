package cache_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// partly is a cable by which one key cannot be reached.
type partly struct {
	*cable
	away atomic.Bool
}

func (p *partly) Delete(ctx context.Context, keys ...string) error {
	if keys[0] == "away" && p.away.Load() {
		return errCut
	}
	return p.cable.Delete(ctx, keys...)
}

// slowBus hangs until it is told not to.
type slowBus struct {
	backend.Bus
	over atomic.Bool
}

func (b *slowBus) Publish(ctx context.Context, inv backend.Invalidation) error {
	if b.over.Load() {
		return b.Bus.Publish(ctx, inv)
	}
	<-ctx.Done()
	return errors.Join(backend.ErrUnavailable, ctx.Err())
}

// TestReadsAreNoRefusals: reads use up what a store may refuse.
func TestReadsAreNoRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newCabled(t, cache.Options[string, int]{}, nil)
		a.get("k", 1)
		a.refuse.set(errors.New("READONLY"))
		if err := a.Delete(t.Context(), "k"); !errors.Is(err, tier.ErrQueued) {
			t.Fatal(err)
		}
		for i := range 20 {
			if v, err := a.Peek(t.Context(), "k"); !errors.Is(err, cache.ErrMiss) {
				t.Fatalf("Peek %d = %d, %v right after the Delete; %+v", i, v, err, a.Stats().Tiers[0])
			}
		}
		a.refuse.set(nil)
		a.settled(1)
	})
}

// TestClearIsStampedOnce: the Bus alone is down; one Clear.
func TestClearIsStampedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, bus := newServer(), memstore.NewBus()
		calls := 0
		line := &failingBus{Bus: bus}
		a := open(t, count(&calls, 0), nil, tier.Remote(dumb{s}, &tier.RemoteOptions{Bus: line}))
		_, _ = a.Get(t.Context(), "k")
		line.fault.set(errCut)
		if err := a.Clear(t.Context()); !errors.Is(err, tier.ErrQueued) {
			t.Fatal(err)
		}
		calls = 0
		for range 120 {
			_, _ = a.Get(t.Context(), "k")
			<-time.After(500 * time.Millisecond)
		}
		if calls > 2 {
			t.Errorf("%d loads in a minute after one Clear, want 1", calls)
		}
		line.fault.set(nil)
		<-time.After(5 * time.Second)
	})
}

// TestNewsDoNotHoldUpChanges: what the Bus is owed of a tag keeps a key from being made up for.
func TestNewsDoNotHoldUpChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, bus := newServer(), memstore.NewBus()
		calls := 0
		line := &failingBus{Bus: bus}
		a := open(t, count(&calls, 0), &cache.Options[string, int]{Policy: policy{TTL: time.Hour}}, memory(t), tier.Remote(dumb{s}, &tier.RemoteOptions{Bus: line}))
		_, _ = a.Get(t.Context(), "k")
		s.set(func() { s.down = true })
		if err := a.Delete(t.Context(), "k"); !errors.Is(err, tier.ErrQueued) {
			t.Fatal(err)
		}
		line.fault.set(errCut)
		s.set(func() { s.down = false })
		if err := a.DeleteTags(t.Context(), "red"); !errors.Is(err, tier.ErrQueued) {
			t.Fatal(err)
		}
		<-time.After(2 * time.Minute)
		if !s.empty(t, "k") {
			t.Errorf("two minutes after the store has come back it holds what was deleted; %+v", a.Stats().Tiers[0])
		}
		line.fault.set(nil)
		<-time.After(3 * time.Second)
	})
}

// TestARefusedStampIsGivenUp: a store without tags of its own that refuses a stamp.
func TestARefusedStampIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		calls := 0
		a := open(t, count(&calls, 0), nil, memory(t), tier.Remote(dumb{s}, nil))
		s.set(func() {
			s.fault = func(op string) error {
				if op == "set" {
					return errors.New("NOPERM")
				}
				return nil
			}
		})
		if err := a.DeleteTags(t.Context(), "red"); err == nil {
			t.Error("DeleteTags = nil for what the store refuses")
		}
		<-time.After(time.Hour)
		if n := s.did("set"); n > 100 {
			t.Errorf("refused %d times in an hour; %+v", n, a.Stats().Tiers[0])
		}
	})
}

// TestManyNewsDoNotHoldUpChanges: many told changes, the Bus down, and one change that the store has not heard of.
func TestManyNewsDoNotHoldUpChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, bus := newServer(), memstore.NewBus()
		line := &failingBus{Bus: bus}
		a := open[string, int](t, nil, &cache.Options[string, int]{Policy: policy{TTL: time.Hour}}, tier.Remote(dumb{s}, &tier.RemoteOptions{Bus: line}))
		ok(t, a.Set(t.Context(), "k", 1))
		line.fault.set(errCut)
		for i := range 1000 {
			_ = a.Set(t.Context(), string(rune(0x4e00+i)), 1)
		}
		s.set(func() { s.down = true })
		_ = a.Delete(t.Context(), "k")
		s.set(func() { s.down = false })
		<-time.After(time.Minute)
		if !s.empty(t, "k") {
			t.Errorf("a minute after the store has come back it holds what was deleted")
		}
		line.fault.set(nil)
		<-time.After(10 * time.Second)
	})
}

// TestGetManyOfQueuedKeysTakesABudget: getMany of what is queued, with a store that hangs.
func TestGetManyOfQueuedKeysTakesABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		load := func(context.Context, string) (int, error) { return 1, nil }
		a := open(t, load, nil, s.tier(&tier.RemoteOptions{BreakerFailures: -1}))
		hung := make(chan struct{})
		s.set(func() { s.hung = hung })
		var keys []string
		for i := range 64 {
			keys = append(keys, string(rune('A'+i)))
			_ = a.Set(t.Context(), keys[i], 70)
		}
		began := time.Now()
		_, err := a.GetMany(t.Context(), keys)
		if d := time.Since(began); d > 150*time.Millisecond {
			t.Errorf("GetMany took %v, %v, want a budget of 100 ms", d, err)
		}
		s.set(func() { s.hung = nil })
		close(hung)
		<-time.After(3 * time.Second)
	})
}

// TestDeleteTagsInAnOutage: a stamp that the store did not take, of which no instant is known.
func TestDeleteTagsInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newCabled(t, cache.Options[string, int]{}, nil)
		a.get("k", 1)
		<-time.After(5 * time.Second)
		a.cut()
		a.queued(a.DeleteTags(t.Context(), "red"))
		if v, err := a.Get(t.Context(), "k"); v == 1 || err != nil {
			t.Errorf("Get = %d, %v after DeleteTags", v, err)
		}
		a.mend()
		a.settled(1)
	})
}

// TestBacklogOfManyTags: many stamps in one call.
func TestBacklogOfManyTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		calls := 0
		a := open(t, count(&calls, 0), nil, memory(t), tier.Remote(dumb{s}, nil))
		s.set(func() { s.down = true })
		for i := range 4000 {
			_ = a.DeleteTags(t.Context(), string(rune(0x4e00+i)))
		}
		s.set(func() { s.down = false; s.fault = func(string) error { <-time.After(time.Millisecond); return nil } })
		<-time.After(20 * time.Second)
		defer s.set(func() { s.fault = nil })
		if q := a.Stats().Tiers[0].Queued; q != 0 {
			t.Errorf("%d queued 20 s after the store has come back", q)
		}
	})
}

// TestBacklogEndsACoolDown: the key cools down.
func TestBacklogEndsACoolDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := memstore.NewStore()
		defer first.Close()
		fa, fb := &cable{Store: first.Peer()}, &cable{Store: first.Peer()}
		load := func(ctx context.Context, _ string) (int, error) { return 0, errors.New("down") }
		opts := cache.Options[string, int]{Policy: policy{CoolDown: 10 * time.Minute, CoolDownMax: 10 * time.Minute}}
		a := open(t, load, &opts, tier.Remote(fa, nil))
		b := open(t, load, &opts, tier.Remote(fb, nil))
		fa.out.Store(true)
		_ = a.Set(t.Context(), "k", 70)
		_, _ = b.Get(t.Context(), "k")
		fa.out.Store(false)
		<-time.After(10 * time.Second)
		want(t, 70)(a.Peek(t.Context(), "k"))
	})
}

func TestRefusalsBesideAnOutage(t *testing.T) {
	for _, mixed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			first := memstore.NewStore()
			defer first.Close()
			fa := &partly{cable: &cable{Store: first.Peer()}}
			a := open[string, int](t, nil, nil, tier.Remote(fa, nil))
			fa.refuse.set(errors.New("CLUSTERDOWN"))
			fa.away.Store(true)
			began := time.Now()
			_ = a.Delete(t.Context(), "k")
			if mixed {
				_ = a.Delete(t.Context(), "away")
			}
			for a.Stats().Tiers[0].Dropped == 0 && time.Since(began) < time.Hour {
				<-time.After(100 * time.Millisecond)
			}
			if d := time.Since(began); d < time.Minute {
				t.Errorf("dropped after %v, beside another %t: less than a failover may take", d, mixed)
			}
			fa.away.Store(false)
			fa.refuse.set(nil)
			<-time.After(time.Minute)
		})
	}
}

// TestRefusalsDoNotHoldUpChanges: what is queued while the worker pauses for refusals.
func TestRefusalsDoNotHoldUpChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := memstore.NewStore()
		defer first.Close()
		fa := &partly{cable: &cable{Store: first.Peer()}}
		a := open[string, int](t, nil, nil, tier.Remote(fa, nil))
		fa.refuse.set(errors.New("NOPERM"))
		_ = a.Delete(t.Context(), "k")
		<-time.After(40 * time.Second)
		fa.away.Store(true)
		_ = a.Delete(t.Context(), "away")
		fa.refuse.set(nil)
		fa.away.Store(false)
		began := time.Now()
		for a.Stats().Tiers[0].Replayed == 0 {
			<-time.After(100 * time.Millisecond)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("made up for %v after the store was back", d)
		}
		<-time.After(time.Minute)
	})
}

// TestDeleteManyTagsWithAHungBus: a change of a tier between that waits, and a promotion.
func TestDeleteManyTagsWithAHungBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, bus := newServer(), memstore.NewBus()
		slow := &slowBus{Bus: bus}
		a := open(t, func(context.Context, string) (int, error) { return 1, nil }, nil, tier.Remote(dumb{s}, &tier.RemoteOptions{Bus: slow}))
		var tags []string
		for i := range 50 {
			tags = append(tags, string(rune('A'+i)))
		}
		began := time.Now()
		err := a.DeleteTags(t.Context(), tags...)
		if d := time.Since(began); d > time.Second {
			t.Errorf("DeleteTags of 50 tags took %v, %v", d, err)
		}
		slow.over.Store(true)
		<-time.After(10 * time.Second)
	})
}

// TestBacklogOfAFullStore: where nothing more can be set, a Delete can be made up for.
func TestBacklogOfAFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newCabled(t, cache.Options[string, int]{}, nil)
		a.get("k", 1)
		a.cut()
		a.queued(a.Delete(t.Context(), "k"))
		a.full.set(errors.New("OOM"))
		a.mend()
		a.settled(1)
		if v, err := b.Peek(t.Context(), "k"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("Peek = %d, %v, want it deleted", v, err)
		}
	})
}
