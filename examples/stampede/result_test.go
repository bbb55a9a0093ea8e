package main

import (
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/bellwethercache/bellwether/cache"
)

const msec = time.Millisecond

// aTrial is a herd whose every number is known: 10 requests, of which one
// called the API, two waited for it, one timed out and failed.
func aTrial() *trial {
	records := []record{
		{Process: 1, Thread: 1, Start: 0, Latency: 305 * msec, Status: statusAPI, Lock: lockAcquired, API: 300 * msec},
		{Process: 1, Thread: 2, Start: msec, Latency: 304 * msec, Status: statusCoalesced, Waited: true, Wait: 304 * msec},
		{Process: 2, Thread: 1, Start: 2 * msec, Latency: 420 * msec, Status: statusFilled, Lock: lockHeld, Retries: 2, Waited: true, Wait: 418 * msec},
		{Process: 2, Thread: 2, Start: 3 * msec, Latency: 500 * msec, Status: statusError, Lock: lockHeld, Retries: 5, Waited: true,
			Wait: 498 * msec, TimedOut: true, Err: "weather API: 500 Internal Server Error"},
	}
	for i := range 5 {
		records = append(records, record{Process: 1, Thread: 1, Start: (400 + time.Duration(i)) * msec, Latency: time.Microsecond, Status: statusL1})
	}
	records = append(records, record{Process: 2, Thread: 1, Start: 450 * msec, Latency: 95 * time.Microsecond, Status: statusL2})
	slices.Reverse(records) // measure puts them in order
	w := climate(cities[0], time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC), "metric")
	return &trial{city: cities[0], records: records, weather: &w, zero: time.Unix(1_700_000_000, 0), ended: 503 * msec}
}

func TestMeasure(t *testing.T) {
	got := aTrial().measure(1, 10*time.Second)
	for name, pair := range map[string][2]any{
		"requests": {got.Requests, 10}, "hits": {got.Hits, 6}, "misses": {got.Misses, 3}, "API calls": {got.APICalls, 1},
		"locks": {got.Locks, 1}, "lock waits": {got.LockWaits, 3}, "timeouts": {got.Timeouts, 1}, "errors": {got.Errors, 1},
		"hit rate": {got.HitRate, 60.0}, "min": {got.Min, 0.001}, "max": {got.Max, 500.0}, "API": {got.API, 300.0},
		"hit": {got.Hit, 0.1 / 6}, "avg wait": {got.AvgWait, (304.0 + 418 + 498) / 3}, "prevented": {got.Prevented, false},
		"first error": {got.FirstError, "weather API: 500 Internal Server Error"},
	} {
		if g, ok := pair[0].(float64); ok {
			if d := g - pair[1].(float64); d > 1e-3 || d < -1e-3 {
				t.Errorf("%s = %v, want %v", name, g, pair[1])
			}
		} else if pair[0] != pair[1] {
			t.Errorf("%s = %v, want %v", name, pair[0], pair[1])
		}
	}
	if !slices.IsSortedFunc(got.records, func(a, b record) int { return int(a.Start - b.Start) }) {
		t.Error("the records are not in order")
	}
}

func TestPrevented(t *testing.T) {
	ok := []record{{Status: statusAPI}, {Status: statusL1}}
	for name, tc := range map[string]struct {
		records []record
		calls   int
		killed  bool
		want    bool
	}{
		"one call":                 {ok, 1, false, true},
		"an earlier run's entry":   {[]record{{Status: statusL2}}, 0, false, true},
		"two calls":                {ok, 2, false, false},
		"two calls after a kill":   {ok, 2, true, true},
		"three calls after a kill": {ok, 3, true, false},
		"an error":                 {[]record{{Status: statusAPI}, {Status: statusError}}, 1, false, false},
		"a timeout":                {[]record{{Status: statusAPI, Waited: true, TimedOut: true}}, 1, false, false},
	} {
		tr := &trial{records: tc.records, zero: time.Unix(1, 0)}
		if tc.killed {
			tr.kill = &killing{victim: 1, at: time.Unix(2, 0)}
		}
		if got := tr.measure(tc.calls, time.Second).Prevented; got != tc.want {
			t.Errorf("%s: prevented = %v, want %v", name, got, tc.want)
		}
	}
}

func TestRecovery(t *testing.T) {
	zero := time.Unix(1_700_000_000, 0)
	killed := zero.Add(150 * msec)
	tr := &trial{
		zero: zero, kill: &killing{victim: 2, at: killed},
		loads: []int64{zero.UnixMicro(), killed.Add(2 * time.Second).UnixMicro(), killed.Add(3 * time.Second).UnixMicro()},
		records: []record{
			{Status: statusKilled, Latency: 150 * msec},
			{Status: statusAPI, Start: msec, Latency: 2449 * msec, API: 300 * msec},
		},
	}
	got := tr.recovered(3 * time.Second)
	want := recovery{Process: 2, KilledMS: 150, Load: 2000, Value: 2300, Bound: 4600, Held: true}
	if got == nil || *got != want {
		t.Errorf("recovered = %+v, want %+v", got, want)
	}
	if got := tr.recovered(100 * msec); got.Held {
		t.Errorf("recovered = %+v, want beyond the bound", got)
	}
	tr.kill.live = true
	if got := tr.recovered(time.Minute); got.Bound != 250 || !got.Live || got.Held {
		t.Errorf("where the server tells of the death: %+v, want a bound of 250 ms, not kept", got)
	}
	tr.loads[1] = killed.Add(250 * msec).UnixMicro()
	if got := tr.recovered(time.Minute); !got.Held {
		t.Errorf("where the server tells of the death: %+v, want the bound kept", got)
	}
	tr.kill = &killing{}
	if got := tr.recovered(time.Second); got != nil {
		t.Errorf("nobody killed: %+v, want nil", got)
	}
}

func TestSummaryFigures(t *testing.T) {
	one, two := aTrial().measure(1, time.Second), aTrial().measure(1, time.Second)
	s := summarize([]test{one, two})
	for name, tc := range map[string]struct {
		got   figure
		value float64
		met   bool
	}{
		"API call reduction": {s.APICallReduction, 90, false},
		"hit rate":           {s.HitRate, 60, false},
		"lock wait rate":     {s.LockWaitRate, 30, false},
		"average wait":       {s.AvgWait, (304.0 + 418 + 498) / 3, true},
		"timeout rate":       {s.TimeoutRate, 100.0 / 3, false},
	} {
		if d := tc.got.Value - tc.value; d > 1e-6 || d < -1e-6 || tc.got.Met != tc.met {
			t.Errorf("%s = %+v, want %v, met %v", name, tc.got, tc.value, tc.met)
		}
	}
	if len(s.figures()) != 5 || s.Requests != 20 || s.APICalls != 2 || s.Prevented {
		t.Errorf("summary = %+v", s)
	}
}

// TestFiguresAreTheLibrarys: the demo counts a herd as the cache itself does, all
// the more where most have waited.
func TestFiguresAreTheLibrarys(t *testing.T) {
	api := newGatedAPI(t)
	src := newSource(api.url, "k", 10, nil)
	defer src.close()
	s := &setup{Protection: protectFull, Valkey: "valkey://" + miniredis.RunT(t).Addr(), LockTTL: time.Minute, Threads: 4, Process: 1}
	f, err := openFull(t.Context(), s, src, observe(cache.Hooks{}, func(string) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.close() }()
	h := lineUp(t.Context(), s, &share{Requests: 10, City: cities[0]}, f)
	h.release(time.Now())
	answer := <-api.calls
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); f.cache.Stats().Waiting < 4 && time.Now().Before(end); {
		<-tick.C
	}
	close(answer)
	tr := &trial{city: cities[0], records: h.wait(func(int) {}).Records, zero: h.zero}
	got, counted := tr.measure(1, time.Minute), f.cache.Stats()
	sum := summarize([]test{got})
	for name, pair := range map[string][2]float64{
		"hits":               {float64(got.Hits), float64(counted.Hits + counted.RemoteHits)},
		"hit rate":           {sum.HitRate.Value, 100 * counted.HitRate()},
		"API call reduction": {sum.APICallReduction.Value, 100 * counted.APICallReduction()},
		"lock wait rate":     {sum.LockWaitRate.Value, 100 * counted.LockWaitRate()},
	} {
		if d := pair[0] - pair[1]; d > 1e-6 || d < -1e-6 {
			t.Errorf("%s: the demo says %v, cache.Stats %v", name, pair[0], pair[1])
		}
	}
	if got.Misses < 4 || got.Hits+got.Misses != 10 {
		t.Errorf("%d hits, %d misses of 10, want 4 misses at least: one loads, three wait for it", got.Hits, got.Misses)
	}
}

func TestSplit(t *testing.T) {
	if got := split(10, 4); !slices.Equal(got, []int{3, 3, 2, 2}) {
		t.Errorf("split(10, 4) = %v", got)
	}
}

// A process that ends unasked costs errors, one that was killed does not.
func TestLostWorker(t *testing.T) {
	tr := &trial{requests: []int{2, 3}, pending: map[int]bool{1: true, 2: true}, done: map[int]int{}, zero: time.Now(),
		kill: &killing{victim: 2, at: time.Now()}}
	tr.lost(inbound{from: 1, gone: true})
	tr.lost(inbound{from: 2, gone: true})
	tr.lost(inbound{from: 2, gone: true}) // counted once
	s := tr.measure(0, time.Second)
	if s.Errors != 2 || s.Killed != 3 || len(tr.pending) != 0 {
		t.Errorf("errors = %d, killed = %d, pending = %v, want 2, 3, none", s.Errors, s.Killed, tr.pending)
	}
}
