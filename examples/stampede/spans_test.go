package main

import (
	"context"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/bellwethercache/bellwether/otelx"
)

// The parent hears of a span when it starts, and all of it when it has ended.
func TestSpanFeed(t *testing.T) {
	var mu sync.Mutex
	var book spanBook
	feed := newSpanFeed(func(spans []span) {
		mu.Lock()
		defer mu.Unlock()
		book.add(2, spans)
	})
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(feed))
	tracer := tp.Tracer("test")
	ctx, get := tracer.Start(t.Context(), "cache.get weather")
	_, holder := tracer.Start(context.Background(), "cache.get weather")
	_, wait := tracer.Start(ctx, "cache.lock.acquire weather")
	feed.flush()
	mu.Lock()
	open := book.since(0)
	mu.Unlock()
	if len(open) != 3 || open[0].End != 0 || open[0].process != 2 || open[0].Name != otelx.SpanGet || open[2].Parent != open[0].ID {
		t.Errorf("when they have begun: %+v", open)
	}

	wait.SetName("cache.lock.wait weather")
	wait.AddLink(trace.Link{SpanContext: holder.SpanContext()})
	wait.AddEvent(otelx.EventContended)
	wait.AddEvent(otelx.EventRetry)
	wait.SetAttributes(attribute.Bool(otelx.AttrLockPushed, true), attribute.String(otelx.AttrKey, "secret"))
	wait.SetStatus(codes.Error, "timeout")
	wait.End()
	get.End()
	if err := tp.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := book.since(0)
	if len(got) != 3 {
		t.Fatalf("%d spans, want 3: %+v", len(got), got)
	}
	w := got[2]
	if w.Name != otelx.SpanLockWait || w.End < w.Start || w.End == 0 || !w.Failed || len(w.Retries) != 1 ||
		len(w.Links) != 1 || w.Links[0] != holder.SpanContext().TraceID().String() {
		t.Errorf("the wait: %+v", w)
	}
	if len(w.Attrs) != 1 || w.Attrs[otelx.AttrLockPushed] != "true" {
		t.Errorf("its attributes: %v, want only what is drawn", w.Attrs)
	}
	if late := book.since(w.Start + 1_000_000); len(late) != 0 {
		t.Errorf("an earlier herd's spans: %+v", late)
	}
}
