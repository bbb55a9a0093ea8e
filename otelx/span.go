package otelx

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
)

// start begins a span, unless there should be none.
func (h *hooks) start(ctx context.Context, name, key string, attrs ...attribute.KeyValue) context.Context {
	if h.opts.RequireParent && !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	attrs = append(attrs, attribute.String(AttrName, h.name))
	if h.opts.Key != nil && key != "" {
		attrs = append(attrs, attribute.String(AttrKey, h.opts.Key(key)))
	}
	ctx, span := h.tracer.Start(ctx, name+" "+h.name, trace.WithAttributes(attrs...))
	return context.WithValue(ctx, spanKey{}, &active{Span: span})
}

// active is the span that a Start hook began, for the hooks that follow it. It
// is kept beside OpenTelemetry's own entry, because that one may be the
// caller's span where we began none.
type active struct {
	trace.Span
	retries int  // events so far
	linked  bool // to a holder
}

type spanKey struct{}

// current returns the span of the Start hook that ctx comes from; one that
// records nothing if there is none.
func current(ctx context.Context) *active {
	if a, ok := ctx.Value(spanKey{}).(*active); ok {
		return a
	}
	return &active{Span: trace.SpanFromContext(context.Background())}
}

// tag is what others need to link to the span: its W3C traceparent, or nothing
// if it is not sampled, because a link to what was not kept leads nowhere.
func tag(s trace.Span) string {
	if !s.SpanContext().IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), s.SpanContext()), carrier)
	return carrier["traceparent"]
}

// parseTag reads what another process wrote. It is untrusted: what is not a
// traceparent is no link.
func parseTag(tag string) (trace.SpanContext, bool) {
	if len(tag) != len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01") {
		return trace.SpanContext{}, false
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": tag})
	sc := trace.SpanContextFromContext(ctx)
	return sc, sc.IsValid()
}

// link links the span to the one that tag names.
func (a *active) link(tag string) {
	sc, ok := parseTag(tag)
	if !ok || a.linked {
		return
	}
	a.linked = true
	a.AddLink(trace.Link{SpanContext: sc})
	a.SetAttributes(attribute.String(AttrHolderTraceID, sc.TraceID().String()))
}

// fail gives the span error status. The description is the error's kind: its
// message may be the source's, and quote what it should not.
func (a *active) fail(err error) {
	kind := errorType(err)
	a.SetAttributes(attribute.String(AttrErrorType, kind))
	a.SetStatus(codes.Error, kind)
}

// errorType is the value of error.type: of few values, without content.
func errorType(err error) string {
	panicked := new(cache.PanicError)
	switch {
	case errors.As(err, &panicked):
		return "panic"
	case errors.Is(err, cache.ErrGoexit):
		return "goexit"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, lock.ErrHeld):
		return "timeout"
	case errors.Is(err, lock.ErrLost):
		return "lock_lost"
	case errors.Is(err, backend.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, cache.ErrClosed):
		return "closed"
	}
	for { // the innermost error's type says most
		next := errors.Unwrap(err)
		if next == nil {
			return strings.TrimPrefix(fmt.Sprintf("%T", err), "*")
		}
		err = next
	}
}
