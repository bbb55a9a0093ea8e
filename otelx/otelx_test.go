package otelx_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/otelx"
	"github.com/bellwethercache/bellwether/tier"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if url := os.Getenv(childEnv); url != "" {
		os.Exit(child(url))
	}
	goleak.VerifyTestMain(m)
}

const secret = "secret-key"

// world is a telemetry backend in memory.
type world struct {
	spans  *tracetest.InMemoryExporter
	tp     *sdktrace.TracerProvider
	reader *sdkmetric.ManualReader
	opts   otelx.Options
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	w.tp = sdktrace.NewTracerProvider(sdktrace.WithSyncer(w.spans))
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader))
	t.Cleanup(func() {
		_ = w.tp.Shutdown(context.Background())
		_ = mp.Shutdown(context.Background())
	})
	w.opts = otelx.Options{CacheName: "x", TracerProvider: w.tp, MeterProvider: mp}
	return w
}

// cache makes a cache on the server at url; without one it has memory only.
func (w *world) cache(t *testing.T, url string, load cache.LoadFunc[string, int], opts cache.Options[string, int]) *cache.Cache[string, int] {
	t.Helper()
	m, err := ristrettostore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tiers := []tier.Tier{tier.Local(m, nil)}
	if url != "" {
		s, err := valkeystore.Open(url, &valkeystore.Options{Namespace: "otelx"})
		if err != nil {
			t.Fatal(err)
		}
		tiers = append(tiers, tier.Remote(s, &tier.RemoteOptions{Budget: 2 * time.Second}))
	}
	opts.Name = "x"
	opts.Hooks = otelx.Hooks(&w.opts)
	c, err := cache.New(load, &opts, tiers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// take returns and forgets the spans so far, those that begin first first.
func (w *world) take() tracetest.SpanStubs {
	s := w.spans.GetSpans()
	w.spans.Reset()
	slices.SortStableFunc(s, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return s
}

// describe is a span in one line, without what differs from run to run.
func describe(s tracetest.SpanStub) string {
	var attrs []string
	for _, kv := range s.Attributes {
		v := kv.Value.String()
		switch string(kv.Key) {
		case otelx.AttrHolderTraceID, otelx.AttrHolderID, otelx.AttrLockHeld:
			v = "*"
		case otelx.AttrLockAttempts:
			v = "n"
		}
		attrs = append(attrs, string(kv.Key)+"="+v)
	}
	slices.Sort(attrs)
	line := s.Name + " {" + strings.Join(attrs, " ") + "}"
	if n := len(s.Links); n > 0 {
		line += fmt.Sprintf(" links=%d", n)
	}
	var events []string
	for _, e := range s.Events {
		if !slices.Contains(events, e.Name) {
			events = append(events, e.Name)
		}
	}
	if events != nil {
		line += " events=" + strings.Join(events, ",")
	}
	if s.Status.Code != codes.Unset {
		line += " " + s.Status.Code.String()
	}
	return line
}

func instant(context.Context, string) (int, error) { return 1, nil }

// TestGolden pins names and attributes: dashboards and searches depend on them.
func TestGolden(t *testing.T) {
	url := servertest.Mini(t).URL()
	boom := errors.New("boom " + secret)
	var got strings.Builder
	scene := func(name string, w *world, act func()) {
		w.take()
		act()
		fmt.Fprintf(&got, "# %s\n", name)
		for _, s := range w.take() {
			fmt.Fprintln(&got, describe(s))
		}
	}
	w := newWorld(t)
	a, b := w.cache(t, url, instant, cache.Options[string, int]{}), w.cache(t, url, instant, cache.Options[string, int]{})
	ctx := t.Context()
	scene("cold miss", w, func() { _, _ = a.Get(ctx, secret) })
	scene("hit in memory", w, func() { _, _ = a.Get(ctx, secret) })
	scene("hit in the shared tier", w, func() { _, _ = b.Get(ctx, secret) })
	scene("set", w, func() { _ = a.Set(ctx, secret, 2) })
	scene("delete", w, func() { _ = a.Delete(ctx, secret) })
	scene("loader fails", w, func() {
		_, _ = a.GetOrLoad(ctx, secret, func(context.Context, string) (int, error) { return 0, boom })
	})
	scene("loader panics", w, func() {
		_, _ = a.GetOrLoad(ctx, secret, func(context.Context, string) (int, error) { panic(boom) })
	})
	scene("not found", w, func() {
		_, _ = a.GetOrLoad(ctx, secret, func(context.Context, string) (int, error) { return 0, cache.ErrNotFound })
	})
	down := w.cache(t, "valkey://127.0.0.1:1", instant, cache.Options[string, int]{})
	scene("server away", w, func() { _, _ = down.Get(ctx, secret) })

	if strings.Contains(got.String(), secret) {
		t.Error("a key is shown")
	}
	want, err := os.ReadFile("testdata/spans.golden")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		want, err = []byte(got.String()), os.WriteFile("testdata/spans.golden", []byte(got.String()), 0o644)
	}
	if err != nil || got.String() != string(want) {
		t.Errorf("spans, %v:\n%s\nwant:\n%s", err, &got, want)
	}
}

func find(spans tracetest.SpanStubs, name string) (found tracetest.SpanStubs) {
	for _, s := range spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

func TestWaitsLinkToWhatTheyWaitedFor(t *testing.T) {
	url := servertest.Mini(t).URL()
	w := newWorld(t)
	loading, proceed := make(chan struct{}), make(chan struct{})
	load := func(context.Context, string) (int, error) {
		close(loading)
		<-proceed
		return 1, nil
	}
	opts := cache.Options[string, int]{}
	waiting := make(chan struct{}, 2)
	w.opts.Next = cache.Hooks{
		WaitStart: func(ctx context.Context, _ cache.WaitStart) context.Context { waiting <- struct{}{}; return ctx },
		Lock:      lock.Hooks{Contended: func(context.Context, lock.Contended) { waiting <- struct{}{} }},
	}
	holder, other := w.cache(t, url, load, opts), w.cache(t, url, load, opts)
	var wg sync.WaitGroup
	get := func(c *cache.Cache[string, int]) {
		wg.Go(func() {
			if v, err := c.Get(t.Context(), secret); v != 1 || err != nil {
				t.Errorf("Get = %d, %v", v, err)
			}
		})
	}
	get(holder)
	<-loading
	get(holder) // a follower in the process
	<-waiting
	get(other) // another process
	<-waiting
	close(proceed)
	wg.Wait()

	spans := w.take()
	won := find(spans, "cache.lock.acquire x")
	waits := find(spans, "cache.lock.wait x")
	if len(won) != 1 || len(waits) != 2 || len(find(spans, "cache.load x")) != 1 {
		t.Fatalf("%d acquisitions, %d waits, want 1, 2: %v", len(won), len(waits), spans)
	}
	for _, s := range waits {
		if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != won[0].SpanContext.SpanID() {
			t.Errorf("wait is not linked to the acquisition: %s", describe(s))
		}
		if !strings.Contains(describe(s), otelx.AttrHolderTraceID) {
			t.Errorf("wait without the holder's trace id: %s", describe(s))
		}
		if s.Status.Code != codes.Unset {
			t.Errorf("contention is no error: %s", describe(s))
		}
	}
}

func TestTimeoutIsTheWaitsErrorAndUnderFailFastTheGets(t *testing.T) {
	for policy, getFails := range map[cache.WaitPolicy]bool{cache.LoadAnyway: false, cache.FailFast: true} {
		url := servertest.Mini(t).URL()
		w := newWorld(t)
		block := make(chan struct{})
		holder := w.cache(t, url, func(context.Context, string) (int, error) { <-block; return 1, nil }, cache.Options[string, int]{})
		other := w.cache(t, url, instant, cache.Options[string, int]{Wait: policy, Lease: lock.Options{MaxWait: time.Millisecond}})
		var wg sync.WaitGroup
		started := make(chan struct{})
		wg.Go(func() {
			_, _ = holder.GetOrLoad(t.Context(), secret, func(context.Context, string) (int, error) { close(started); <-block; return 1, nil })
		})
		<-started
		_, err := other.Get(t.Context(), secret)
		if errors.Is(err, cache.ErrInProgress) != getFails {
			t.Errorf("policy %v: Get = %v", policy, err)
		}
		spans := w.take()
		if s := find(spans, "cache.lock.wait x"); len(s) != 1 || s[0].Status.Code != codes.Error || !strings.Contains(describe(s[0]), "outcome=timeout") {
			t.Errorf("policy %v: waits = %v, want one that timed out", policy, s)
		}
		if s := find(spans, "cache.get x"); len(s) != 1 || (s[0].Status.Code == codes.Error) != getFails {
			t.Errorf("policy %v: gets = %v, want error status %t", policy, s, getFails)
		}
		close(block)
		wg.Wait()
	}
}

func TestKeyIsShownOnlyThroughTheRedactor(t *testing.T) {
	w := newWorld(t)
	w.opts.Key = func(key string) string { return fmt.Sprintf("len-%d", len(key)) }
	c := w.cache(t, "", instant, cache.Options[string, int]{})
	_, _ = c.Get(t.Context(), secret)
	if s := find(w.take(), "cache.get x"); len(s) != 1 || !strings.Contains(describe(s[0]), "cache.key=len-10") {
		t.Errorf("spans = %v, want the redacted key", s)
	}
}

func TestRequireParent(t *testing.T) {
	w := newWorld(t)
	w.opts.RequireParent = true
	c := w.cache(t, "", instant, cache.Options[string, int]{})
	_, _ = c.Get(t.Context(), "a")
	if s := w.take(); len(s) != 0 {
		t.Errorf("spans without a parent: %v", s)
	}
	ctx, parent := w.tp.Tracer("test").Start(t.Context(), "request")
	_, _ = c.Get(ctx, "b")
	parent.End()
	for _, s := range w.take() {
		if s.SpanContext.TraceID() != parent.SpanContext().TraceID() {
			t.Errorf("%s is not in the request's trace", s.Name)
		}
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	c := w.cache(t, servertest.Mini(t).URL(), instant, cache.Options[string, int]{})
	stop, err := otelx.Observe(&w.opts, c.Stats)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, _ = c.Get(t.Context(), secret)
	}
	var rm metricdata.ResourceMetrics
	if err := w.reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%+v", rm)
	if strings.Contains(text, secret) {
		t.Error("a key is in the metrics")
	}
	got := map[string]int64{}
	for _, m := range rm.ScopeMetrics[0].Metrics {
		switch d := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range d.DataPoints {
				result, _ := p.Attributes.Value(otelx.AttrResult)
				tierName, _ := p.Attributes.Value(otelx.AttrTier)
				got[m.Name+" "+result.AsString()+" "+tierName.AsString()] += p.Value
			}
		case metricdata.Histogram[float64]:
			for _, p := range d.DataPoints {
				got[m.Name] += int64(p.Count)
			}
		}
	}
	for name, want := range map[string]int64{
		"cache.requests hit l1": 2, "cache.requests loaded ": 1, "cache.requests error ": 0,
		"cache.tier.lookups miss l2": 1, "cache.load.duration": 1, "cache.lock.hold.duration": 1,
	} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s = %d (there: %t), want %d", name, n, ok, want)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestHitInMemoryCostsNoAllocation(t *testing.T) {
	w := newWorld(t)
	c := w.cache(t, "", instant, cache.Options[string, int]{})
	ctx := t.Context()
	_, _ = c.Get(ctx, secret)
	w.take()
	if n := testing.AllocsPerRun(5000, func() { _, _ = c.Get(ctx, secret) }); n > 0.02 {
		t.Errorf("%v allocations a hit", n)
	}
	if s := w.take(); len(s) != 0 {
		t.Errorf("spans on a hit: %v", s)
	}
}

// FuzzHolderTag gives an acquisition's span what another process may have
// written into the lease.
func FuzzHolderTag(f *testing.F) {
	f.Add("")
	f.Add("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
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
			if !l.SpanContext.IsValid() {
				t.Errorf("link to %v from %q", l.SpanContext, tag)
			}
		}
	})
}
