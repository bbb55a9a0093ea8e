package main

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/otelx"
)

// The words of otelx for what happens without it.
var (
	outcomeFilled   = lock.OutcomeFilled.String()
	outcomeAcquired = lock.OutcomeAcquired.String()
	outcomeTimeout  = lock.OutcomeTimeout.String()
	outcomeCanceled = lock.OutcomeCanceled.String()
	roleHolder      = cache.RoleHolder.String()
	roleUnprotected = cache.RoleUnprotected.String()
)

// story is the spans of a read of the two protections that are not ours, under
// the names that ours has, so that a viewer can compare them. There are no links:
// this lock does not say who holds it.
type story struct {
	ctx      context.Context //nolint:containedctx // that of the read
	tracer   trace.Tracer
	get      trace.Span
	lockWait trace.Span
	began    time.Time // of the wait
}

// tell begins the story of a read that memory cannot answer.
func (n *none) tell(ctx context.Context) *story {
	ctx, get := begin(ctx, n.tracer, otelx.SpanGet)
	return &story{ctx: ctx, tracer: n.tracer, get: get}
}

func begin(ctx context.Context, tracer trace.Tracer, name string, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	attrs = append(attrs, attribute.String(otelx.AttrName, cacheName))
	return tracer.Start(ctx, name+" "+cacheName, trace.WithAttributes(attrs...))
}

func (s *story) end() { s.get.End() }

// contended begins a wait.
func (s *story) contended() {
	s.began = time.Now()
	_, s.lockWait = begin(s.ctx, s.tracer, otelx.SpanLockWait, attribute.String(otelx.AttrLockScope, "distributed"))
}

func (s *story) retry(attempt int) {
	s.lockWait.AddEvent(otelx.EventRetry, trace.WithAttributes(attribute.Int(otelx.AttrLockAttempt, attempt)))
}

// waited ends the wait and says how long it was.
func (s *story) waited(outcome string) time.Duration {
	s.lockWait.SetAttributes(attribute.String(otelx.AttrLockOutcome, outcome))
	if outcome == outcomeTimeout || outcome == outcomeCanceled {
		s.lockWait.SetStatus(codes.Error, outcome)
	}
	s.lockWait.End()
	return time.Since(s.began)
}

// traced is the source's load as a span.
func (n *none) traced(ctx context.Context, c city, role string) (weather, error) {
	ctx, span := begin(ctx, n.tracer, otelx.SpanLoad, attribute.String(otelx.AttrFillRole, role))
	defer span.End()
	w, err := n.source.load(ctx, c)
	if err != nil {
		span.SetStatus(codes.Error, "load")
	}
	return w, err
}
