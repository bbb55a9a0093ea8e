package otelx

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/bellwethercache/bellwether/lock"
)

// start begins a span, unless there should be none.
func (h *hooks) start(ctx context.Context, name, key string, attrs []attribute.KeyValue, opts ...trace.SpanStartOption) context.Context {
	if h.opts.RequireParent && !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	if !h.opts.Spans.shows(name) {
		return h.skip(ctx, name)
	}
	attrs = append(attrs, attribute.String(AttrName, h.name))
	if h.opts.Key != nil && key != "" {
		attrs = append(attrs, attribute.String(AttrKey, h.opts.Key(key)))
	}
	outer := current(ctx)
	ctx, span := h.tracer.Start(ctx, name+" "+h.name, append(opts, trace.WithAttributes(attrs...))...)
	a := &active{Span: span, whole: outer.whole}
	if whole(name) {
		a.whole = span
	}
	return context.WithValue(ctx, spanKey{}, a)
}

// skip is start for what the level does not show. The hooks that follow must not
// take the span around it for theirs: where a loader uses another cache, they
// would end its caller's. A read that is not shown is known to those who wait
// for it by the span that it is part of.
func (h *hooks) skip(ctx context.Context, name string) context.Context {
	a := &active{Span: trace.SpanFromContext(context.Background()), whole: current(ctx).whole}
	if whole(name) {
		a.whole = trace.SpanFromContext(ctx)
	}
	return context.WithValue(ctx, spanKey{}, a)
}

// whole reports whether spans of a name are reads or refreshes, which all that
// is done for them is part of.
func whole(name string) bool {
	return name == SpanGet || name == SpanGetMany || name == SpanRefresh
}

// startRoot is start for what is no part of the work that it was begun in: a
// trace of its own, linked to that.
func (h *hooks) startRoot(ctx context.Context, name, key string) context.Context {
	opts := []trace.SpanStartOption{trace.WithNewRoot()}
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: sc}))
	}
	return h.start(ctx, name, key, nil, opts...)
}

// active is the span that a Start hook began, for the hooks that follow it. It
// is kept beside OpenTelemetry's own entry, because that one may be the
// caller's span where we began none.
type active struct {
	trace.Span
	whole trace.Span // the read or refresh that it is part of; nil: none

	// Of an acquisition.
	retries int         // events so far
	holder  lock.Holder // that it waits for
	traced  bool        // it has said in which trace a holder works
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
	if s == nil || !s.SpanContext().IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), s.SpanContext()), carrier)
	return carrier["traceparent"]
}

// parseTag reads what another process wrote. It is untrusted: what is not the
// traceparent of a sampled span is no link.
func parseTag(tag string) (trace.SpanContext, bool) {
	if len(tag) != len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01") {
		return trace.SpanContext{}, false
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": tag})
	sc := trace.SpanContextFromContext(ctx)
	return sc, sc.IsValid() && sc.IsSampled()
}

// waitsFor links an acquisition's span to the holder, and again when another
// has taken its place. The attributes name the last one.
func (a *active) waitsFor(h lock.Holder) {
	known := h.Owner != "" || h.Tag != "" // else nobody says who it is
	if !known || h.Owner == a.holder.Owner && h.Tag == a.holder.Tag {
		return
	}
	a.holder = h
	if h.Owner != "" {
		a.SetAttributes(attribute.String(AttrHolderID, h.Owner))
	}
	a.link(h.Tag)
}

// link links the span to the one that tag names.
func (a *active) link(tag string) {
	sc, ok := parseTag(tag)
	switch {
	case ok:
		a.traced = true
		a.AddLink(trace.Link{SpanContext: sc})
		a.SetAttributes(attribute.String(AttrHolderTraceID, sc.TraceID().String()))
	case a.traced: // it would name the trace of one holder beside the id of another
		a.SetAttributes(attribute.String(AttrHolderTraceID, ""))
	}
}

// fail gives the span error status. The description is the error's kind: its
// message may be the source's, and quote what it should not.
func (a *active) fail(err error) {
	kind := errorType(err)
	a.SetAttributes(attribute.String(AttrErrorType, kind))
	a.SetStatus(codes.Error, kind)
}
