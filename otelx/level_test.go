package otelx_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/otelx"
)

// herd uses two processes in every way, within a span of the caller's, and
// returns the spans of the caches and the caller's.
func herd(t *testing.T, w *world) (spans tracetest.SpanStubs, caller tracetest.SpanStub) {
	t.Helper()
	policy := cache.Policy{TTL: time.Minute, StaleWhileRevalidate: time.Hour}
	a := w.process(t, "a", after(100*time.Millisecond, 1, nil), config{Policy: policy})
	b := w.process(t, "b", after(100*time.Millisecond, 1, nil), config{Policy: policy})
	ctx, request := w.tp.Tracer("test").Start(t.Context(), "request")
	var wg sync.WaitGroup
	for i, c := range []*cache.Cache[string, int]{a, a, b} {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Millisecond)
			_, _ = c.Get(ctx, "herd")
		})
	}
	wg.Wait()
	_, _ = a.GetMany(ctx, []string{"many1", "many2"})
	_, _ = b.Get(ctx, "many1") // a hit of the shared tier
	_ = a.Set(ctx, "set", 1)
	_ = a.Expire(ctx, "set")
	_ = a.Delete(ctx, "set")
	time.Sleep(2 * time.Minute)
	_, _ = a.Get(ctx, "herd") // refreshes
	time.Sleep(time.Second)
	synctest.Wait()
	request.End()
	for _, s := range w.take() {
		if s.Name == "request" {
			caller = s
		} else {
			spans = append(spans, s)
		}
	}
	return spans, caller
}

// What each level shows is pinned: it is what a user pays for.
func TestLevels(t *testing.T) {
	locks := "cache.fill x, cache.load x, cache.lock.acquire x, cache.lock.wait x, cache.refresh x"
	for level, want := range map[otelx.Level]string{
		otelx.SpansSlow:  "cache.delete x, cache.expire x, cache.fill x, cache.get x, cache.get_many x, cache.load x, cache.lock.acquire x, cache.lock.wait x, cache.refresh x, cache.set x",
		otelx.SpansLocks: locks,
		otelx.SpansOff:   "",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.opts.Spans = level
			spans, caller := herd(t, w)
			var names []string
			for _, s := range spans {
				names = append(names, s.Name)
			}
			slices.Sort(names)
			if got := strings.Join(slices.Compact(names), ", "); got != want {
				t.Errorf("level %d shows %s, want %s", level, got, want)
			}
			if n := w.collect(t)[`cache.lock.wait.duration {cache.lock.outcome=shared cache.lock.scope=process cache.name=x}`]; n != 1 {
				t.Errorf("level %d: %v waits in the histogram, want 1 as always", level, n)
			}
			if level != otelx.SpansLocks {
				return
			}
			waits := find(spans, "cache.lock.wait x")
			if len(waits) != 2 {
				t.Errorf("%d waits, want 2", len(waits))
			}
			for _, s := range waits {
				if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != caller.SpanContext.SpanID() {
					t.Errorf("%s is not linked to the span of the load's caller", w.describe(s))
				}
			}
		})
	}
}

// The caller's span travels also from where no spans are made.
func TestLevelOffIsKnownToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.opts.Spans = otelx.SpansOff
		quiet := w.process(t, "a", after(100*time.Millisecond, 1, nil), config{})
		w.opts.Spans = otelx.SpansSlow
		other := w.process(t, "b", after(0, 1, nil), config{})
		ctx, request := w.tp.Tracer("test").Start(t.Context(), "request")
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = quiet.Get(ctx, "k") })
		synctest.Wait()
		_, _ = other.Get(t.Context(), "k")
		wg.Wait()
		request.End()
		wait := only(t, w.take(), "cache.lock.wait x")
		if got, want := attr(wait, otelx.AttrHolderTraceID), request.SpanContext().TraceID().String(); got != want {
			t.Errorf("the wait is for trace %q, want %q", got, want)
		}
	})
}

// A loader that uses a cache with fewer spans keeps its own.
func TestLevelsNest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, level := range []otelx.Level{otelx.SpansLocks, otelx.SpansOff} {
			w := newWorld(t)
			w.opts.Spans = level
			inner := w.process(t, "a", after(time.Second, 1, nil), config{})
			w.opts.Spans = otelx.SpansSlow
			outer := w.alone(t, func(ctx context.Context, _ string) (int, error) {
				v, err := inner.Get(ctx, "inner")
				time.Sleep(time.Second)
				return v, err
			}, config{})
			_, _ = outer.Get(t.Context(), "outer")
			synctest.Wait()
			full := 0
			for _, s := range w.take() {
				if s.Name == "cache.load x" && s.EndTime.Sub(s.StartTime) == 2*time.Second {
					full++
				}
			}
			if full != 1 {
				t.Errorf("level %d: %d spans of the outer load have its 2 s, want 1", level, full)
			}
		}
	})
}

func TestHashKey(t *testing.T) {
	hash, other := otelx.HashKey([]byte("one")), otelx.HashKey([]byte("two"))
	if a := hash(secret); a != hash(secret) || len(a) != 16 || a == other(secret) || a == hash(secret+"!") || strings.Contains(a, secret) {
		t.Errorf("hash %q, want 16 digits that depend on key and secret", a)
	}
}
