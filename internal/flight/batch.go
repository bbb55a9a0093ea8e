package flight

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/internal/clock"
)

// Batch is the flights of several keys that one caller opens at once: it leads
// some, whose work runs together, and joins the others. Use it from one
// goroutine.
type Batch[V any] struct {
	group *Group[V]
	began time.Duration
	led   []*Call[V]
	seats []seat[V] // of the caller, in the order of Open
}

// seat is the caller's place in a flight.
type seat[V any] struct {
	call *Call[V]
	led  bool
	err  error // it got none
}

// NewBatch returns an empty batch, or ErrCrowded. Close it.
func (g *Group[V]) NewBatch() (*Batch[V], error) {
	if n := g.callers.Add(1); g.Limit > 0 && n > g.Limit {
		g.callers.Add(-1)
		return nil, ErrCrowded
	}
	return &Batch[V]{group: g, began: time.Duration(clock.Now())}, nil
}

// Close says that the caller waits for nothing any more.
func (b *Batch[V]) Close() { b.group.callers.Add(-1) }

// Open takes the caller's place in the flight of key: as the leader of c, which
// it then reports, or in the flight that is under way.
func (b *Batch[V]) Open(ctx context.Context, key string, c *Call[V]) (led bool) {
	if within(ctx, b.group, key) {
		b.seats = append(b.seats, seat[V]{err: ErrRecursive})
		return false
	}
	other, err := b.group.open(key, c, false)
	switch {
	case err != nil:
		b.seats = append(b.seats, seat[V]{err: err})
		return false
	case other != nil:
		b.seats = append(b.seats, seat[V]{call: other})
		return false
	}
	b.led = append(b.led, c)
	b.seats = append(b.seats, seat[V]{call: c, led: true})
	return true
}

// Run runs work for the led flights on a goroutine, on a context that has ctx's
// values and ends when every caller of all of them has left. work ends each
// flight by Finish; those that it leaves end with its panic, or ErrGoexit.
func (b *Batch[V]) Run(ctx context.Context, work func(ctx context.Context)) {
	if len(b.led) == 0 {
		return
	}
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	keys := make(map[string]struct{}, len(b.led))
	for _, c := range b.led {
		keys[c.key] = struct{}{}
	}
	up, _ := runCtx.Value(pathKey{}).(*path)
	runCtx = context.WithValue(runCtx, pathKey{}, &path{group: b.group, keys: keys, up: up})

	var left atomic.Int64 // flights that every caller has left
	leave := func(cause error) {
		if cause == ErrClosed || left.Add(1) == int64(len(b.led)) { //nolint:errorlint // our own, bare
			cancel(cause)
		}
	}
	begun := 0
	for _, c := range b.led {
		c.shard.mu.Lock()
		c.waitable()
		if !b.group.closed.Load() {
			b.group.begin(c, leave)
			begun++
		}
		c.shard.mu.Unlock()
	}
	go func() { // ends with work, which Close cancels and waits for
		defer func() {
			for range begun {
				b.group.wg.Done()
			}
		}()
		defer cancel(nil)
		err := ErrGoexit
		defer func() {
			if r := recover(); r != nil {
				err = &PanicError{Value: r, Stack: debug.Stack()}
			}
			for _, c := range b.led {
				c.Finish(*new(V), err)
			}
		}()
		if begun < len(b.led) {
			err = ErrClosed
			return
		}
		work(runCtx)
	}()
}

// Await waits for the flight of the i-th Open.
func (b *Batch[V]) Await(ctx context.Context, i int, wait Wait[V]) (v V, way Way, err error) {
	s := b.seats[i]
	switch {
	case s.err != nil:
		return v, Led, s.err
	case s.led:
		return s.call.await(ctx, &wait, b.began, true)
	case wait.Have != nil:
		if v, way, err = s.call.leave(Shared, errEnough); err == errEnough { //nolint:errorlint // ours, bare
			return *wait.Have, FellBack, nil
		}
		return v, way, err
	}
	return s.call.follow(ctx, &wait, b.began)
}

// errEnough is why a caller that has something leaves another's flight.
var errEnough = errors.New("the caller can do with what it has")

// Finish ends the flight; only the first call does.
func (c *Call[V]) Finish(v V, err error) {
	c.shard.mu.Lock()
	ended := c.ended
	c.shard.mu.Unlock()
	if !ended {
		c.finish(v, err)
	}
}
