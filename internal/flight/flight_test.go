package flight_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/internal/flight"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// funcs is Work of two funcs, either of which may be nil.
type funcs struct {
	probe func(ctx context.Context, c *flight.Call[int]) (int, bool, error)
	run   func(ctx context.Context, c *flight.Call[int]) (int, error)
	drop  func()
}

func (f funcs) Probe(ctx context.Context, c *flight.Call[int]) (int, bool, error) {
	if f.probe == nil {
		return 0, false, nil
	}
	return f.probe(ctx, c)
}

func (f funcs) Run(ctx context.Context, c *flight.Call[int]) (int, error) { return f.run(ctx, c) }

func (f funcs) Drop() {
	if f.drop != nil {
		f.drop()
	}
}

// work runs fn as the flight's Run, without a Probe.
func work(fn func(ctx context.Context) (int, error)) flight.Work[int] {
	return funcs{run: func(ctx context.Context, _ *flight.Call[int]) (int, error) { return fn(ctx) }}
}

func do(ctx context.Context, g *flight.Group[int], key string, w flight.Work[int], f flight.Follower[int]) (int, bool, error) {
	v, way, err := g.Do(ctx, key, new(flight.Call[int]), w, flight.Wait[int]{Follow: f})
	return v, way == flight.Shared, err
}

func TestCallersShareOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		var runs, shared atomic.Int32
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				v, s, err := do(t.Context(), &g, "k", work(func(context.Context) (int, error) {
					time.Sleep(time.Second)
					return int(runs.Add(1)), nil
				}), nil)
				if v != 1 || err != nil {
					t.Errorf("Do = %d, %v, want 1, nil", v, err)
				}
				if s {
					shared.Add(1)
				}
			})
		}
		wg.Wait()
		if runs.Load() != 1 || shared.Load() != 99 {
			t.Errorf("runs = %d, shared = %d, want 1, 99", runs.Load(), shared.Load())
		}
	})
}

func TestEachCallerLeavesOnItsOwnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		leader, leave := context.WithCancelCause(t.Context())
		errBored := errors.New("bored")
		var wg sync.WaitGroup
		run := work(func(ctx context.Context) (int, error) {
			select {
			case <-time.After(time.Second):
				return 1, nil
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
		})
		wg.Go(func() {
			if _, _, err := do(leader, &g, "k", run, nil); !errors.Is(err, errBored) {
				t.Errorf("leader got %v, want its own cause", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if v, _, err := do(t.Context(), &g, "k", run, nil); v != 1 || err != nil {
				t.Errorf("follower got %d, %v, want the value although the leader left", v, err)
			}
		})
		synctest.Wait()
		began := time.Now()
		leave(errBored)
		synctest.Wait()
		if d := time.Since(began); d != 0 {
			t.Errorf("the leader left after %v, want at once", d)
		}
		wg.Wait()
	})
}

func TestLastOutCancelsAndNobodyJoinsACancelledFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		var cause error
		var published atomic.Bool
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, _, _ = do(ctx, &g, "k", funcs{run: func(ctx context.Context, c *flight.Call[int]) (int, error) {
					<-ctx.Done()
					cause = context.Cause(ctx)
					<-release // a loader that does not hurry
					published.Store(c.Publish(0, func() {}))
					return 1, nil
				}}, nil)
			})
		}
		synctest.Wait()
		cancel()
		wg.Wait() // all have left, the work still runs
		v, shared, err := do(t.Context(), &g, "k", work(func(context.Context) (int, error) { return 2, nil }), nil)
		if v != 2 || shared || err != nil {
			t.Errorf("newcomer got %d, shared %t, %v, want a flight of its own", v, shared, err)
		}
		close(release)
		synctest.Wait()
		if !errors.Is(cause, flight.ErrAbandoned) {
			t.Errorf("cause = %v, want ErrAbandoned", cause)
		}
		if published.Load() {
			t.Error("an abandoned flight kept its value; a Forget could not have stopped it")
		}
	})
}

func TestPanicAndGoexitAreErrorsForAll(t *testing.T) {
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		do   func()
		want error
	}{
		"panic":  {func() { panic(boom) }, boom},
		"goexit": {runtime.Goexit, flight.ErrGoexit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g flight.Group[int]
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						v, _, err := do(t.Context(), &g, "k", work(func(context.Context) (int, error) {
							time.Sleep(time.Second)
							tc.do()
							return 1, nil
						}), nil)
						if v != 0 || !errors.Is(err, tc.want) {
							t.Errorf("Do = %d, %v, want 0, %v", v, err, tc.want)
						}
					})
				}
				wg.Wait()
			})
		})
	}
}

func TestProbe(t *testing.T) {
	ok := func(_ context.Context, _ *flight.Call[int]) (int, bool, error) { return 7, true, nil }
	never := func(context.Context, *flight.Call[int]) (int, error) { panic("Run was called") }
	var g flight.Group[int]
	if v, _, err := do(t.Context(), &g, "k", funcs{probe: ok, run: never}, nil); v != 7 || err != nil {
		t.Errorf("Do = %d, %v, want 7, nil", v, err)
	}

	boom := func(context.Context, *flight.Call[int]) (int, bool, error) { panic("boom") }
	_, _, err := do(t.Context(), &g, "k", funcs{probe: boom, run: never}, nil)
	if p := new(flight.PanicError); !errors.As(err, &p) || len(p.Stack) == 0 {
		t.Errorf("panic in Probe: %v, want a *PanicError with its stack", err)
	}

	// A leader that exits in its probe is gone; its followers are not.
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		go func() {
			_, _, _ = do(t.Context(), &g, "k", funcs{probe: func(context.Context, *flight.Call[int]) (int, bool, error) {
				time.Sleep(time.Second)
				runtime.Goexit()
				return 0, false, nil
			}}, nil)
		}()
		synctest.Wait()
		if _, _, err := do(t.Context(), &g, "k", funcs{}, nil); !errors.Is(err, flight.ErrGoexit) {
			t.Errorf("follower got %v, want ErrGoexit", err)
		}
	})
}

func TestLeaderLeavesDuringProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		ctx, cancel := context.WithCancel(t.Context())
		w := funcs{
			probe: func(ctx context.Context, _ *flight.Call[int]) (int, bool, error) {
				<-ctx.Done()
				return 0, false, nil
			},
			run: func(context.Context, *flight.Call[int]) (int, error) { return 3, nil },
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := do(ctx, &g, "k", w, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("leader got %v, want its cancellation", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if v, _, err := do(t.Context(), &g, "k", w, nil); v != 3 || err != nil {
				t.Errorf("follower got %d, %v, want 3: the flight goes on without its leader", v, err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
	})
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		var wg sync.WaitGroup
		wg.Go(func() {
			v, _, err := do(t.Context(), &g, "k", funcs{run: func(_ context.Context, c *flight.Call[int]) (int, error) {
				time.Sleep(time.Second)
				if c.Publish(0, func() { t.Error("a forgotten flight kept its value") }) {
					t.Error("Publish = true, want false")
				}
				return 1, nil
			}}, nil)
			if v != 1 || err != nil {
				t.Errorf("caller of the forgotten flight got %d, %v, want 1, nil", v, err)
			}
		})
		synctest.Wait()
		dropped := false
		g.Forget("k", func() { dropped = true })
		if !dropped {
			t.Error("Forget did not call drop")
		}
		if v, shared, _ := do(t.Context(), &g, "k", work(func(context.Context) (int, error) { return 2, nil }), nil); v != 2 || shared {
			t.Errorf("after Forget: %d, shared %t, want a new flight", v, shared)
		}
		wg.Wait()
	})
}

func TestRecursionIsAnError(t *testing.T) {
	var g, other flight.Group[int]
	_, _, err := do(t.Context(), &g, "k", work(func(ctx context.Context) (int, error) {
		if _, _, err := do(ctx, &other, "k", work(func(context.Context) (int, error) { return 1, nil }), nil); err != nil {
			return 0, fmt.Errorf("another group is no recursion: %w", err)
		}
		v, _, err := do(ctx, &g, "k", work(func(context.Context) (int, error) { return 1, nil }), nil)
		return v, err
	}), nil)
	if !errors.Is(err, flight.ErrRecursive) {
		t.Errorf("Do = %v, want ErrRecursive", err)
	}
}

func TestCloseCancelsAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		var ended atomic.Bool
		var wg sync.WaitGroup
		for _, key := range []string{"joinable", "forgotten"} {
			wg.Go(func() {
				_, _, err := do(t.Context(), &g, key, work(func(ctx context.Context) (int, error) {
					<-ctx.Done()
					time.Sleep(time.Second)
					ended.Store(true)
					return 0, context.Cause(ctx)
				}), nil)
				if !errors.Is(err, flight.ErrClosed) {
					t.Errorf("caller got %v, want ErrClosed", err)
				}
			})
		}
		synctest.Wait()
		g.Forget("forgotten", nil)
		if err := g.Close(t.Context()); err != nil || !ended.Load() {
			t.Errorf("Close = %v, ended %t, want nil after the work", err, ended.Load())
		}
		if _, _, err := do(t.Context(), &g, "k", work(nil), nil); !errors.Is(err, flight.ErrClosed) {
			t.Errorf("Do after Close = %v, want ErrClosed", err)
		}
		wg.Wait()
	})
}

func TestFollowerIsObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[int]
		var wg sync.WaitGroup
		w := funcs{run: func(_ context.Context, c *flight.Call[int]) (int, error) {
			c.SetTag("trace")
			time.Sleep(time.Second)
			if n := c.Joined(); n != 1 {
				t.Errorf("Joined = %d, want 1", n)
			}
			return 1, nil
		}}
		var tag string
		finished := false
		follow := func(_ context.Context, c *flight.Call[int]) func(flight.Way, error) {
			tag = c.Tag()
			return func(flight.Way, error) { finished = true }
		}
		wg.Go(func() { _, _, _ = do(t.Context(), &g, "k", w, follow) })
		synctest.Wait()
		wg.Go(func() { _, _, _ = do(t.Context(), &g, "k", w, follow) })
		wg.Wait()
		if tag != "trace" || !finished {
			t.Errorf("tag = %q, finished %t, want trace, true", tag, finished)
		}
	})
}

// TestHammer looks for what only the race detector and chance find.
func TestHammer(t *testing.T) {
	var g flight.Group[int]
	var running atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 2000 {
				ctx, cancel := context.WithCancel(context.Background())
				if (n+i)%3 == 0 {
					cancel()
				}
				key := "k" + string(rune('0'+n%3))
				v, _, err := do(ctx, &g, key, work(func(ctx context.Context) (int, error) {
					running.Add(1)
					defer running.Add(-1)
					runtime.Gosched()
					return 1, ctx.Err()
				}), nil)
				if err == nil && v != 1 {
					t.Errorf("Do = %d, nil: a zero value without an error", v)
				}
				if n%5 == 0 {
					g.Forget(key, nil)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if err := g.Close(context.Background()); err != nil || running.Load() != 0 {
		t.Errorf("Close = %v with %d running", err, running.Load())
	}
}
