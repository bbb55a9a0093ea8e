package main

import (
	"cmp"
	"slices"
	"time"
)

// test is what came of one city's herd. Its JSON form is documented in json.go.
type test struct {
	City      string `json:"city"`
	Requests  int    `json:"requests"`
	Hits      int    `json:"cache_hits"`
	Misses    int    `json:"cache_misses"`
	APICalls  int    `json:"api_calls"`
	Locks     int    `json:"lock_acquisitions"`
	LockWaits int    `json:"lock_waits"`
	Timeouts  int    `json:"timeouts"`
	Errors    int    `json:"errors"`
	Killed    int    `json:"killed,omitempty"`

	Min     float64 `json:"min_ms"`
	Avg     float64 `json:"avg_ms"`
	Max     float64 `json:"max_ms"`
	Hit     float64 `json:"hit_ms"`
	API     float64 `json:"api_ms"`
	AvgWait float64 `json:"avg_wait_ms"`
	HitRate float64 `json:"hit_rate"`
	SpeedUp float64 `json:"speed_up"`
	Took    float64 `json:"duration_ms"`

	Prevented  bool      `json:"stampede_prevented"`
	FirstError string    `json:"first_error,omitempty"`
	Recovery   *recovery `json:"recovery,omitempty"`
	Weather    *weather  `json:"weather,omitempty"`
	Timeline   []event   `json:"timeline,omitempty"`

	waitMS  float64  // the sum
	records []record // by start
	drawing drawing
}

// event is a request in the JSON timeline.
type event struct {
	Start   float64 `json:"start_ms"`
	Process int     `json:"process"`
	Worker  int     `json:"worker"`
	Status  string  `json:"status"`
	Latency float64 `json:"duration_ms"`
	Lock    string  `json:"lock,omitempty"`
	Retries int     `json:"retries"`
	Wait    float64 `json:"wait_ms"`
	Timeout bool    `json:"timed_out,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// measure sums a trial up. calls is how often the API was called.
func (t *trial) measure(calls int, lockTTL time.Duration) test {
	slices.SortStableFunc(t.records, func(a, b record) int { return cmp.Compare(a.Start, b.Start) })
	s := test{
		City: t.city.String(), Requests: len(t.records), APICalls: calls,
		Weather: t.weather, Took: ms(t.ended), Recovery: t.recovered(lockTTL), records: t.records,
		drawing: t.drawing(),
	}
	var all, hit, api mean
	for i := range t.records {
		r := &t.records[i]
		s.count(r)
		if r.Status == statusKilled {
			continue
		}
		all.add(r.Latency)
		if r.hit() {
			hit.add(r.Latency)
		}
		if r.API > 0 {
			api.add(r.API)
		}
	}
	s.Min, s.Avg, s.Max = ms(all.min), all.ms(), ms(all.max)
	s.Hit, s.API = hit.ms(), api.ms()
	s.AvgWait = ratio(s.waitMS, float64(s.LockWaits))
	s.HitRate = percent(s.Hits, s.answered())
	s.SpeedUp = ratio(s.API, s.Hit)
	allowed := 1
	if s.Recovery != nil {
		allowed = 2 // the dead holder's, and the one in its stead
	}
	s.Prevented = s.APICalls <= allowed && s.Errors == 0 && s.Timeouts == 0
	return s
}

func (t *test) count(r *record) {
	switch {
	case r.Status == statusKilled:
		t.Killed++
		return
	case r.Status == statusError:
		t.Errors++
		t.FirstError = cmp.Or(t.FirstError, r.Err)
	case r.hit():
		t.Hits++
	default:
		t.Misses++
	}
	if r.Lock == lockAcquired {
		t.Locks++
	}
	if r.Waited {
		t.LockWaits++
		t.waitMS += ms(r.Wait)
	}
	if r.TimedOut {
		t.Timeouts++
	}
}

// answered is the requests whose process was left alive.
func (t *test) answered() int { return t.Requests - t.Killed }

// timeline is the records as JSON has them.
func (t *test) timeline() []event {
	events := make([]event, len(t.records))
	for i, r := range t.records {
		events[i] = event{
			Start: ms(r.Start), Process: r.Process, Worker: r.Thread, Status: r.Status, Latency: ms(r.Latency),
			Lock: r.Lock, Retries: r.Retries, Wait: ms(r.Wait), Timeout: r.TimedOut, Error: r.Err,
		}
	}
	return events
}

// mean is the least, the greatest and the average of durations.
type mean struct {
	n             int
	sum, min, max time.Duration
}

func (m *mean) add(d time.Duration) {
	if m.n == 0 || d < m.min {
		m.min = d
	}
	m.max = max(m.max, d)
	m.sum += d
	m.n++
}

func (m *mean) ms() float64 { return ratio(ms(m.sum), float64(m.n)) }

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func percent(part, whole int) float64 { return 100 * ratio(float64(part), float64(whole)) }

// figure is one of the five numbers to watch in production.
type figure struct {
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target string  `json:"target"`
	Met    bool    `json:"met"`
}

// summary is what came of all cities under one protection.
type summary struct {
	Cities   int `json:"cities"`
	Requests int `json:"requests"`
	APICalls int `json:"api_calls"`
	Timeouts int `json:"timeouts"`
	Errors   int `json:"errors"`
	Killed   int `json:"killed,omitempty"`

	APICallReduction figure `json:"api_call_reduction"`
	HitRate          figure `json:"hit_rate"`
	LockWaitRate     figure `json:"lock_wait_rate"`
	AvgWait          figure `json:"avg_wait"`
	TimeoutRate      figure `json:"timeout_rate"`

	Prevented bool `json:"stampede_prevented"`
}

// summarize adds tests up.
func summarize(tests []test) summary {
	s := summary{Cities: len(tests), Prevented: true}
	hits, waits, waitMS := 0, 0, 0.0
	for i := range tests {
		t := &tests[i]
		s.Requests += t.Requests
		s.APICalls += t.APICalls
		s.Timeouts += t.Timeouts
		s.Errors += t.Errors
		s.Killed += t.Killed
		hits += t.Hits
		waits += t.LockWaits
		waitMS += t.waitMS
		s.Prevented = s.Prevented && t.Prevented
	}
	answered := s.Requests - s.Killed
	above := func(value, target float64) figure {
		return figure{Value: value, Unit: "%", Target: "≥ " + number(target) + " %", Met: value >= target}
	}
	below := func(value, target float64, unit string) figure {
		return figure{Value: value, Unit: unit, Target: "< " + number(target) + " " + unit, Met: value < target}
	}
	s.APICallReduction = above(100-percent(s.APICalls, answered), 95)
	s.HitRate = above(percent(hits, answered), 90)
	s.LockWaitRate = below(percent(waits, answered), 10, "%")
	s.AvgWait = below(ratio(waitMS, float64(waits)), 500, "ms")
	s.TimeoutRate = below(percent(s.Timeouts, max(waits, s.Timeouts)), 1, "%")
	return s
}

// namedFigure is a figure as people read it.
type namedFigure struct {
	name, counted string
	figure
}

// figures are the five, and how each is counted.
func (s *summary) figures() []namedFigure {
	return []namedFigure{
		{"API call reduction", "1 − API calls / requests", s.APICallReduction},
		{"hit rate", "requests that a tier answered / requests; who waited for another's load missed", s.HitRate},
		{"lock wait rate", "requests that waited for another's load, in their process or for its lock / requests", s.LockWaitRate},
		{"average wait", "time in those waits / their number", s.AvgWait},
		{"timeout rate", "waits that were given up / waits", s.TimeoutRate},
	}
}
