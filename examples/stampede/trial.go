package main

import (
	"context"
	"fmt"
	"time"
)

// trial is one city's herd, from the parent's side: let go, watched, and
// its records collected.
type trial struct {
	fleet    *fleet
	city     city
	requests []int // of each worker
	zero     time.Time
	ended    time.Duration

	pending  map[int]bool // workers whose result is missing
	done     map[int]int
	records  []record
	loads    []int64 // when each call of the API began, wall clock µs
	weather  *weather
	spans    spanBook
	progress func(done int)

	kill *killing // nil: nobody is to be killed
}

// run lets the herd go and returns when every request is accounted for.
func (t *trial) run(ctx context.Context) (err error) {
	if err := t.fleet.prepare(ctx, t.city, t.requests); err != nil {
		return err
	}
	t.pending, t.done = make(map[int]bool), make(map[int]int)
	for id := range t.fleet.workers {
		t.pending[id] = true
	}
	if t.zero, err = t.fleet.release(); err != nil {
		return err
	}
	for len(t.pending) > 0 {
		in, err := t.fleet.receive(ctx)
		if err != nil {
			return err
		}
		t.handle(in)
	}
	t.ended = time.Since(t.zero)
	t.kill.settle()
	// The kill may have come after its victim's last request: hear of its end
	// now, or the next city would be asked of a dead process.
	for t.kill != nil && !t.kill.at.IsZero() && t.fleet.workers[t.kill.victim] != nil {
		if _, err := t.fleet.receive(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (t *trial) handle(in inbound) {
	switch {
	case in.gone:
		t.lost(in)
	case in.Loading != nil:
		t.loads = append(t.loads, in.Loading.At)
		t.kill.consider(in.from, in.Loading, t.fleet.workers[in.from])
	case in.Spans != nil:
		t.spans.add(in.from, in.Spans)
		return
	case in.Result != nil:
		t.records = append(t.records, in.Result.Records...)
		t.done[in.from] = len(in.Result.Records)
		if t.weather == nil {
			t.weather = in.Result.Weather
		}
		delete(t.pending, in.from)
	default:
		t.done[in.from] = in.Progress
	}
	sum := 0
	for _, n := range t.done {
		sum += n
	}
	t.progress(sum)
}

// drawing is what there is to draw of the trial.
func (t *trial) drawing() drawing {
	d := drawing{timing: timing{zero: t.zero, ended: ms(t.ended)}, spans: t.spans.since(t.zero.UnixMicro())}
	if k := t.kill; k != nil && k.victim != 0 && !k.at.IsZero() {
		d.victim, d.killed = k.victim, ms(k.at.Sub(t.zero))
	}
	return d
}

// lost accounts for the requests of a process that has ended.
func (t *trial) lost(in inbound) {
	if !t.pending[in.from] {
		return
	}
	delete(t.pending, in.from)
	r := record{Process: in.from, Status: statusError, Err: fmt.Sprintf("its process ended: %v", in.err)}
	if t.kill.killed(in.from) {
		r = record{Process: in.from, Status: statusKilled, Latency: t.kill.at.Sub(t.zero)}
	}
	for range t.requests[in.from-1] {
		t.records = append(t.records, r)
	}
	t.done[in.from] = t.requests[in.from-1]
}

// killing is --kill-holder: it kills the process that loads under the lock, in
// mid-load. A nil killing kills nobody.
type killing struct {
	after  time.Duration // the load has begun
	timer  *time.Timer
	victim int
	done   chan struct{} // closed after the kill
	at     time.Time     // of it; zero: there was none

	live    bool // the server tells when a holder dies
	settled bool
}

func (k *killing) consider(worker int, l *loading, w *remoteWorker) {
	if k == nil || k.timer != nil || !l.Holder || w == nil || w.process == nil {
		return
	}
	k.victim, k.done = worker, make(chan struct{})
	k.timer = time.AfterFunc(k.after, func() {
		defer close(k.done)
		k.at = time.Now()
		_ = w.process.Kill() // SIGKILL; it may have ended
	})
}

// killed reports whether worker is the one that was killed.
func (k *killing) killed(worker int) bool {
	if k == nil || k.victim != worker {
		return false
	}
	k.settle()
	return !k.at.IsZero()
}

// settle waits for a kill that is under way, and calls off one that is not.
func (k *killing) settle() {
	if k == nil || k.timer == nil || k.settled {
		return
	}
	k.settled = true
	if !k.timer.Stop() {
		<-k.done
	}
}

// recovery is what happened after a kill.
type recovery struct {
	Process  int     `json:"process"`           // that was killed
	KilledMS float64 `json:"killed_ms"`         // since the herd was let go
	Load     float64 `json:"takeover_ms"`       // from the kill until another began to load
	Value    float64 `json:"recovery_ms"`       // from the kill until a request was answered
	Bound    float64 `json:"takeover_bound_ms"` // 250 ms if liveness, else lock TTL + 1.6 s
	Live     bool    `json:"liveness"`          // the server tells when a holder dies
	Held     bool    `json:"within_bound"`
}

// How long after a holder's death another has begun to load: promised where the
// server tells of it, and beyond the end of the lease where it does not.
const (
	liveBound  = 250 * time.Millisecond
	leaseBound = 1600 * time.Millisecond
)

// recovered says how the trial got over its kill; nil if there was none.
func (t *trial) recovered(lockTTL time.Duration) *recovery {
	k := t.kill
	if k == nil || k.victim == 0 || k.at.IsZero() {
		return nil
	}
	bound := lockTTL + leaseBound
	if k.live {
		bound = liveBound
	}
	r := &recovery{Process: k.victim, KilledMS: ms(k.at.Sub(t.zero)), Bound: ms(bound), Live: k.live}
	for _, at := range t.loads {
		if d := float64(at-k.at.UnixMicro()) / 1000; d > 0 && (r.Load == 0 || d < r.Load) {
			r.Load = d
		}
	}
	for _, rec := range t.records {
		d := ms(t.zero.Add(rec.Start + rec.Latency).Sub(k.at))
		if rec.Status != statusKilled && rec.Status != statusError && d > 0 && (r.Value == 0 || d < r.Value) {
			r.Value = d
		}
	}
	r.Held = r.Value > 0 && r.Load <= r.Bound
	return r
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
