package tier

import (
	"context"
	"sync"
)

// ear says whether changes by other processes are told at the moment, and lets
// callers wait until they are. The zero value does not hear.
type ear struct {
	mu    sync.Mutex
	hears bool
	over  bool
	until chan struct{} // closed once it hears, or is over; nil: nobody waits
}

// set reports whether that is a change.
func (e *ear) set(hears bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hears == hears {
		return false
	}
	e.hears = hears
	if hears {
		e.wake()
	}
	return true
}

// close lets go of all who wait, for good.
func (e *ear) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	e.wake()
}

// wake lets go of those who wait. The caller holds e.mu.
func (e *ear) wake() {
	if e.until != nil {
		close(e.until)
		e.until = nil
	}
}

func (e *ear) wait(ctx context.Context) error {
	e.mu.Lock()
	if e.hears || e.over {
		e.mu.Unlock()
		return nil
	}
	if e.until == nil {
		e.until = make(chan struct{})
	}
	until := e.until
	e.mu.Unlock()
	select {
	case <-until:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// AwaitHearing waits until changes by other processes are told, or the stack is
// closed. Where they never will be it does not wait.
func (s *shared[K, V]) AwaitHearing(ctx context.Context) error {
	if s.deaf == nil {
		return nil
	}
	return s.hearing.wait(ctx)
}
