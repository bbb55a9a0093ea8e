package otelx_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/cache"
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

// world is a telemetry backend in memory, and a shared store.
type world struct {
	exporter *tracetest.InMemoryExporter
	tp       *sdktrace.TracerProvider
	reader   *sdkmetric.ManualReader
	opts     otelx.Options
	server   *server
	names    map[trace.SpanID]string // of all spans taken
	links    []trace.SpanID          // of theirs
}

// server is the store that several caches share. It outlives each of them.
type server struct {
	*memstore.Store
	down bool // set while nobody asks it
}

func (s *server) Close() error { return nil }

func (s *server) Get(ctx context.Context, key string) ([]byte, error) {
	if s.down {
		return nil, backend.ErrUnavailable
	}
	return s.Store.Get(ctx, key)
}

func (s *server) Lease(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	if s.down {
		return backend.LeaseReply{}, backend.ErrUnavailable
	}
	return s.Store.Lease(ctx, key, req)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		exporter: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader(),
		server: &server{Store: memstore.NewStore()}, names: make(map[trace.SpanID]string),
	}
	w.tp = sdktrace.NewTracerProvider(sdktrace.WithSyncer(w.exporter))
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader))
	t.Cleanup(func() { // the caches are closed by now
		w.take()
		for _, id := range w.links {
			if w.names[id] == "" {
				t.Errorf("a link leads to %v, which does not exist", id)
			}
		}
		_ = w.tp.Shutdown(context.Background())
		_ = mp.Shutdown(context.Background())
	})
	w.opts = otelx.Options{CacheName: "x", TracerProvider: w.tp, MeterProvider: mp}
	return w
}

type config = cache.Options[string, int]

// process makes a process's cache on the shared store.
func (w *world) process(t *testing.T, name string, load cache.LoadFunc[string, int], opts config) *cache.Cache[string, int] {
	t.Helper()
	opts.Lease.Owner = name
	return w.open(t, load, opts, tier.Remote(w.server, nil))
}

// alone makes a cache that has memory only.
func (w *world) alone(t *testing.T, load cache.LoadFunc[string, int], opts config) *cache.Cache[string, int] {
	t.Helper()
	return w.open(t, load, opts)
}

func (w *world) open(t *testing.T, load cache.LoadFunc[string, int], opts config, far ...tier.Tier) *cache.Cache[string, int] {
	t.Helper()
	m, err := ristrettostore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	opts.Name = "x"
	opts.Hooks = otelx.Hooks(&w.opts)
	c, err := cache.New(load, &opts, append([]tier.Tier{tier.Local(m, nil)}, far...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// take returns and forgets the spans so far, those that begin first first.
func (w *world) take() tracetest.SpanStubs {
	spans := w.exporter.GetSpans()
	w.exporter.Reset()
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int {
		return cmp.Or(a.StartTime.Compare(b.StartTime), a.EndTime.Compare(b.EndTime))
	})
	for _, s := range spans {
		w.names[s.SpanContext.SpanID()] = s.Name
		for _, l := range s.Links {
			w.links = append(w.links, l.SpanContext.SpanID())
		}
	}
	return spans
}

// tree shows spans with those below them indented.
func (w *world) tree(spans tracetest.SpanStubs) string {
	var b strings.Builder
	var show func(parent trace.SpanID, indent string)
	show = func(parent trace.SpanID, indent string) {
		for _, s := range spans {
			if s.Parent.SpanID() == parent {
				fmt.Fprintln(&b, indent+w.describe(s))
				show(s.SpanContext.SpanID(), indent+"  ")
			}
		}
	}
	show(trace.SpanID{}, "")
	return b.String()
}

// describe is a span in one line, without what differs from run to run.
func (w *world) describe(s tracetest.SpanStub) string {
	var attrs []string
	for _, kv := range s.Attributes {
		v := kv.Value.String()
		if kv.Key == otelx.AttrHolderTraceID && v != "" {
			v = "*"
		}
		attrs = append(attrs, string(kv.Key)+"="+v)
	}
	slices.Sort(attrs)
	line := s.Name + " {" + strings.Join(attrs, " ") + "}"
	for _, l := range s.Links {
		line += " -> " + w.names[l.SpanContext.SpanID()]
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

// attr is an attribute of a span, or "".
func attr(s tracetest.SpanStub, key string) string {
	for _, kv := range s.Attributes {
		if string(kv.Key) == key {
			return kv.Value.String()
		}
	}
	return ""
}

func find(spans tracetest.SpanStubs, name string) (found tracetest.SpanStubs) {
	for _, s := range spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// only is the one span of that name.
func only(t *testing.T, spans tracetest.SpanStubs, name string) tracetest.SpanStub {
	t.Helper()
	found := find(spans, name)
	if len(found) != 1 {
		t.Fatalf("%d spans %q, want 1", len(found), name)
	}
	return found[0]
}

// after is a loader that takes d and then returns v or err.
func after(d time.Duration, v int, err error) cache.LoadFunc[string, int] {
	return func(ctx context.Context, _ string) (int, error) {
		select {
		case <-time.After(d):
			return v, err
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	want, err := os.ReadFile(file)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		want, err = []byte(got), os.WriteFile(file, []byte(got), 0o644)
	}
	if err != nil || got != string(want) {
		t.Errorf("%v, got:\n%s\nwant:\n%s", err, got, want)
	}
}
