package otelx_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/otelx"
)

func TestWaitsLinkToTheReadThatLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		load := after(time.Second, 1, nil)
		holder, other := w.process(t, "a", load, config{}), w.process(t, "b", load, config{})
		var wg sync.WaitGroup
		for _, c := range []*cache.Cache[string, int]{holder, holder, other, other} {
			wg.Go(func() { _, _ = c.Get(t.Context(), secret) })
			time.Sleep(time.Millisecond)
		}
		wg.Wait()

		spans := w.take()
		won := only(t, spans, "cache.lock.acquire x")
		read := find(spans, "cache.get x")[0]
		elsewhere := find(spans, "cache.get x")[2] // its leader
		if won.SpanContext.TraceID() != read.SpanContext.TraceID() || len(find(spans, "cache.load x")) != 1 {
			t.Fatalf("want one load in the trace of the first read:\n%s", w.tree(spans))
		}
		waits := find(spans, "cache.lock.wait x")
		if len(waits) != 3 {
			t.Fatalf("%d waits, want 3:\n%s", len(waits), w.tree(spans))
		}
		for _, s := range waits {
			if len(s.Links) != 1 || s.Status.Code != codes.Unset {
				t.Errorf("want one link, and no error: %s", w.describe(s))
			}
			if id := attr(s, otelx.AttrHolderTraceID); id != s.Links[0].SpanContext.TraceID().String() {
				t.Errorf("holder's trace id = %s, want the link's", id)
			}
		}
		linked := func(scope string) (ids []trace.SpanID) {
			for _, s := range waits {
				if attr(s, otelx.AttrLockScope) == scope {
					ids = append(ids, s.Links[0].SpanContext.SpanID())
				}
			}
			return ids
		}
		if ids := linked("distributed"); len(ids) != 1 || ids[0] != read.SpanContext.SpanID() {
			t.Errorf("the other process's wait is not linked to the holder's read")
		}
		ids := linked("process")
		if !slices.Contains(ids, read.SpanContext.SpanID()) || !slices.Contains(ids, elsewhere.SpanContext.SpanID()) {
			t.Errorf("the followers are not linked to their leaders' reads")
		}
	})
}

func TestRefreshIsATraceOfItsOwnLinkedToWhatSetItOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var loading trace.SpanContext
		c := w.process(t, "a", func(ctx context.Context, _ string) (int, error) {
			loading = trace.SpanContextFromContext(ctx)
			return 1, nil
		}, config{Policy: cache.Policy{TTL: time.Minute, StaleWhileRevalidate: time.Hour}})
		_, _ = c.Get(t.Context(), secret)
		time.Sleep(2 * time.Minute)
		w.take()

		ctx, request := w.tp.Tracer("test").Start(t.Context(), "request")
		_, _ = c.Get(ctx, secret)
		request.End()
		synctest.Wait()
		spans := w.take()
		if len(find(spans, "cache.get x")) != 0 {
			t.Errorf("a span on a stale hit in memory:\n%s", w.tree(spans))
		}
		refresh := only(t, spans, "cache.refresh x")
		switch {
		case refresh.Parent.IsValid(), refresh.SpanContext.TraceID() == request.SpanContext().TraceID():
			t.Errorf("the refresh is part of the request:\n%s", w.tree(spans))
		case len(refresh.Links) != 1 || refresh.Links[0].SpanContext.SpanID() != request.SpanContext().SpanID():
			t.Errorf("the refresh is not linked to the request:\n%s", w.tree(spans))
		case loading.TraceID() != refresh.SpanContext.TraceID():
			t.Errorf("the loader ran in trace %v, want the refresh's", loading.TraceID())
		}
	})
}

// TestOthersAreLinkedToABatch also where there is no shared tier to ask for a
// lease.
func TestOthersAreLinkedToABatch(t *testing.T) {
	for _, far := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var a, b *cache.Cache[string, int]
			if a = w.alone(t, after(time.Second, 1, nil), config{}); far {
				a, b = w.process(t, "a", after(time.Second, 1, nil), config{}), w.process(t, "b", after(time.Second, 1, nil), config{})
			}
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = a.GetMany(t.Context(), []string{secret, "k"}) })
			synctest.Wait()
			wg.Go(func() { _, _ = a.Get(t.Context(), secret) })
			if far {
				wg.Go(func() { _, _ = b.Get(t.Context(), "k") })
			}
			wg.Wait()
			spans := w.take()
			batch, waits := only(t, spans, "cache.get_many x"), find(spans, "cache.lock.wait x")
			if far != (len(waits) == 2) {
				t.Errorf("%d waits:\n%s", len(waits), w.tree(spans))
			}
			for _, s := range waits {
				if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != batch.SpanContext.SpanID() {
					t.Errorf("wait is not linked to the batch:\n%s", w.tree(spans))
				}
			}
		})
	}
}

// script is a lock driver that answers what it is told to.
type script struct{ grants []lock.Grant }

func (s *script) Acquire(context.Context, string, lock.Request) (lock.Grant, error) {
	g := s.grants[0]
	s.grants = s.grants[1:]
	return g, nil
}

func (s *script) Renew(context.Context, string, string, time.Duration) (bool, error) {
	return true, nil
}

func (s *script) Release(context.Context, string, string) (bool, error) { return true, nil }

// acquire plays an acquisition from a lock of its own and returns its span.
func (w *world) acquire(t *testing.T, ctx context.Context, opts lock.Options, grants ...lock.Grant) tracetest.SpanStub {
	t.Helper()
	opts.Hooks = otelx.Hooks(&w.opts).Lock
	l, err := lock.New(&script{grants}, &opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if le, err := l.Acquire(ctx, secret); err == nil {
		_ = le.Release(ctx)
	}
	spans := w.exporter.GetSpans()
	w.exporter.Reset()
	if len(spans) != 1 {
		t.Fatalf("%d spans, want 1", len(spans))
	}
	return spans[0]
}

func holder(owner, traceID string) lock.Holder {
	h := lock.Holder{Owner: owner, Remaining: time.Minute}
	if traceID != "" {
		h.Tag = "00-" + strings.Repeat(traceID, 32) + "-0123456789abcdef-01"
	}
	return h
}

func TestWaitIsLinkedToEachHolderInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := holder("a", "a"), holder("b", "b")
		s := w.acquire(t, t.Context(), lock.Options{},
			lock.Grant{Holder: a}, lock.Grant{Holder: a}, lock.Grant{}, lock.Grant{Holder: a}, lock.Grant{Holder: b}, lock.Grant{Status: lock.Won, TookOver: true})
		var linked []string
		for _, l := range s.Links {
			linked = append(linked, l.SpanContext.TraceID().String()[:1])
		}
		switch {
		case s.Name != "cache.lock.wait x" || strings.Join(linked, "") != "ab":
			t.Errorf("%s has links %q, want a wait linked to a, then b", w.describe(s), linked)
		case attr(s, otelx.AttrHolderID) != "b" || attr(s, otelx.AttrHolderTraceID) != strings.Repeat("b", 32):
			t.Errorf("%s, want the holder b", w.describe(s))
		case attr(s, otelx.AttrLockTookOver) != "true" || attr(s, otelx.AttrLockOutcome) != "acquired" || s.Status.Code != codes.Unset:
			t.Errorf("%s, want it taken over", w.describe(s))
		}

		// The last holder, seen only when the wait is given up, and not sampled.
		s = w.acquire(t, t.Context(), lock.Options{Retries: 1}, lock.Grant{Holder: a}, lock.Grant{Holder: holder("c", "")})
		if attr(s, otelx.AttrHolderID) != "c" || attr(s, otelx.AttrHolderTraceID) != "" || len(s.Links) != 1 {
			t.Errorf("%s, want the holder c, of which no trace is known", w.describe(s))
		}
	})
}

// TestUnsampledIsNotLinkedTo: a link to a span that was not kept leads nowhere.
func TestUnsampledIsNotLinkedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.process(t, "b", after(time.Second, 1, nil), config{})
		w.opts.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
		a := w.process(t, "a", after(time.Second, 1, nil), config{})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.Get(t.Context(), secret) })
		synctest.Wait()
		_, _ = b.Get(t.Context(), secret)
		wg.Wait()
		if s := only(t, w.take(), "cache.lock.wait x"); len(s.Links) != 0 || attr(s, otelx.AttrHolderID) != "a" {
			t.Errorf("%s, want no link", w.describe(s))
		}
		hooks := otelx.Hooks(&w.opts)
		if tag := hooks.Tag(hooks.GetStart(t.Context(), cache.GetStart{})); tag != "" {
			t.Errorf("Tag = %q, want none", tag)
		}
	})
}

// FuzzHolderTag gives an acquisition's span what another process may have
// written into the lease.
func FuzzHolderTag(f *testing.F) {
	f.Add("")
	f.Add("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
	f.Add("00-0123456789abcdef0123456789abcdef-0123456789abcdef-00")
	f.Add("00-00000000000000000000000000000000-0123456789abcdef-01")
	f.Add(strings.Repeat("x", 55))
	exporter := tracetest.NewInMemoryExporter()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	hooks := otelx.Hooks(&otelx.Options{TracerProvider: tp})
	f.Fuzz(func(t *testing.T, tag string) {
		exporter.Reset()
		ctx, _ := hooks.Lock.AcquireStart(context.Background(), lock.AcquireStart{})
		hooks.Lock.Contended(ctx, lock.Contended{Holder: lock.Holder{Tag: tag}})
		hooks.Lock.AcquireDone(ctx, lock.AcquireDone{Outcome: lock.OutcomeFilled})
		for _, l := range exporter.GetSpans()[0].Links {
			if !l.SpanContext.IsValid() || !l.SpanContext.IsSampled() {
				t.Errorf("link to %v from %q", l.SpanContext, tag)
			}
		}
	})
}

func TestHopelessWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		h := holder("a", "a")
		h.Usual = 10 * time.Second
		s := w.acquire(t, ctx, lock.Options{}, lock.Grant{Holder: h})
		if attr(s, otelx.AttrLockHopeless) != "true" || attr(s, otelx.AttrLockOutcome) != "timeout" || s.Status.Code != codes.Error {
			t.Errorf("%s, want hopeless, and an error", w.describe(s))
		}

		// In a process whose caller's deadline does not allow for a load.
		load := after(10*time.Second, 1, nil)
		a, b := w.process(t, "a", load, config{}), w.process(t, "b", load, config{})
		_, _ = a.Get(t.Context(), "teaches what is usual")
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.Get(t.Context(), secret) })
		synctest.Wait()
		hopeless := func(c *cache.Cache[string, int]) tracetest.SpanStubs {
			w.take()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := c.Get(ctx, secret); !errors.Is(err, cache.ErrInProgress) {
				t.Errorf("Get = %v, want ErrInProgress", err)
			}
			synctest.Wait()
			spans := w.take()
			if s := only(t, spans, "cache.get x"); attr(s, otelx.AttrErrorType) != "in_progress" {
				t.Errorf("%s, want in_progress", w.describe(s))
			}
			return spans
		}
		if s := only(t, hopeless(a), "cache.lock.wait x"); attr(s, otelx.AttrLockHopeless) != "true" || attr(s, otelx.AttrLockOutcome) != "timeout" {
			t.Errorf("in the process: %s, want hopeless", w.describe(s))
		}
		if s := only(t, hopeless(b), "cache.lock.wait x"); attr(s, otelx.AttrErrorType) != "abandoned" || attr(s, otelx.AttrLockOutcome) != "canceled" {
			t.Errorf("between processes: %s, want it given up", w.describe(s))
		}
		wg.Wait()
	})
}

func TestTryAcquireIsNoWait(t *testing.T) {
	w := newWorld(t)
	l, err := lock.New(&script{[]lock.Grant{{Holder: holder("a", "a")}}}, &lock.Options{Hooks: otelx.Hooks(&w.opts).Lock})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if _, err := l.TryAcquire(t.Context(), secret); !errors.Is(err, lock.ErrHeld) {
		t.Fatal(err)
	}
	s := w.exporter.GetSpans()[0]
	w.exporter.Reset() // nobody made the holder's span
	if s.Name != "cache.lock.acquire x" || attr(s, otelx.AttrLockOutcome) != "held" || s.Status.Code != codes.Unset {
		t.Errorf("%s, want an acquisition that found it held", w.describe(s))
	}
	if n := len(w.collect(t)); n != 0 {
		t.Errorf("%d series, want none: there was no wait", n)
	}
}
