package otelx_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/otelx"
	"github.com/bellwethercache/bellwether/tier"
)

// discard is an exporter that keeps nothing but a count.
type discard struct {
	gate  chan struct{} // closed: exports go through
	spans atomic.Int64
}

func (d *discard) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	select {
	case <-d.gate:
		d.spans.Add(int64(len(spans)))
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *discard) Shutdown(context.Context) error { return nil }

const hotKeys = 1000

// hot is a cache with warm keys, seen by OpenTelemetry's SDK or by nobody.
func hot(tb testing.TB, seen bool) (*cache.Cache[string, int], []string) {
	tb.Helper()
	opts := cache.Options[string, int]{Policy: cache.Policy{TTL: time.Hour}}
	telemetry := otelx.Options{CacheName: "x"}
	if seen {
		exporter := &discard{gate: make(chan struct{})}
		close(exporter.gate)
		tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
		mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
		tb.Cleanup(func() { _, _ = tp.Shutdown(context.Background()), mp.Shutdown(context.Background()) })
		telemetry.TracerProvider, telemetry.MeterProvider = tp, mp
		opts.Hooks = otelx.Hooks(&telemetry)
	}
	memory, err := ristrettostore.New(&ristrettostore.Options{MaxEntries: 10 * hotKeys})
	if err != nil {
		tb.Fatal(err)
	}
	c, err := cache.New(after(0, 1, nil), &opts, tier.Local(memory, nil))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	if seen {
		stop, err := otelx.Observe(&telemetry, c.Stats)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = stop() })
	}
	keys := make([]string, hotKeys)
	for i := range keys {
		keys[i] = "user:" + strconv.Itoa(i*7919)
		if _, err := c.Get(context.Background(), keys[i]); err != nil {
			tb.Fatal(err)
		}
	}
	return c, keys
}

// BenchmarkHitInMemory compares a hit that OpenTelemetry's SDK watches, with
// spans and metrics, with one that nobody does.
func BenchmarkHitInMemory(b *testing.B) {
	for name, seen := range map[string]bool{"bare": false, "seen": true} {
		b.Run(name, func(b *testing.B) {
			c, keys := hot(b, seen)
			ctx, i := context.Background(), 0
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.Get(ctx, keys[i%hotKeys])
				i++
			}
		})
	}
}

// TestBurst lets more callers wait than the SDK's own queue holds, before
// anything is exported: with the queue that the package comment advises, every
// span arrives.
func TestBurst(t *testing.T) {
	const callers = 10_000
	exporter := &discard{gate: make(chan struct{})}
	tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(1<<15)))
	defer func() { _ = tp.Shutdown(context.Background()) }()
	var waiting atomic.Int64
	all := make(chan struct{})
	memory, err := ristrettostore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	hooks := otelx.Hooks(&otelx.Options{CacheName: "x", TracerProvider: tp, Next: cache.Hooks{
		WaitStart: func(ctx context.Context, _ cache.WaitStart) context.Context {
			if waiting.Add(1) == callers-1 {
				close(all)
			}
			return ctx
		},
	}})
	c, err := cache.New(func(ctx context.Context, _ string) (int, error) {
		select {
		case <-all:
		case <-ctx.Done():
		}
		return 1, ctx.Err()
	}, &cache.Options[string, int]{Name: "x", Hooks: hooks}, tier.Local(memory, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if _, err := c.Get(context.Background(), "k"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(exporter.gate)
	if err := tp.ForceFlush(context.Background()); err != nil {
		t.Fatal(err)
	}
	// A get of each, a wait of all but one, a fill and a load.
	if got, want := exporter.spans.Load(), int64(callers+callers-1+2); got != want {
		t.Errorf("%d spans arrived, want %d", got, want)
	}
}
