package otelx

import (
	"context"
	"errors"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// maxRetryEvents bounds the events of a long wait; the count is an attribute.
const maxRetryEvents = 16

func (h *hooks) getStart(ctx context.Context, info cache.GetStart) context.Context {
	return h.start(ctx, SpanGet, info.Key)
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
	}
	if info.Degraded {
		s.SetAttributes(attribute.Bool(AttrDegraded, true))
		s.AddEvent(EventDegraded)
	}
	if info.Err != nil && !errors.Is(info.Err, cache.ErrNotFound) { // an answer, not a failure
		s.fail(info.Err)
	}
}

func (h *hooks) fillStart(ctx context.Context, info cache.FillStart) (context.Context, string) {
	ctx = h.start(ctx, SpanFill, info.Key)
	return ctx, tag(current(ctx))
}

func (h *hooks) fillDone(ctx context.Context, info cache.FillDone) {
	s := current(ctx)
	defer s.End()
	if !s.IsRecording() {
		return
	}
	s.SetAttributes(attribute.String(AttrFillRole, info.Role.String()), attribute.Int(AttrFillWaiters, info.Waiters))
	if info.Err != nil && !errors.Is(info.Err, cache.ErrNotFound) {
		s.fail(info.Err)
	}
}

func (h *hooks) waitStart(ctx context.Context, info cache.WaitStart) context.Context {
	return h.start(ctx, SpanLockWait, "", attribute.String(AttrLockScope, scopeProcess))
}

func (h *hooks) waitDone(ctx context.Context, info cache.WaitDone) {
	outcome := outcomeShared
	switch {
	case info.Canceled && errors.Is(info.Err, context.DeadlineExceeded):
		outcome = lock.OutcomeTimeout.String()
	case info.Canceled:
		outcome = lock.OutcomeCanceled.String()
	case info.Err != nil && !errors.Is(info.Err, cache.ErrNotFound):
		outcome = lock.OutcomeError.String()
	}
	h.meters.wait(ctx, scopeProcess, outcome, info.Waited)
	s := current(ctx)
	defer s.End()
	if !s.IsRecording() {
		return
	}
	s.link(info.Tag)
	s.SetAttributes(attribute.String(AttrLockOutcome, outcome))
	if outcome != outcomeShared {
		s.fail(info.Err)
	}
}

func (h *hooks) acquireStart(ctx context.Context, info lock.AcquireStart) (context.Context, string) {
	ctx = h.start(ctx, SpanLockAcquire, info.Key,
		attribute.String(AttrLockScope, scopeDistributed), attribute.Float64(AttrLockTTL, info.TTL.Seconds()))
	return ctx, tag(current(ctx))
}

// contended turns the acquisition's span into a wait's.
func (h *hooks) contended(ctx context.Context, info lock.Contended) {
	s := current(ctx)
	s.SetName(SpanLockWait + " " + h.name)
	if !s.IsRecording() {
		return
	}
	s.AddEvent(EventContended)
	s.link(info.Holder.Tag)
	if info.Holder.Owner != "" {
		s.SetAttributes(attribute.String(AttrHolderID, info.Holder.Owner))
	}
}

func (h *hooks) retry(ctx context.Context, info lock.Retry) {
	s := current(ctx)
	if s.retries++; s.retries > maxRetryEvents || !s.IsRecording() {
		return
	}
	s.AddEvent(EventRetry, trace.WithAttributes(
		attribute.Int(AttrLockAttempt, info.Attempt), attribute.Float64(AttrLockBackoff, info.Delay.Seconds())))
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
	if info.Err != nil {
		s.fail(info.Err)
	}
}

// released is told under the fill's context.
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
	return h.start(ctx, SpanLoad, "", attribute.String(AttrFillRole, info.Role.String()))
}

func (h *hooks) loadDone(ctx context.Context, info cache.LoadDone) {
	failed := info.Err != nil && !errors.Is(info.Err, cache.ErrNotFound)
	h.meters.load(ctx, info.Role, failed, info.Duration)
	s := current(ctx)
	defer s.End()
	if failed && s.IsRecording() {
		s.fail(info.Err)
	}
}

func (h *hooks) writeStart(ctx context.Context, info cache.WriteStart) context.Context {
	name := SpanSet
	if info.Op == tier.OpDelete {
		name = SpanDelete
	}
	return h.start(ctx, name, info.Key)
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
