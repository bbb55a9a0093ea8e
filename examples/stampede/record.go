package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// The statuses of a request.
const (
	statusL1        = "L1 hit"    // from this process's memory
	statusL2        = "L2 hit"    // from Valkey
	statusCoalesced = "coalesced" // another request of this process loaded it; this one waited
	statusFilled    = "filled"    // another request loaded it; this one waited for its lock
	statusAPI       = "API call"  // called the API itself
	statusError     = "error"
	statusKilled    = "killed" // its process was killed by --kill-holder
)

// The two things that can happen to a request at the lock.
const (
	lockAcquired = "acquired"
	lockHeld     = "held" // by another, and this request waited
)

// record is what is known of one request. Times are in nanoseconds when it
// travels from a worker to the parent.
type record struct {
	Process  int           `json:"p"`
	Thread   int           `json:"t"`
	Start    time.Duration `json:"at"` // since the herd was let go
	Latency  time.Duration `json:"lat"`
	Status   string        `json:"st"`
	Lock     string        `json:"lk,omitempty"`
	Retries  int           `json:"rt,omitempty"`
	Waited   bool          `json:"wd,omitempty"` // for another's load, in this process or elsewhere
	Wait     time.Duration `json:"wt,omitempty"`
	TimedOut bool          `json:"to,omitempty"` // gave up waiting
	API      time.Duration `json:"api,omitempty"`
	Err      string        `json:"err,omitempty"`
}

// hit reports whether a tier had the answer, as cache.Stats.HitRate counts it: who
// waited for a load, another's or its own, has missed.
func (r *record) hit() bool { return !r.Waited && (r.Status == statusL1 || r.Status == statusL2) }

// track collects the facts of a request while it runs. The cache's hooks find
// it in the context; some of them run on the flight's goroutine.
type track struct {
	mu     sync.Mutex
	rec    record
	called bool // the API
	remote bool // found in Valkey, without a wait
}

type trackKey struct{}

func withTrack(ctx context.Context, t *track) context.Context {
	return context.WithValue(ctx, trackKey{}, t)
}

// tracked returns the track of the request that ctx belongs to, or one that
// nobody reads.
func tracked(ctx context.Context) *track {
	if t, ok := ctx.Value(trackKey{}).(*track); ok {
		return t
	}
	return new(track)
}

func (t *track) set(change func(t *track)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t)
}

// callAPI notes that the request is about to call the API.
func (t *track) callAPI() (holder bool, thread int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.called = true
	return t.rec.Lock == lockAcquired, t.rec.Thread
}

func (t *track) calledAPI(took time.Duration, err error) {
	if err == nil {
		t.set(func(t *track) { t.rec.API = took })
	}
}

// waited notes a wait for another's load.
func (t *track) waited(d time.Duration) {
	t.set(func(t *track) { t.rec.Waited, t.rec.Wait = true, t.rec.Wait+d })
}

// finish returns the record of a request that has ended.
func (t *track) finish(start, latency time.Duration, err error) record {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rec
	r.Start, r.Latency = start, latency
	switch {
	case err != nil:
		r.Status, r.Err = statusError, err.Error()
		r.TimedOut = r.TimedOut || errors.Is(err, context.DeadlineExceeded)
	case t.called:
		r.Status = statusAPI
	case r.Waited && r.Lock == lockHeld:
		r.Status = statusFilled
	case r.Waited:
		r.Status = statusCoalesced
	case t.remote:
		r.Status = statusL2
	default:
		r.Status = statusL1
	}
	return r
}
