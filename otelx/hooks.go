package otelx

import (
	"context"
	"errors"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// maxRetryEvents bounds the events of a long wait; the count is an attribute.
const maxRetryEvents = 16

func (h *hooks) getStart(ctx context.Context, info cache.GetStart) context.Context {
	return h.start(ctx, SpanGet, info.Key, nil)
}

func (h *hooks) getDone(ctx context.Context, info cache.GetDone) {
	s := current(ctx)
	defer s.End()
	if !s.IsRecording() {
		return
	}
	hit := info.Result == cache.ResultHit || info.Result == cache.ResultStale || info.Result == cache.ResultNegative
	s.SetAttributes(attribute.String(AttrResult, info.Result.String()), attribute.Bool(AttrHit, hit))
	if info.Tier > 0 {
		s.SetAttributes(attribute.String(AttrTier, tierName(info.Tier)))
	}
	if info.Result == cache.ResultStale {
		s.SetAttributes(attribute.Float64(AttrStaleAge, info.Age.Seconds()))
		if info.Why != nil {
			s.SetAttributes(attribute.String(AttrStaleReason, errorType(info.Why)))
		}
	}
	if info.Degraded {
		s.SetAttributes(attribute.Bool(AttrDegraded, true))
		s.AddEvent(EventDegraded)
	}
	if failure(info.Err) {
		s.fail(info.Err)
	}
}

// tag names the whole read or refresh: it is there before the lease is asked
// for, and all of it is what others wait for.
func (h *hooks) tag(ctx context.Context) string { return tag(current(ctx).whole) }

func (h *hooks) fillStart(ctx context.Context, info cache.FillStart) context.Context {
	var opts []trace.SpanStartOption
	if !info.Began.IsZero() { // else it would begin after the acquisition within it
		opts = append(opts, trace.WithTimestamp(info.Began))
	}
	return h.start(ctx, SpanFill, info.Key, nil, opts...)
}

func (h *hooks) fillDone(ctx context.Context, info cache.FillDone) {
	s := current(ctx)
	defer s.End()
	if !s.IsRecording() {
		return
	}
	s.SetAttributes(attribute.String(AttrFillRole, info.Role.String()), attribute.Int(AttrFillWaiters, info.Waiters))
	if failure(info.Err) {
		s.fail(info.Err)
	}
}

func (h *hooks) refreshStart(ctx context.Context, info cache.RefreshStart) context.Context {
	return h.startRoot(ctx, SpanRefresh, info.Key)
}

func (h *hooks) refreshDone(ctx context.Context, info cache.RefreshDone) {
	s := current(ctx)
	defer s.End()
	if !s.IsRecording() {
		return
	}
	result := info.Result.String()
	if info.Result == cache.ResultError && info.Err == nil {
		result = lock.OutcomeHeld.String() // another process sees to it
	}
	s.SetAttributes(attribute.String(AttrResult, result))
	if failure(info.Err) {
		s.fail(info.Err)
	}
}

func (h *hooks) manyStart(ctx context.Context, info cache.ManyStart) context.Context {
	return h.start(ctx, SpanGetMany, "", []attribute.KeyValue{attribute.Int(AttrManyKeys, info.Keys)})
}

func (h *hooks) manyDone(ctx context.Context, info cache.ManyDone) {
	s := current(ctx)
	defer s.End()
	if !s.IsRecording() {
		return
	}
	failed := 0
	if several, ok := info.Err.(interface{ Unwrap() []error }); ok { // a *BatchError, of whatever K
		failed = len(several.Unwrap())
	}
	s.SetAttributes(attribute.Int(AttrManyFound, info.Found), attribute.Int(AttrManyAbsent, info.Absent),
		attribute.Int(AttrManyFailed, failed))
	if info.Err != nil {
		s.fail(info.Err)
	}
}

func (h *hooks) waitStart(ctx context.Context, _ cache.WaitStart) context.Context {
	return h.start(ctx, SpanLockWait, "", []attribute.KeyValue{attribute.String(AttrLockScope, scopeProcess)})
}

func (h *hooks) waitDone(ctx context.Context, info cache.WaitDone) {
	outcome := outcomeOf(&info)
	h.meters.wait(ctx, scopeProcess, outcome, info.Waited)
	s := current(ctx)
	defer s.End()
	if !s.IsRecording() {
		return
	}
	s.link(info.Tag)
	s.SetAttributes(attribute.String(AttrLockOutcome, outcome))
	switch outcome {
	case outcomeShared, outcomeStale, lock.OutcomeFailed.String():
		return
	}
	if hopeless(info.Err) {
		s.SetAttributes(attribute.Bool(AttrLockHopeless, true))
	}
	s.fail(info.Err)
}

// outcomeOf names the end of a wait within the process.
func outcomeOf(info *cache.WaitDone) string {
	switch {
	case info.Stale:
		return outcomeStale
	case !failure(info.Err):
		return outcomeShared
	case info.Canceled && errors.Is(info.Err, context.DeadlineExceeded):
		return lock.OutcomeTimeout.String()
	case info.Canceled:
		return lock.OutcomeCanceled.String()
	case workFailed(info.Err):
		return lock.OutcomeFailed.String()
	case errors.Is(info.Err, cache.ErrTimeout), errors.Is(info.Err, cache.ErrInProgress):
		return lock.OutcomeTimeout.String()
	}
	return lock.OutcomeError.String()
}

// hopeless reports whether the caller left, or did not wait, because its
// deadline comes before the usual end of the load.
func hopeless(err error) bool {
	held := new(lock.HeldError)
	return errors.Is(err, flight.ErrHopeless) || errors.As(err, &held) && held.Hopeless
}

func (h *hooks) acquireStart(ctx context.Context, info lock.AcquireStart) (context.Context, string) {
	name, opts := SpanLockAcquire, []trace.SpanStartOption(nil)
	if info.Held {
		name = SpanLockWait
	}
	if !info.Began.IsZero() {
		opts = append(opts, trace.WithTimestamp(info.Began))
	}
	ctx = h.start(ctx, name, info.Key, []attribute.KeyValue{
		attribute.String(AttrLockScope, scopeDistributed), attribute.Float64(AttrLockTTL, info.TTL.Seconds()),
	}, opts...)
	return ctx, tag(current(ctx))
}

// contended turns the acquisition's span into a wait's, if it did not begin as
// one.
func (h *hooks) contended(ctx context.Context, info lock.Contended) {
	s := current(ctx)
	if !s.IsRecording() {
		return
	}
	s.SetName(SpanLockWait + " " + h.name)
	s.AddEvent(EventContended)
	s.waitsFor(info.Holder)
}

func (h *hooks) retry(ctx context.Context, info lock.Retry) {
	s := current(ctx)
	if !s.IsRecording() {
		return
	}
	s.waitsFor(info.Holder)
	s.SetAttributes(attribute.Bool(AttrLockPushed, info.Pushed))
	if s.retries++; s.retries <= maxRetryEvents {
		s.AddEvent(EventRetry, trace.WithAttributes(
			attribute.Int(AttrLockAttempt, info.Attempt), attribute.Float64(AttrLockBackoff, info.Delay.Seconds())))
	}
}

func (h *hooks) acquireDone(ctx context.Context, info lock.AcquireDone) {
	outcome := info.Outcome.String()
	if info.Waited > 0 {
		h.meters.wait(ctx, scopeDistributed, outcome, info.Waited)
	}
	s := current(ctx)
	defer s.End()
	if !s.IsRecording() {
		return
	}
	s.SetAttributes(attribute.String(AttrLockOutcome, outcome), attribute.Int(AttrLockAttempts, info.Attempts))
	if info.Outcome == lock.OutcomeHeld {
		s.SetName(SpanLockAcquire + " " + h.name) // nobody has waited
	}
	if info.TookOver {
		s.SetAttributes(attribute.Bool(AttrLockTookOver, true))
	}
	if held := new(lock.HeldError); errors.As(info.Err, &held) {
		s.waitsFor(held.Holder)
	}
	if hopeless(info.Err) {
		s.SetAttributes(attribute.Bool(AttrLockHopeless, true))
	}
	if info.Err != nil {
		s.fail(info.Err)
	}
}

// released is told under the context of the fill or get_many.
func (h *hooks) released(ctx context.Context, info lock.Released) {
	h.meters.hold(ctx, info)
	s := current(ctx)
	if !s.IsRecording() {
		return
	}
	name := EventReleased
	if info.Lost {
		name = EventLost
	}
	s.AddEvent(name, trace.WithAttributes(attribute.Float64(AttrLockHeld, info.Held.Seconds())))
}

func (h *hooks) loadStart(ctx context.Context, info cache.LoadStart) context.Context {
	attrs := []attribute.KeyValue{attribute.String(AttrFillRole, info.Role.String())}
	if info.Keys > 1 {
		attrs = append(attrs, attribute.Int(AttrLoadKeys, info.Keys))
	}
	return h.start(ctx, SpanLoad, "", attrs)
}

func (h *hooks) loadDone(ctx context.Context, info cache.LoadDone) {
	failed := failure(info.Err)
	h.meters.load(ctx, info.Role, failed, info.Duration)
	s := current(ctx)
	defer s.End()
	if failed && s.IsRecording() {
		s.fail(info.Err)
	}
}

func (h *hooks) writeStart(ctx context.Context, info cache.WriteStart) context.Context {
	name := SpanSet
	switch info.Op {
	case tier.OpDelete:
		name = SpanDelete
	case tier.OpExpire:
		name = SpanExpire
	}
	var attrs []attribute.KeyValue
	if info.Tags > 0 {
		attrs = append(attrs, attribute.Int(AttrTagsCount, info.Tags))
	}
	return h.start(ctx, name, info.Key, attrs)
}

func (h *hooks) writeDone(ctx context.Context, info cache.WriteDone) {
	s := current(ctx)
	defer s.End()
	if info.Err != nil && s.IsRecording() {
		s.fail(info.Err)
	}
}

func (h *hooks) opDone(ctx context.Context, info tier.OpDone) {
	if !info.Skipped {
		h.meters.operation(ctx, info)
	}
}

func tierName(index int) string { return "l" + strconv.Itoa(index) }
