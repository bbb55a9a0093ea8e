package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// herd is a worker's requests for one city, lined up behind a barrier: threads
// that take one request after the other until none is left.
type herd struct {
	start   chan struct{} // closed to let it go
	zero    time.Time     // set before
	next    atomic.Int64
	done    atomic.Int64
	records []record
	weather atomic.Pointer[weather]
	wg      sync.WaitGroup
}

// lineUp starts the threads. They wait for release, or for ctx.
func lineUp(ctx context.Context, s *setup, sh *share, p protection) *herd {
	h := &herd{start: make(chan struct{}), records: make([]record, sh.Requests)}
	for thread := range min(s.Threads, sh.Requests) {
		h.wg.Go(func() {
			select {
			case <-h.start:
				h.run(ctx, record{Process: s.Process, Thread: thread + 1}, sh.City, p)
			case <-ctx.Done():
			}
		})
	}
	return h
}

// release lets the herd go. zero is from when its times count.
func (h *herd) release(zero time.Time) {
	h.zero = zero
	close(h.start)
}

func (h *herd) run(ctx context.Context, who record, c city, p protection) {
	for {
		i := int(h.next.Add(1)) - 1
		if i >= len(h.records) {
			return
		}
		t := &track{rec: who}
		ctx := withTrack(ctx, t)
		began := time.Now()
		w, err := p.get(ctx, c)
		took := time.Since(began)
		h.records[i] = t.finish(began.Sub(h.zero), took, err)
		if err == nil && h.weather.Load() == nil {
			h.weather.Store(&w)
		}
		h.done.Add(1)
	}
}

// wait returns when all requests have ended. Now and then it reports progress.
func (h *herd) wait(progress func(done int)) *result {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.wg.Wait()
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return &result{Records: h.records, Weather: h.weather.Load()}
		case <-tick.C:
			progress(int(h.done.Load()))
		}
	}
}
