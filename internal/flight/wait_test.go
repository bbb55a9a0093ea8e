package flight_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/internal/flight"
)

// slow is work that takes d and gives 1, or ends with its context.
func slow(d time.Duration, runs *atomic.Int32) flight.Work[int] {
	return work(func(ctx context.Context) (int, error) {
		runs.Add(1)
		select {
		case <-time.After(d):
			return 1, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	})
}

// result is what a Do gave, and after how long.
type result struct {
	v   int
	way flight.Way
	err error
	in  time.Duration
}

// call is a Do in the background.
func call(ctx context.Context, g *flight.Group[int], w flight.Work[int], wait flight.Wait[int]) <-chan result {
	out := make(chan result, 1)
	began := time.Now()
	go func() {
		v, way, err := g.Do(ctx, "k", new(flight.Call[int]), w, wait)
		out <- result{v, way, err, time.Since(began)}
	}()
	synctest.Wait()
	return out
}

func (r result) want(t *testing.T, what string, want result) {
	t.Helper()
	if r.v != want.v || r.way != want.way || !errors.Is(r.err, want.err) || r.in != want.in {
		t.Errorf("%s: %+v, want %+v", what, r, want)
	}
}

func TestWhoHasSomethingDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		var runs atomic.Int32
		have := 7
		w := slow(time.Second, &runs)
		leader := call(t.Context(), &g, w, flight.Wait[int]{Have: &have})
		(<-call(t.Context(), &g, w, flight.Wait[int]{Have: &have})).want(t, "follower", result{v: 7, way: flight.FellBack})
		(<-leader).want(t, "leader", result{v: 1, in: time.Second})
	})
}

func TestPatience(t *testing.T) {
	const ms = time.Millisecond
	for name, tc := range map[string]struct {
		wait flight.Wait[int]
		want result
	}{
		"soft, with something": {flight.Wait[int]{Soft: 50 * ms, Have: new(int)}, result{way: flight.FellBack, in: 50 * ms}},
		"soft, with nothing":   {flight.Wait[int]{Soft: 50 * ms}, result{v: 1, in: time.Second}},
		"hard":                 {flight.Wait[int]{Hard: 80 * ms}, result{err: flight.ErrPatience, in: 80 * ms}},
		"hard, too late":       {flight.Wait[int]{Hard: time.Minute}, result{v: 1, in: time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g flight.Group[int]
				var runs atomic.Int32
				w := slow(time.Second, &runs)
				began := time.Now()
				(<-call(t.Context(), &g, w, tc.wait)).want(t, "caller", tc.want)
				// The work goes on: who comes later joins it.
				if tc.want.in < time.Second {
					got := <-call(t.Context(), &g, w, flight.Wait[int]{})
					got.in = time.Since(began)
					got.want(t, "late caller", result{v: 1, way: flight.Shared, in: time.Second})
				}
				if n := runs.Load(); n != 1 {
					t.Errorf("%d runs, want 1", n)
				}
			})
		})
	}
}

func TestOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		w := funcs{run: func(_ context.Context, c *flight.Call[int]) (int, error) {
			time.Sleep(100 * time.Millisecond)
			c.Offer(5)
			time.Sleep(time.Second)
			return 1, nil
		}}
		leader := call(t.Context(), &g, w, flight.Wait[int]{})
		soft := call(t.Context(), &g, w, flight.Wait[int]{Soft: 50 * time.Millisecond})
		follower := call(t.Context(), &g, w, flight.Wait[int]{})
		(<-follower).want(t, "follower", result{v: 5, way: flight.FellBack, in: 100 * time.Millisecond})
		(<-soft).want(t, "follower whose patience is over", result{v: 5, way: flight.FellBack, in: 100 * time.Millisecond})
		(<-call(t.Context(), &g, w, flight.Wait[int]{})).want(t, "late follower", result{v: 5, way: flight.FellBack})
		(<-leader).want(t, "leader", result{v: 1, in: 1100 * time.Millisecond})
	})
}

func TestHopelessCallersLeaveAtOnce(t *testing.T) {
	for _, leads := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var g flight.Group[int]
			w := funcs{run: func(_ context.Context, c *flight.Call[int]) (int, error) {
				c.Announce(time.Second, leads)
				time.Sleep(time.Second)
				return 1, nil
			}}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			patient := call(t.Context(), &g, w, flight.Wait[int]{})
			(<-call(ctx, &g, w, flight.Wait[int]{})).want(t, "follower", result{way: flight.Shared, err: flight.ErrHopeless})
			(<-patient).want(t, "patient", result{v: 1, in: time.Second})
		})
		synctest.Test(t, func(t *testing.T) {
			var g flight.Group[int]
			w := funcs{run: func(_ context.Context, c *flight.Call[int]) (int, error) {
				c.Announce(time.Second, leads)
				time.Sleep(time.Second)
				return 1, nil
			}}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			want := result{err: context.DeadlineExceeded, in: 500 * time.Millisecond}
			if leads {
				want = result{err: flight.ErrHopeless}
			}
			(<-call(ctx, &g, w, flight.Wait[int]{})).want(t, "leader", want)
			time.Sleep(time.Second)
		})
	}
}

func TestCallersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := flight.Group[int]{Limit: 10}
		var runs, crowded atomic.Int32
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, _, err := g.Do(t.Context(), "k", new(flight.Call[int]), slow(time.Second, &runs), flight.Wait[int]{}); errors.Is(err, flight.ErrCrowded) {
					crowded.Add(1)
				}
			})
		}
		synctest.Wait()
		have := 3
		(<-call(t.Context(), &g, slow(0, &runs), flight.Wait[int]{Have: &have})).want(t, "with something", result{v: 3, way: flight.FellBack})
		wg.Wait()
		if crowded.Load() != 40 || runs.Load() != 1 {
			t.Errorf("%d were refused, %d runs, want 40 and 1", crowded.Load(), runs.Load())
		}
	})
}

func TestStartRunsWithoutCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		var runs atomic.Int32
		w := slow(time.Second, &runs)
		if !g.Start(t.Context(), "k", new(flight.Call[int]), w) || g.Start(t.Context(), "k", new(flight.Call[int]), w) {
			t.Error("Start: want the first to begin a flight, and the second not to")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		(<-call(ctx, &g, w, flight.Wait[int]{})).want(t, "caller that leaves", result{way: flight.Shared, err: context.DeadlineExceeded, in: time.Millisecond})
		(<-call(t.Context(), &g, w, flight.Wait[int]{})).want(t, "caller that stays", result{v: 1, way: flight.Shared, in: 999 * time.Millisecond})
		if n := runs.Load(); n != 1 {
			t.Errorf("%d runs, want 1", n)
		}
	})
}

func TestDropInsteadOfRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		ctx, cancel := context.WithCancel(t.Context())
		dropped := false
		_, _, err := g.Do(ctx, "k", new(flight.Call[int]), funcs{
			probe: func(context.Context, *flight.Call[int]) (int, bool, error) { cancel(); return 0, false, nil },
			drop:  func() { dropped = true },
		}, flight.Wait[int]{})
		if !errors.Is(err, context.Canceled) || !dropped {
			t.Errorf("Do = %v, dropped %t, want Canceled, true", err, dropped)
		}
	})
}

func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		var runs atomic.Int32
		single := call(t.Context(), &g, slow(time.Second, &runs), flight.Wait[int]{}) // of "k"

		b, _ := g.NewBatch()
		defer b.Close()
		calls := make([]flight.Call[int], 3)
		for i, key := range []string{"a", "k", "b"} {
			if led := b.Open(t.Context(), key, &calls[i]); led != (key != "k") {
				t.Errorf("Open(%s) = %t", key, led)
			}
		}
		b.Run(t.Context(), func(ctx context.Context) {
			if _, _, err := g.Do(ctx, "b", new(flight.Call[int]), nil, flight.Wait[int]{}); !errors.Is(err, flight.ErrRecursive) {
				t.Errorf("Do within = %v, want ErrRecursive", err)
			}
			time.Sleep(500 * time.Millisecond)
			calls[0].Finish(10, nil)
			time.Sleep(time.Second)
		})
		synctest.Wait()
		other, _ := g.NewBatch()
		defer other.Close()
		other.Open(t.Context(), "a", new(flight.Call[int]))
		if v, way, err := other.Await(t.Context(), 0, flight.Wait[int]{}); v != 10 || way != flight.Shared || err != nil {
			t.Errorf("overlapping batch: %d, %v, %v, want 10, shared", v, way, err)
		}
		for i, want := range []result{{v: 10}, {v: 1, way: flight.Shared}, {err: flight.ErrGoexit}} {
			v, way, err := b.Await(t.Context(), i, flight.Wait[int]{})
			result{v: v, way: way, err: err}.want(t, "batch", want)
		}
		<-single
	})
}

func TestBatchIsCancelledByTheLastToLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		b, _ := g.NewBatch()
		defer b.Close()
		var calls [2]flight.Call[int]
		b.Open(t.Context(), "a", &calls[0])
		b.Open(t.Context(), "b", &calls[1])
		var cause error
		b.Run(t.Context(), func(ctx context.Context) {
			<-ctx.Done()
			cause = context.Cause(ctx)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, _ = b.Await(ctx, 0, flight.Wait[int]{})
		synctest.Wait()
		if cause != nil {
			t.Errorf("cancelled (%v) while the caller of b waits", cause)
		}
		_, _, _ = b.Await(ctx, 1, flight.Wait[int]{})
		synctest.Wait()
		if !errors.Is(cause, flight.ErrAbandoned) {
			t.Errorf("cause = %v, want ErrAbandoned", cause)
		}
	})
}

func TestCloseCancelsABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		b, _ := g.NewBatch()
		defer b.Close()
		var calls [2]flight.Call[int]
		b.Open(t.Context(), "a", &calls[0])
		b.Open(t.Context(), "b", &calls[1])
		b.Run(t.Context(), func(ctx context.Context) { <-ctx.Done() })
		if err := g.Close(t.Context()); err != nil {
			t.Errorf("Close = %v", err)
		}
		if _, _, err := b.Await(t.Context(), 0, flight.Wait[int]{}); err == nil {
			t.Error("Await = nil, want an error")
		}
	})
}

// TestHopelessLeaderTakesAnOffer: what there is beats being told that the wait
// cannot end well.
func TestHopelessLeaderTakesAnOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		v, way, err := g.Do(ctx, "k", new(flight.Call[int]), funcs{run: func(ctx context.Context, c *flight.Call[int]) (int, error) {
			c.Offer(7)
			c.Announce(time.Minute, true)
			<-time.After(2 * time.Second)
			return 8, nil
		}}, flight.Wait[int]{})
		if v != 7 || way != flight.FellBack || err != nil {
			t.Errorf("Do = %d, %v, %v, want what was offered", v, way, err)
		}
		<-time.After(2 * time.Second)
	})
}
