package flight

import (
	"context"
	"time"

	"github.com/bellwethercache/bellwether/internal/clock"
)

// Wait is how a caller waits. The zero value waits for as long as its context.
type Wait[V any] struct {
	// Follow, if not nil, observes the wait of a caller that joins another's
	// flight.
	Follow Follower[V]

	// Have is what the caller can do with. It then never waits for another's
	// flight, and for its own no longer than Soft.
	Have *V

	// Soft, if positive, is for how long a caller waits that has something to
	// fall back on: Have, or what the work has offered.
	Soft time.Duration

	// Hard, if positive, is for how long a caller waits at all. Then it gets
	// ErrPatience. In both cases the work goes on without it.
	Hard time.Duration

	// Apart keeps the leader from running Probe itself, which might take it
	// longer than Soft or Hard.
	Apart bool
}

// Follower observes the wait of a caller that joined another's flight.
type Follower[V any] func(ctx context.Context, c *Call[V]) (finish func(way Way, err error))

// fallBack gives what the caller has, or err.
func (w *Wait[V]) fallBack(err error) (v V, way Way, _ error) {
	if w.Have != nil {
		return *w.Have, FellBack, nil
	}
	return v, Led, err
}

// Offer gives v to callers that would rather have it now than wait: to those
// that joined at once, to the leader after its Soft, or if its wait is hopeless.
func (c *Call[V]) Offer(v V) {
	c.tell(func() { c.offer = &v })
}

// Announce tells callers when the work will probably end. Those whose deadline
// comes before leave with ErrHopeless; the leader only if leads is true.
func (c *Call[V]) Announce(in time.Duration, leads bool) {
	at := clock.After(clock.Now(), in)
	c.tell(func() { c.eta, c.etaLeads = at, leads })
}

func (c *Call[V]) tell(change func()) {
	s := c.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	if c.news != nil {
		close(c.news)
		c.news = nil
	}
}

func (c *Call[V]) follow(ctx context.Context, w *Wait[V], began time.Duration) (V, Way, error) {
	if w.Follow == nil {
		return c.await(ctx, w, began, false)
	}
	finish := w.Follow(ctx, c)
	v, way, err := c.await(ctx, w, began, false)
	finish(way, err)
	return v, way, err
}

// await waits for the result, falls back or leaves. A result that is there wins
// over all else. The call is waitable.
func (c *Call[V]) await(ctx context.Context, w *Wait[V], began time.Duration, leader bool) (v V, way Way, err error) {
	way = Shared
	if leader {
		way = Led
	}
	soft, hard := after(w.Soft, began), after(w.Hard, began)
	overdue := false // Soft has passed
	for {
		news, offer, hopeless := c.listen(ctx, leader)
		switch {
		case overdue && w.Have != nil:
			return c.part(way, w.Have, nil)
		case offer != nil && (overdue || !leader || hopeless):
			return c.part(way, offer, nil)
		case hopeless:
			return c.leave(way, ErrHopeless)
		}
		select {
		case <-c.done:
			return c.val, way, c.err
		case <-ctx.Done():
			return c.leave(way, context.Cause(ctx))
		case <-news:
		case <-soft:
			soft, overdue = nil, true
		case <-hard:
			return c.part(way, offer, ErrPatience)
		}
	}
}

// after is a timer that fires limit after began, or never if limit is 0.
func after(limit, began time.Duration) <-chan time.Time {
	if limit <= 0 {
		return nil
	}
	return time.After(max(0, limit-(time.Duration(clock.Now())-began)))
}

// listen returns what the work has told so far, and what will tell of more.
func (c *Call[V]) listen(ctx context.Context, leader bool) (news chan struct{}, offer *V, hopeless bool) {
	s := c.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.ended {
		return nil, nil, false
	}
	if c.news == nil {
		c.news = make(chan struct{})
	}
	if c.eta != 0 && (c.etaLeads || !leader) {
		deadline, ok := ctx.Deadline()
		hopeless = ok && time.Until(deadline) < time.Duration(c.eta-clock.Now())
	}
	return c.news, c.offer, hopeless
}

// part ends a caller's wait while the work goes on. The caller stays counted,
// so that the work is not cancelled.
func (c *Call[V]) part(way Way, have *V, err error) (v V, _ Way, _ error) {
	select {
	case <-c.done:
		return c.val, way, c.err
	default:
	}
	if have != nil {
		return *have, FellBack, nil
	}
	return v, way, err
}

// leave ends a caller's wait. The last one out cancels the work.
func (c *Call[V]) leave(way Way, err error) (v V, _ Way, _ error) {
	select {
	case <-c.done:
		return c.val, way, c.err
	default:
	}
	s := c.shard
	s.mu.Lock()
	c.callers--
	last := c.callers == 0
	if last {
		// In one step with the count: a newcomer between the two would join
		// work that is being cancelled. Out of the map, a Forget no longer
		// finds it, so its value must not be kept from here on.
		c.forgotten = true
		s.remove(c)
	}
	cancel := c.cancel
	s.mu.Unlock()
	if last && cancel != nil {
		cancel(ErrAbandoned)
	}
	return v, way, err
}
