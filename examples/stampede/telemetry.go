package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/otelx"
)

// telemetry sends a worker's traces and metrics to an OTLP endpoint, and its
// spans to the parent, if they are wanted. A nil telemetry sends nothing.
type telemetry struct {
	traces  *sdktrace.TracerProvider
	metrics *sdkmetric.MeterProvider // nil: only spans are wanted
	feed    *spanFeed                // nil: the parent wants no spans
	opts    *otelx.Options
	unwatch func() error
}

// spanQueue holds a whole herd: the SDK's default of 2048 drops most of a burst.
const spanQueue = 20_000

// cacheName is in the names of spans and metrics.
const cacheName = "weather"

func startTelemetry(ctx context.Context, s *setup, send func([]span)) (*telemetry, error) {
	if s.OTLP == "" && !s.Spans {
		return nil, nil //nolint:nilnil // documented: a nil telemetry sends nothing
	}
	// Each process is a service of its own, so that a viewer tells them apart.
	res := resource.NewSchemaless(attribute.String("service.name", fmt.Sprintf("stampede-%d", s.Process)))
	traces := []sdktrace.TracerProviderOption{sdktrace.WithResource(res)}
	t := &telemetry{opts: &otelx.Options{CacheName: cacheName}}
	if s.OTLP != "" {
		spans, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(s.OTLP+"/v1/traces"))
		if err != nil {
			return nil, fmt.Errorf("--otlp: %w", err)
		}
		figures, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(s.OTLP+"/v1/metrics"))
		if err != nil {
			return nil, fmt.Errorf("--otlp: %w", err)
		}
		traces = append(traces, sdktrace.WithBatcher(spans, sdktrace.WithMaxQueueSize(spanQueue)))
		t.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithResource(res),
			sdkmetric.WithReader(sdkmetric.NewPeriodicReader(figures, sdkmetric.WithInterval(5*time.Second))))
		t.opts.MeterProvider = t.metrics
	}
	if s.Spans {
		t.feed = newSpanFeed(send)
		traces = append(traces, sdktrace.WithSpanProcessor(t.feed))
	}
	t.traces = sdktrace.NewTracerProvider(traces...)
	t.opts.TracerProvider = t.traces
	return t, nil
}

// tracer is for the protections that make their spans themselves.
func (t *telemetry) tracer() trace.Tracer {
	if t == nil {
		return noop.NewTracerProvider().Tracer("")
	}
	return t.traces.Tracer("github.com/bellwethercache/bellwether/examples/stampede")
}

// flush makes sure that the parent has all spans that have ended.
func (t *telemetry) flush() {
	if t != nil && t.feed != nil {
		t.feed.flush()
	}
}

func (t *telemetry) hooks() cache.Hooks {
	if t == nil {
		return cache.Hooks{}
	}
	return otelx.Hooks(t.opts)
}

// watch lets the counts of the protection be read, if it has some.
func (t *telemetry) watch(p protection) error {
	f, ok := p.(*full)
	if t == nil || t.metrics == nil || !ok {
		return nil
	}
	var err error
	t.unwatch, err = otelx.Observe(t.opts, f.cache.Stats)
	return err
}

// stop sends what is left. A backend that is not there is the user's to see in
// the SDK's own messages, not a failure of the herd.
func (t *telemetry) stop() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var err error
	if e := t.traces.Shutdown(ctx); e != nil {
		err = errors.Join(err, e)
	}
	if t.metrics != nil {
		if e := t.metrics.Shutdown(ctx); e != nil {
			err = errors.Join(err, e)
		}
	}
	if t.unwatch != nil {
		err = errors.Join(err, t.unwatch())
	}
	return err
}
