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

// hooked is a cable with calls around those of a read and of a lease.
type hooked struct {
	*cable
	before, after func(op string)
}

func (h *hooked) Lease(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	if h.before != nil {
		h.before("lease")
	}
	return h.cable.Lease(ctx, key, req)
}

func (h *hooked) Get(ctx context.Context, key string) ([]byte, error) {
	v, err := h.cable.Get(ctx, key)
	if h.after != nil {
		h.after("get")
	}
	return v, err
}

// flaky loses the reply of the first Lease, and what comes after for a while.
type flaky struct {
	*cable
	arm atomic.Bool
}

func (f *flaky) Lease(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	r, err := f.cable.Lease(ctx, key, req)
	if f.arm.Swap(false) {
		f.out.Store(true)
		return backend.LeaseReply{}, errCut
	}
	return r, err
}

// older is a server whose clock is ahead, until it is replaced.
type older struct {
	*cable
	ahead atomic.Int64
}

func (o *older) AsOf(ctx context.Context) (uint64, error) {
	n, err := o.cable.AsOf(context.WithoutCancel(ctx))
	return n + uint64(o.ahead.Load()), err
}

// between is a tier between whose Set can be held.
type between struct {
	*memstore.Store
	hold func()
}

func (m *between) Set(ctx context.Context, key string, v []byte, ttl time.Duration) error {
	if m.hold != nil {
		h := m.hold
		m.hold = nil
		h()
	}
	return m.Store.Set(ctx, key, v, ttl)
}

// TestBacklogMeetsAnother: both processes were cut off and Set; the older one's replay holds the lease when
// the newer one's looks.
func TestBacklogMeetsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newCabled(t, cache.Options[string, int]{}, &tier.RemoteOptions{BreakerFailures: -1})
		a.cut()
		b.cut()
		b.queued(b.Set(t.Context(), "k", 60))
		<-time.After(5 * time.Second)
		a.queued(a.Set(t.Context(), "k", 70))
		<-time.After(5 * time.Second)
		b.hold = func(op string) {
			if op == "commit" {
				<-time.After(20 * time.Millisecond)
			}
		}
		b.mend()
		<-time.After(time.Millisecond)
		a.mend()
		<-time.After(3 * time.Second)
		a.get("k", 70)
		b.get("k", 70)
	})
}

// TestBacklogMeetsALoadThatFails: another process refreshes the older value, and its load fails.
func TestBacklogMeetsALoadThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := memstore.NewStore()
		defer first.Close()
		fa, fb := &cable{Store: first.Peer()}, &cable{Store: first.Peer()}
		var fail atomic.Bool
		load := func(ctx context.Context, _ string) (int, error) {
			if fail.Load() {
				<-time.After(10 * time.Second)
				return 0, errors.New("source is down")
			}
			return 1, nil
		}
		opts := cache.Options[string, int]{Policy: policy{TTL: time.Minute, StaleIfError: time.Hour}}
		a := open(t, load, &opts, tier.Local(memstore.NewMemory(100), nil), tier.Remote(fa, nil))
		b := open(t, load, &opts, tier.Local(memstore.NewMemory(100), nil), tier.Remote(fb, nil))
		want(t, 1)(b.Get(t.Context(), "k"))
		<-time.After(2 * time.Minute) // it is stale
		fa.cut()
		if err := a.Set(t.Context(), "k", 70); !errors.Is(err, tier.ErrQueued) {
			t.Fatal(err)
		}
		<-time.After(5 * time.Second)
		fail.Store(true)
		go func() { _, _ = b.Get(t.Context(), "k") }()
		<-time.After(5 * time.Second)
		fa.mend()
		<-time.After(30 * time.Second)
		want(t, 70)(a.Peek(t.Context(), "k"))
	})
}

// TestBacklogMeetsAnOlderCommit: a load of another process, begun before the Set, commits between the replay's
// look and its lease.
func TestBacklogMeetsAnOlderCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := memstore.NewStore()
		defer first.Close()
		fa, fb := &hooked{cable: &cable{Store: first.Peer()}}, &cable{Store: first.Peer()}
		gate, done := make(chan struct{}), make(chan struct{})
		load := func(ctx context.Context, _ string) (int, error) { <-gate; return 1, nil }
		a := open(t, nil, &cache.Options[string, int]{}, tier.Local(memstore.NewMemory(100), nil), tier.Remote(fa, nil))
		b := open(t, load, &cache.Options[string, int]{}, tier.Remote(fb, nil))
		go func() { defer close(done); _, _ = b.Get(t.Context(), "k") }()
		<-time.After(5 * time.Second)
		fa.cut()
		if err := a.Set(t.Context(), "k", 70); !errors.Is(err, tier.ErrQueued) {
			t.Fatal(err)
		}
		<-time.After(5 * time.Second)
		once := false
		fa.before = func(string) {
			if !once {
				once = true
				close(gate)
				<-done
			}
		}
		fa.mend()
		<-time.After(5 * time.Second)
		want(t, 70)(a.Peek(t.Context(), "k"))
		want(t, 70)(b.Peek(t.Context(), "k"))
	})
}

// TestBacklogAfterALostReply: the reply of a Set is lost, and nobody can load.
func TestBacklogAfterALostReply(t *testing.T) {
	for _, lost := range []string{"set", "commit"} {
		t.Run(lost, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				a := open[string, int](t, nil, nil, s.tier(nil))
				lose := true
				s.set(func() { s.down = lost == "commit" })
				s.set(func() {
					s.lose = func(op string) bool {
						if op == lost && lose {
							lose = false
							return true
						}
						return false
					}
				})
				if err := a.Set(t.Context(), "k", 70); !errors.Is(err, tier.ErrQueued) {
					t.Fatal(err)
				}
				s.set(func() { s.down = false })
				<-time.After(10 * time.Second)
				want(t, 70)(a.Peek(t.Context(), "k"))
			})
		})
	}
}

// TestBacklogHidesASlowReply: the reply of a read is on its way while the change is made up for.
func TestBacklogHidesASlowReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := memstore.NewStore()
		defer first.Close()
		fa := &hooked{cable: &cable{Store: first.Peer()}}
		a := open(t, nil, &cache.Options[string, int]{}, tier.Remote(fa, &tier.RemoteOptions{Budget: 10 * time.Second}))
		if err := a.Set(t.Context(), "k", 1); err != nil {
			t.Fatal(err)
		}
		fa.refuse.set(errors.New("READONLY"))
		if err := a.Delete(t.Context(), "k"); !errors.Is(err, tier.ErrQueued) {
			t.Fatal(err)
		}
		fa.after = func(string) {
			fa.refuse.set(nil)
			<-time.After(2 * time.Second) // the reply is slow
		}
		if v, err := a.Peek(t.Context(), "k"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("Peek = %d, %v after the Delete", v, err)
		}
	})
}

// TestBacklogWinsALeaseTwice: a lease is won a second time: its fence is of the first time.
func TestBacklogWinsALeaseTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := memstore.NewStore()
		defer first.Close()
		fa, fb := &flaky{cable: &cable{Store: first.Peer()}}, &cable{Store: first.Peer()}
		a := open[string, int](t, nil, nil, tier.Local(memstore.NewMemory(10), nil), tier.Remote(fa, &tier.RemoteOptions{BreakerFailures: -1}))
		b := open[string, int](t, nil, nil, tier.Remote(fb, nil))
		ok(t, b.Set(t.Context(), "k", 1))
		<-time.After(2 * time.Second)
		fa.cut()
		if err := a.Set(t.Context(), "k", 70); !errors.Is(err, tier.ErrQueued) {
			t.Fatal(err)
		}
		<-time.After(5 * time.Second)
		fa.arm.Store(true)
		fa.out.Store(false)
		<-time.After(5 * time.Second)
		fa.mend()
		<-time.After(5 * time.Second)
		want(t, 70)(a.Peek(t.Context(), "k"))
		want(t, 70)(b.Peek(t.Context(), "k"))
	})
}

func TestBacklogOfAnotherServersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := memstore.NewStore()
		defer first.Close()
		fa, fb := &older{cable: &cable{Store: first.Peer()}}, &cable{Store: first.Peer()}
		opts := cache.Options[string, int]{Policy: policy{TTL: time.Hour}}
		a := open[string, int](t, nil, &opts, tier.Local(memstore.NewMemory(10), nil), tier.Remote(fa, nil))
		b := open[string, int](t, nil, &opts, tier.Remote(fb, nil))
		fa.ahead.Store(time.Hour.Microseconds())
		fa.cut()
		if err := a.SetWith(t.Context(), "k", 70, cache.SetOptions{Tags: []string{"red"}}); !errors.Is(err, tier.ErrQueued) {
			t.Fatal(err)
		}
		<-time.After(5 * time.Second)
		fa.ahead.Store(0)
		fa.mend()
		<-time.After(5 * time.Second)
		want(t, 70)(b.Peek(t.Context(), "k"))
		ok(t, b.DeleteTags(t.Context(), "red"))
		<-time.After(5 * time.Second)
		if v, err := b.Peek(t.Context(), "k"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("Peek = %d, %v after DeleteTags", v, err)
		}
	})
}

// TestPromotingIsNoWriteAfterADelete: a Delete comes while what was read is written to a tier between.
func TestPromotingIsNoWriteAfterADelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := memstore.NewStore()
		mid := &between{Store: memstore.NewStore()}
		calls := 0
		p := far.Peer()
		b := open(t, count(&calls, 0), nil, tier.Remote(far, nil))
		a := open(t, count(&calls, 0), nil, tier.Local(memstore.NewMemory(10), nil), tier.Remote(mid, &tier.RemoteOptions{Budget: 10 * time.Second}), tier.Remote(p, nil))
		want(t, 1)(b.Get(t.Context(), "k"))
		mid.hold = func() {
			ch := make(chan struct{})
			go func() { defer close(ch); _ = a.Delete(t.Context(), "k") }()
			select {
			case <-ch:
			case <-time.After(time.Second): // it waits for its turn
			}
		}
		want(t, 1)(a.Get(t.Context(), "k"))
		<-time.After(5 * time.Second)
		if v, err := a.Get(t.Context(), "k"); v == 1 || err != nil {
			t.Errorf("Get = %d, %v after Delete has returned", v, err)
		}
	})
}

// TestBacklogOfTwo: of what two processes could not say the later comes last, in
// whatever order they say it.
func TestBacklogOfTwo(t *testing.T) {
	for name, first := range map[string]int{"the earlier first": 0, "the later first": 1} {
		for what, change := range map[string]struct {
			later func(p *cabled) error
			want  int // 0: none
		}{
			"set":    {func(p *cabled) error { return p.Set(p.t.Context(), "k", 70) }, 70},
			"delete": {func(p *cabled) error { return p.Delete(p.t.Context(), "k") }, 0},
		} {
			t.Run(what+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, b := newCabled(t, cache.Options[string, int]{}, nil)
					a.get("k", 1)
					b.get("k", 1)
					a.cut()
					b.cut()
					b.queued(b.Set(t.Context(), "k", 60))
					<-time.After(time.Second)
					a.queued(change.later(a))
					<-time.After(10 * time.Second)
					both := []*cabled{b, a}
					both[first].mend()
					<-time.After(5 * time.Second)
					both[1-first].mend()
					<-time.After(5 * time.Second)
					for _, p := range both {
						switch v, err := p.Peek(t.Context(), "k"); {
						case change.want == 0 && !errors.Is(err, cache.ErrMiss), change.want != 0 && v != change.want:
							t.Errorf("Peek = %d, %v, want %d", v, err, change.want)
						}
					}
					if change.want == 0 { // the mark is in nobody's way
						a.get("k", 2)
						b.get("k", 2)
					}
				})
			})
		}
	}
}
