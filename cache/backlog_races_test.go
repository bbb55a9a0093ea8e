package cache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/tier"
)

// TestBacklogAndLoads: a load that began before a change must not outlive it, and
// one that began after it needs no replay.
func TestBacklogAndLoads(t *testing.T) {
	t.Run("of another process", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := newCabled(t, cache.Options[string, int]{}, nil)
			b.took = 20 * time.Second
			done := make(chan struct{})
			go func() {
				defer close(done)
				b.get("k", 1)
			}()
			<-time.After(5 * time.Second)
			a.cut()
			a.queued(a.Set(t.Context(), "k", 70))
			<-time.After(5 * time.Second)
			a.mend()
			<-done
			b.took = 0
			a.settled(1)
			b.get("k", 70)
			a.get("k", 70)
		})
	})
	t.Run("of another process, after it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := newCabled(t, cache.Options[string, int]{}, nil)
			a.cut()
			a.queued(a.Set(t.Context(), "k", 70))
			<-time.After(5 * time.Second)
			b.took = 20 * time.Second
			done := make(chan struct{})
			go func() {
				defer close(done)
				b.get("k", 1)
			}()
			<-time.After(5 * time.Second)
			a.mend()
			<-done
			a.settled(1)
			a.get("k", 1)
		})
	})
	t.Run("of its own", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := newCabled(t, cache.Options[string, int]{}, nil)
			a.took = 6 * time.Second
			done := make(chan struct{})
			go func() {
				defer close(done)
				a.get("k", 1)
			}()
			<-time.After(5 * time.Second)
			a.cut()
			a.queued(a.Delete(t.Context(), "k"))
			a.refuse.set(errors.New("READONLY")) // so that the load ends before the replay
			a.out.Store(false)
			<-done
			if v, err := b.Peek(t.Context(), "k"); !errors.Is(err, cache.ErrMiss) {
				t.Errorf("Peek = %d, %v: what was loaded before the Delete was stored after it", v, err)
			}
			a.took = 0
			began := time.Now()
			b.get("k", 2)
			if d := time.Since(began); d > 0 {
				t.Errorf("Get waited %v for a lease whose load is over", d)
			}
			a.get("k", 3) // whether the 2 is newer than its Delete, it does not know
			a.refuse.set(nil)
			<-time.After(time.Minute)
			for _, p := range []*cabled{a, b} {
				p.get("k", 3) // which was loaded after it and is not deleted
			}
		})
	})
}

// TestBacklogAtOnce: a change is made up for as soon as the connection is back, and
// before its key is read.
func TestBacklogAtOnce(t *testing.T) {
	for name, see := range map[string]func(a, b *cabled){
		"by others": func(_, b *cabled) { synctest.Wait(); b.get("k", 70) },
		"by itself": func(a, _ *cabled) { a.get("k", 70) },
		"by itself, with others": func(a, _ *cabled) {
			if many, err := a.GetMany(a.t.Context(), []string{"k"}); many["k"] != 70 || err != nil {
				a.t.Errorf("GetMany = %v, %v, want 70", many, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := newCabled(t, cache.Options[string, int]{}, &tier.RemoteOptions{BreakerFailures: -1})
				a.get("k", 1)
				b.get("k", 1)
				<-time.After(5 * time.Second)
				a.cut()
				a.queued(a.Set(t.Context(), "k", 70))
				<-time.After(time.Hour - time.Millisecond)
				a.queued(a.Set(t.Context(), "k", 70))
				<-time.After(1500 * time.Millisecond)
				a.mend()
				see(a, b)
			})
		})
	}
}

// TestBacklogKeepsTheLifetime: it counts from the Set, not from the replay.
func TestBacklogKeepsTheLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newCabled(t, cache.Options[string, int]{}, nil)
		a.cut()
		a.queued(a.SetTTL(t.Context(), "k", 70, 20*time.Second))
		<-time.After(10 * time.Second)
		a.mend()
		a.settled(1)
		e, err := b.GetEntry(t.Context(), "k")
		if e.Value != 70 || e.Age.Round(time.Millisecond) != 13*time.Second || err != nil {
			t.Errorf("GetEntry = %+v, %v, want 70, 13s old", e, err)
		}
		<-time.After(8 * time.Second)
		b.get("k", 1)
	})
}

// TestBacklogAndWriters: of a replay and a change that is made meanwhile the change
// comes last.
func TestBacklogAndWriters(t *testing.T) {
	t.Run("before the replay", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := newCabled(t, cache.Options[string, int]{}, nil)
			a.cut()
			a.queued(a.Delete(t.Context(), "k"))
			a.out.Store(false)
			ok(t, a.Set(t.Context(), "k", 80))
			a.settled(0)
			a.get("k", 80)
			b.get("k", 80)
		})
	})
	t.Run("a delete before the replay", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := newCabled(t, cache.Options[string, int]{}, nil)
			a.cut()
			a.queued(a.Set(t.Context(), "k", 70))
			a.out.Store(false)
			ok(t, a.Delete(t.Context(), "k"))
			a.settled(0)
			b.get("k", 1)
		})
	})
	t.Run("during the replay", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := newCabled(t, cache.Options[string, int]{}, nil)
			a.hold = func(op string) {
				if op == "delete" {
					<-time.After(50 * time.Millisecond)
				}
			}
			a.cut()
			a.queued(a.Delete(t.Context(), "k"))
			a.out.Store(false)
			<-time.After(60 * time.Millisecond) // the replay is under way
			ok(t, a.Set(t.Context(), "k", 80))
			a.settled(1)
			a.get("k", 80)
			b.get("k", 80)
		})
	})
	t.Run("during the commit of what is older", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := newCabled(t, cache.Options[string, int]{}, nil)
			refusal := errors.New("READONLY")
			a.refuse.set(refusal)
			a.hold = func(op string) {
				if op == "commit" {
					if err := a.Delete(t.Context(), "k"); !errors.Is(err, refusal) {
						t.Errorf("Delete = %v, want the refusal", err)
					}
				}
			}
			a.get("k", 1)
			a.refuse.set(nil)
			<-time.After(time.Minute)
			b.get("k", 2)
		})
	})
}

func TestBacklogBounds(t *testing.T) {
	t.Run("room", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, _ := newCabled(t, cache.Options[string, int]{}, &tier.RemoteOptions{Backlog: 2})
			a.cut()
			a.queued(a.Set(t.Context(), "1", 1))
			a.queued(a.Delete(t.Context(), "2"))
			a.queued(a.Set(t.Context(), "1", 3))
			for what, err := range map[string]error{"Set": a.Set(t.Context(), "3", 3), "DeleteTags": a.DeleteTags(t.Context(), "red")} {
				if errors.Is(err, tier.ErrQueued) || !errors.Is(err, backend.ErrUnavailable) {
					t.Errorf("%s = %v, want it not to be queued: there is no room", what, err)
				}
			}
			if s := a.Stats().Tiers[0]; s.Queued != 2 || s.Dropped != 2 {
				t.Errorf("%d queued, %d dropped, want 2 and 2", s.Queued, s.Dropped)
			}
			a.mend()
			<-time.After(3 * time.Second)
		})
	})
	t.Run("off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, _ := newCabled(t, cache.Options[string, int]{}, &tier.RemoteOptions{Backlog: -1})
			a.cut()
			if err := a.Delete(t.Context(), "k"); errors.Is(err, tier.ErrQueued) || err == nil {
				t.Errorf("Delete = %v, want no queue", err)
			}
		})
	})
	t.Run("refusals", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, _ := newCabled(t, cache.Options[string, int]{}, nil)
			refusal := errors.New("NOPERM")
			a.refuse.set(refusal)
			if err := a.Delete(t.Context(), "k"); !errors.Is(err, refusal) || !errors.Is(err, tier.ErrQueued) {
				t.Errorf("Delete = %v, want the refusal, queued", err)
			}
			<-time.After(time.Hour)
			if s := a.Stats().Tiers[0]; s.Queued != 0 || s.Dropped != 1 || s.Replayed != 0 {
				t.Errorf("%d queued, %d dropped, %d replayed, want it dropped at last", s.Queued, s.Dropped, s.Replayed)
			}
		})
	})
	t.Run("values", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const size = 20 << 20
			var far [2]*cable
			var caches [2]*cache.Cache[int, []byte]
			first := memstore.NewStore()
			defer first.Close()
			for i := range far {
				far[i] = &cable{Store: first.Peer()}
				caches[i] = open(t, nil, &cache.Options[int, []byte]{Codec: codec.Bytes()}, tier.Remote(far[i], nil))
			}
			far[0].cut()
			for range 2 { // the second time in the first's place
				for key := range 4 {
					if err := caches[0].Set(t.Context(), key, make([]byte, size)); !errors.Is(err, tier.ErrQueued) {
						t.Fatalf("Set = %v, want it queued", err)
					}
				}
			}
			far[0].mend()
			<-time.After(3 * time.Second)
			there := 0
			for key := range 4 {
				if v, err := caches[1].Peek(t.Context(), key); len(v) == size {
					there++
				} else if !errors.Is(err, cache.ErrMiss) {
					t.Errorf("Peek = %d bytes, %v", len(v), err)
				}
			}
			if there != 3 {
				t.Errorf("%d values of %d bytes were kept, want 3", there, size)
			}
		})
	})
	t.Run("Close tries once more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := newCabled(t, cache.Options[string, int]{}, nil)
			a.cut()
			a.queued(a.Set(t.Context(), "k", 70))
			a.out.Store(false)
			if err := a.Cache.Close(); err != nil {
				t.Error(err)
			}
			b.get("k", 70)
		})
	})
	t.Run("Close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, _ := newCabled(t, cache.Options[string, int]{}, nil)
			a.cut()
			a.queued(a.Set(t.Context(), "k", 1))
			if err := a.Cache.Close(); err == nil {
				t.Error("Close does not tell that a queued change is lost")
			}
			if s := a.Stats().Tiers[0]; s.Queued != 0 || s.Dropped != 1 {
				t.Errorf("%d queued, %d dropped after Close, want 0 and 1", s.Queued, s.Dropped)
			}
			synctest.Wait() // it must not deadlock: nothing is left that waits
		})
	})
}

// TestBacklogOfABus: where the store has taken a change and the Bus has not, the news
// are told once it does.
func TestBacklogOfABus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, bus := newServer(), memstore.NewBus()
		var calls int
		process := func(b backend.Bus) *cache.Cache[string, int] {
			return open(t, count(&calls, 0), nil, memory(t), tier.Remote(dumb{s}, &tier.RemoteOptions{Bus: b}))
		}
		line := &failingBus{Bus: bus}
		a, b := process(line), process(bus.Peer())
		want(t, 1)(a.Get(t.Context(), "k"))
		want(t, 1)(b.Get(t.Context(), "k"))
		line.fault.set(errCut)
		if err := a.Set(t.Context(), "k", 70); !errors.Is(err, tier.ErrQueued) {
			t.Errorf("Set = %v, want the news queued", err)
		}
		if err := a.DeleteTags(t.Context(), "red"); !errors.Is(err, tier.ErrQueued) {
			t.Errorf("DeleteTags = %v, want the news queued", err)
		}
		want(t, 70)(a.Get(t.Context(), "k"))
		want(t, 1)(b.Get(t.Context(), "k")) // it was not told
		line.fault.set(nil)
		<-time.After(3 * time.Second)
		want(t, 70)(b.Get(t.Context(), "k"))
		if q := a.Stats().Tiers[0].Queued; q != 0 {
			t.Errorf("%d queued", q)
		}
		line.fault.set(errCut)
		s.set(func() { s.down = true })
		if err := a.Set(t.Context(), "k", 80); !errors.Is(err, tier.ErrQueued) {
			t.Errorf("Set = %v, want it queued", err)
		}
		s.set(func() { s.down = false }) // the store is back, and the Bus is not
		<-time.After(3 * time.Second)
		want(t, 70)(b.Get(t.Context(), "k"))
		line.fault.set(nil)
		<-time.After(3 * time.Second)
		if v, err := b.Get(t.Context(), "k"); v == 70 || err != nil {
			t.Errorf("Get = %d, %v after the news, want what replaced 70", v, err)
		}
	})
}

type failingBus struct {
	backend.Bus
	fault fault
}

func (b *failingBus) Publish(ctx context.Context, inv backend.Invalidation) error {
	if err := b.fault.err(); err != nil {
		return err
	}
	return b.Bus.Publish(ctx, inv)
}
