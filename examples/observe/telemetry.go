package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// spanQueue has room for a herd of 10,000: the SDK's default of 2048 drops most
// of such a burst, without a word.
const spanQueue = 1 << 15

// telemetry is what a process tells of itself: traces to Jaeger, metrics for
// Prometheus to fetch.
type telemetry struct {
	traces  *sdktrace.TracerProvider
	metrics *sdkmetric.MeterProvider
	tracer  trace.Tracer // of the program's own spans
	server  *http.Server
	addr    string // of /metrics
}

// startTraces begins to send spans to otlp, if there is such a place.
func startTraces(ctx context.Context, service, otlp string) (*sdktrace.TracerProvider, error) {
	// Each process is a service of its own, so that a viewer gives it a colour.
	opts := []sdktrace.TracerProviderOption{
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service))),
	}
	if otlp != "" {
		exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(otlp+"/v1/traces"))
		if err != nil {
			return nil, fmt.Errorf("--otlp: %w", err)
		}
		opts = append(opts, sdktrace.WithBatcher(exporter,
			sdktrace.WithMaxQueueSize(spanQueue), sdktrace.WithBatchTimeout(500*time.Millisecond)))
	}
	return sdktrace.NewTracerProvider(opts...), nil
}

// startTelemetry serves /metrics on addr as well.
func startTelemetry(ctx context.Context, s *setup) (*telemetry, error) {
	t := &telemetry{}
	var err error
	if t.traces, err = startTraces(ctx, s.Service, s.OTLP); err != nil {
		return nil, err
	}
	t.tracer = t.traces.Tracer("examples/observe")
	registry := prometheus.NewRegistry()
	exporter, err := otelprom.New(otelprom.WithRegisterer(registry), otelprom.WithoutScopeInfo(),
		otelprom.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, err
	}
	t.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))
	l, err := net.Listen("tcp", s.Metrics)
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	t.addr = l.Addr().String()
	mux := http.NewServeMux()
	// Only OpenMetrics carries exemplars, which lead from a slow wait to its trace.
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	t.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = t.server.Serve(l) }() // until stop
	return t, nil
}

// stop sends what is left.
func (t *telemetry) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return errors.Join(t.traces.Shutdown(ctx), t.metrics.Shutdown(ctx), t.server.Close())
}
