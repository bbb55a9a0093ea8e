package otelx_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/otelx"
)

// TestGolden pins names and attributes: dashboards and searches depend on them.
func TestGolden(t *testing.T) {
	var got strings.Builder
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenes(t, &got)
	})
	if strings.Contains(got.String(), secret) {
		t.Error("a key is shown")
	}
	golden(t, "testdata/spans.golden", got.String())
}

func (w *world) scenes(t *testing.T, got *strings.Builder) {
	ctx := t.Context()
	scene := func(name string, act func()) {
		w.take()
		act()
		synctest.Wait()
		fmt.Fprintf(got, "# %s\n%s", name, w.tree(w.take()))
	}
	boom := errors.New("boom " + secret)
	load := after(300*time.Millisecond, 1, nil)
	policy := cache.Policy{TTL: time.Minute, StaleWhileRevalidate: time.Minute, StaleIfError: time.Hour}
	a := w.process(t, "a", load, config{Policy: policy})
	b := w.process(t, "b", load, config{Policy: policy})
	var wg sync.WaitGroup
	at := func(d time.Duration, do func()) {
		wg.Go(func() {
			time.Sleep(d)
			do()
		})
	}

	scene("cold miss", func() { _, _ = a.Get(ctx, secret) })
	scene("hit in memory", func() { _, _ = a.Get(ctx, secret) })
	scene("hit in the shared tier", func() { _, _ = b.Get(ctx, secret) })
	scene("set", func() { _ = a.Set(ctx, secret, 2) })
	scene("delete", func() { _ = a.Delete(ctx, secret) })
	scene("expire", func() { _ = a.Expire(ctx, secret) })
	scene("delete by tag", func() { _ = a.DeleteTags(ctx, secret, secret+"2") })
	scene("expire by tag", func() { _ = a.ExpireTags(ctx, secret) })
	scene("clear", func() { _ = a.Clear(ctx) })
	scene("three callers in two processes", func() {
		at(0, func() { _, _ = a.Get(ctx, "herd") })
		at(time.Millisecond, func() { _, _ = a.Get(ctx, "herd") })
		at(2*time.Millisecond, func() { _, _ = b.Get(ctx, "herd") })
		wg.Wait()
	})
	scene("two callers without a shared tier", func() {
		c := w.alone(t, load, config{})
		at(0, func() { _, _ = c.Get(ctx, "herd") })
		at(time.Millisecond, func() { _, _ = c.Get(ctx, "herd") })
		wg.Wait()
	})
	time.Sleep(90 * time.Second) // herd is stale
	scene("stale hit in memory, refreshed", func() {
		_, _ = a.Get(ctx, "herd")
		time.Sleep(time.Second)
	})
	scene("refreshed by another meanwhile", func() {
		_, _ = b.Get(ctx, "herd")
		time.Sleep(time.Second)
	})
	time.Sleep(90 * time.Second)
	scene("stale hit in two processes, refreshed by one", func() {
		at(0, func() { _, _ = a.Get(ctx, "herd") })
		at(time.Millisecond, func() { _, _ = b.Get(ctx, "herd") })
		wg.Wait()
		time.Sleep(time.Second)
	})
	time.Sleep(10 * time.Minute) // herd is only good against errors
	scene("stale because the loader fails", func() {
		_, _ = a.GetOrLoad(ctx, "herd", after(0, 0, boom))
	})
	scene("stale because the key cools down", func() { _, _ = b.Get(ctx, "herd") })
	time.Sleep(time.Second)
	scene("stale because another loads", func() {
		at(0, func() { _, _ = a.Get(ctx, "herd") })
		at(time.Millisecond, func() { _, _ = b.Get(ctx, "herd") })
		wg.Wait()
	})
	scene("loader fails", func() { _, _ = a.GetOrLoad(ctx, "bad", after(time.Millisecond, 0, boom)) })
	scene("cooling down", func() { _, _ = b.Get(ctx, "bad") })
	time.Sleep(time.Second)
	scene("loader fails while others wait", func() {
		at(0, func() { _, _ = a.GetOrLoad(ctx, "bad", after(100*time.Millisecond, 0, boom)) })
		at(time.Millisecond, func() { _, _ = a.Get(ctx, "bad") })
		at(2*time.Millisecond, func() { _, _ = b.Get(ctx, "bad") })
		wg.Wait()
	})
	scene("loader panics", func() {
		_, _ = a.GetOrLoad(ctx, "panic", func(context.Context, string) (int, error) { panic(boom) })
	})
	scene("not found", func() { _, _ = a.GetOrLoad(ctx, "absent", after(0, 0, cache.ErrNotFound)) })
	scene("load takes too long", func() {
		_, _ = a.With(func(p *cache.Policy) { p.LoadTimeout = 50 * time.Millisecond }).Get(ctx, "slow")
	})
	scene("caller is impatient", func() {
		_, _ = a.With(func(p *cache.Policy) { p.HardTimeout = 50 * time.Millisecond }).Get(ctx, "hard")
		time.Sleep(time.Second)
	})
	scene("caller leaves", func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		_, _ = a.GetOrLoad(ctx, "left", after(time.Hour, 1, nil))
	})
	scene("many", func() {
		_, _ = a.GetOrLoadMany(ctx, []string{"m1", "m2", "m3", secret}, func(_ context.Context, keys []string) (map[string]int, error) {
			return map[string]int{"m1": 1, "m2": 2, secret: 3}, nil
		})
	})
	scene("many, some of which another process loads, some of which fail", func() {
		at(0, func() { _, _ = a.Get(ctx, "m4") })
		at(time.Millisecond, func() {
			_, _ = b.GetOrLoadMany(ctx, []string{"m4", "m5", "m6"}, func(context.Context, []string) (map[string]int, error) {
				return map[string]int{"m5": 5}, boom
			})
		})
		wg.Wait()
	})
	w.server.down = true
	scene("server away", func() { _, _ = b.Get(ctx, "away") })
}

// TestAcquisitionBeginsWithItsFirstAttempt, which is made before anybody knows
// that there will be a fill.
func TestAcquisitionBeginsWithItsFirstAttempt(t *testing.T) {
	w := newWorld(t)
	c := w.process(t, "a", after(0, 1, nil), config{})
	_, _ = c.Get(t.Context(), secret)
	spans := w.take()
	get, fill, won := only(t, spans, "cache.get x"), only(t, spans, "cache.fill x"), only(t, spans, "cache.lock.acquire x")
	if !won.StartTime.Equal(fill.StartTime) || !fill.StartTime.After(get.StartTime) {
		t.Errorf("get, fill and acquisition began at %v, %v, %v, want the last two at once", get.StartTime, fill.StartTime, won.StartTime)
	}
}

// sampler notes the names under which spans begin.
type sampler struct {
	sdktrace.Sampler
	mu    sync.Mutex
	names []string
}

func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, p.Name)
	return s.Sampler.ShouldSample(p)
}

// TestWaitBeginsAsOne: samplers see no later name.
func TestWaitBeginsAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		seen := &sampler{Sampler: sdktrace.AlwaysSample()}
		a := w.process(t, "a", after(time.Second, 1, nil), config{})
		w.opts.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(seen))
		b := w.process(t, "b", after(time.Second, 1, nil), config{})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.Get(t.Context(), secret) })
		synctest.Wait()
		_, _ = b.Get(t.Context(), secret)
		wg.Wait()
		if want := []string{"cache.get x", "cache.fill x", "cache.lock.wait x"}; !slices.Equal(seen.names, want) {
			t.Errorf("spans began as %q, want %q", seen.names, want)
		}
	})
}

func TestTimeoutIsTheWaitsErrorAndUnderFailFastTheGets(t *testing.T) {
	for policy, getFails := range map[cache.WaitPolicy]bool{cache.LoadAnyway: false, cache.FailFast: true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			holder := w.process(t, "a", after(time.Hour, 1, nil), config{Policy: cache.Policy{LoadTimeout: -1}})
			other := w.process(t, "b", after(0, 1, nil), config{
				Policy: cache.Policy{Wait: policy}, Lease: lock.Options{MaxWait: time.Millisecond},
			})
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = holder.Get(t.Context(), secret) })
			synctest.Wait()
			_, err := other.Get(t.Context(), secret)
			if errors.Is(err, cache.ErrInProgress) != getFails {
				t.Errorf("policy %v: Get = %v", policy, err)
			}
			spans := w.take()
			wait, get := only(t, spans, "cache.lock.wait x"), only(t, spans, "cache.get x")
			if wait.Status.Code != codes.Error || attr(wait, otelx.AttrLockOutcome) != "timeout" || attr(wait, otelx.AttrErrorType) != "timeout" {
				t.Errorf("policy %v: wait = %s, want one that timed out", policy, w.describe(wait))
			}
			if (get.Status.Code == codes.Error) != getFails {
				t.Errorf("policy %v: get = %s, want error status %t", policy, w.describe(get), getFails)
			}
			if getFails && attr(get, otelx.AttrErrorType) != "in_progress" {
				t.Errorf("get = %s, want in_progress", w.describe(get))
			}
			wg.Wait()
		})
	}
}

// TestStaleServeIsNoWait: a lease that is held elsewhere is not waited for by
// who has a stale value, so nothing may be told of a wait, least of all that it
// timed out.
func TestStaleServeIsNoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		opts := config{Policy: cache.Policy{TTL: time.Minute, StaleWhileRevalidate: time.Minute, StaleIfError: time.Hour}}
		a, b := w.process(t, "a", after(time.Second, 1, nil), opts), w.process(t, "b", after(time.Second, 1, nil), opts)
		var wg sync.WaitGroup
		both := func() {
			for _, c := range []*cache.Cache[string, int]{a, b} {
				wg.Go(func() { _, _ = c.Get(t.Context(), secret) })
				synctest.Wait()
			}
			wg.Wait()
			time.Sleep(2 * time.Second)
		}
		both()
		w.take()
		for _, wait := range []time.Duration{time.Minute, 10 * time.Minute} { // for a refresh, for StaleIfError
			time.Sleep(wait)
			both()
			spans := w.take()
			if n := len(find(spans, "cache.load x")); n != 1 {
				t.Fatalf("%d loads, want 1:\n%s", n, w.tree(spans))
			}
			if len(find(spans, "cache.lock.wait x")) != 0 {
				t.Errorf("a wait is told:\n%s", w.tree(spans))
			}
			for _, s := range spans {
				if s.Status.Code != codes.Unset {
					t.Errorf("error status: %s", w.describe(s))
				}
			}
		}
		if n := w.collect(t)[`cache.lock.wait.duration {cache.lock.outcome=filled cache.lock.scope=distributed cache.name=x}`]; n != 1 {
			t.Errorf("%v waits in the histogram, want that of the cold load", n)
		}
	})
}

func TestKeyIsShownOnlyThroughTheRedactor(t *testing.T) {
	w := newWorld(t)
	w.opts.Key = func(key string) string { return fmt.Sprintf("len-%d", len(key)) }
	c := w.alone(t, after(0, 1, nil), config{})
	_, _ = c.Get(t.Context(), secret)
	if s := only(t, w.take(), "cache.get x"); attr(s, otelx.AttrKey) != "len-10" {
		t.Errorf("span = %s, want the redacted key", w.describe(s))
	}
}

func TestRequireParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.opts.RequireParent = true
		c := w.process(t, "a", after(0, 1, nil), config{Policy: cache.Policy{TTL: time.Minute, StaleWhileRevalidate: time.Hour}})
		use := func(ctx context.Context, key string) {
			_, _ = c.Get(ctx, key)
			_, _ = c.GetMany(ctx, []string{key + "1", key + "2"})
			_ = c.Set(ctx, key+"3", 1)
			time.Sleep(2 * time.Minute)
			_, _ = c.Get(ctx, key) // refreshes
			synctest.Wait()
		}
		use(t.Context(), "a")
		if s := w.take(); len(s) != 0 {
			t.Errorf("spans without a parent:\n%s", w.tree(s))
		}
		ctx, parent := w.tp.Tracer("test").Start(t.Context(), "request")
		use(ctx, "b")
		parent.End()
		spans := w.take()
		refresh := only(t, spans, "cache.refresh x").SpanContext.TraceID()
		for _, s := range spans {
			if id := s.SpanContext.TraceID(); id != parent.SpanContext().TraceID() && id != refresh {
				t.Errorf("%s is not in the request's trace", s.Name)
			}
		}
	})
}

func TestErrorType(t *testing.T) {
	w := newWorld(t)
	h := otelx.Hooks(&w.opts)
	for _, c := range []struct {
		err  error
		want string
	}{
		{cache.ErrTimeout, "hard_timeout"},
		{cache.ErrLoadTimeout, "load_timeout"},
		{cache.ErrOverloaded, "overloaded"},
		{fmt.Errorf("%w: %w", cache.ErrInProgress, &lock.HeldError{}), "in_progress"},
		{&cache.CoolingError{Err: &cache.LoadError{Err: context.DeadlineExceeded}}, "cooling"},
		{&cache.CoolingError{Err: &cache.PanicError{}}, "cooling"},
		{&cache.PanicError{Value: context.Canceled}, "panic"},
		{&cache.LoadError{Err: context.DeadlineExceeded}, "timeout"},
		{errors.Join(nil, flight.ErrAbandoned), "abandoned"},
		{&cache.LoadError{Err: fmt.Errorf("%w, %w", os.NewSyscallError("read", syscall.EIO), errors.New("x"))}, "syscall.Errno"},
		{&cache.BatchError[string]{Errs: map[string]error{"a": cache.ErrCooling}}, "cooling"},
	} {
		ctx := h.GetStart(t.Context(), cache.GetStart{})
		h.GetDone(ctx, cache.GetDone{Err: c.err})
		spans := w.exporter.GetSpans()
		w.exporter.Reset()
		if got := attr(spans[0], otelx.AttrErrorType); got != c.want {
			t.Errorf("%v is %q, want %q", c.err, got, c.want)
		}
	}
}

func TestHitInMemoryCostsNoAllocation(t *testing.T) {
	w := newWorld(t)
	c := w.alone(t, after(0, 1, nil), config{})
	stop, err := otelx.Observe(&w.opts, c.Stats)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop() }()
	ctx := t.Context()
	_, _ = c.Get(ctx, secret)
	w.take()
	if n := testing.AllocsPerRun(5000, func() { _, _ = c.Get(ctx, secret) }); n != 0 {
		t.Errorf("%v allocations a hit", n)
	}
	if n := w.collect(t)["cache.requests {cache.name=x cache.result=hit cache.tier=l1}"]; n < 5000 {
		t.Errorf("%v hits in the metrics, want each", n)
	}
	if s := w.take(); len(s) != 0 {
		t.Errorf("spans on a hit: %v", s)
	}
}
