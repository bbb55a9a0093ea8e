package fleettest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// Got is what the callers of a Get got.
type Got struct {
	Callers int
	Lost    int            // callers of processes that ended before they answered
	Values  map[string]int // callers, by value; see Load.Outcome for a long one
	Errors  map[string]int // callers, by Failure.Name

	Failures  map[string]*Failure // one of each name
	Latencies []time.Duration     // of the callers that came back, from the shortest
	Ended     []Moment            // when those that got a value had it, from the first
	Began     Moment              // when the first process let its callers go
	First     Moment              // when the first caller had its value
	Last      Moment              // when the last caller had its value
}

// add counts a caller.
func (g *Got) add(v string, err error, began, ended Moment) {
	d := ended.Sub(began)
	i, _ := slices.BinarySearch(g.Latencies, d)
	g.Latencies = slices.Insert(g.Latencies, i, d)
	if f := fail(err); f != nil {
		if g.Failures == nil {
			g.Failures = make(map[string]*Failure)
		}
		g.Failures[f.Name] = f
		g.Errors[f.Name]++
		return
	}
	g.Values[short(v)]++
	g.Ended = append(g.Ended, ended)
	if g.First == 0 {
		g.First = ended
	}
	g.First, g.Last = min(g.First, ended), max(g.Last, ended)
}

// merge adds what another process's callers got.
func (g *Got) merge(o *Got) {
	if g.Values == nil {
		g.Values, g.Errors, g.Failures = make(map[string]int), make(map[string]int), make(map[string]*Failure)
	}
	g.Callers += o.Callers
	g.Lost += o.Lost
	for v, n := range o.Values {
		g.Values[v] += n
	}
	for name, n := range o.Errors {
		g.Errors[name] += n
	}
	maps.Copy(g.Failures, o.Failures)
	g.Latencies = append(g.Latencies, o.Latencies...)
	slices.Sort(g.Latencies)
	g.Ended = append(g.Ended, o.Ended...)
	slices.Sort(g.Ended)
	first := func(a, b Moment) Moment {
		if a == 0 || b == 0 {
			return max(a, b)
		}
		return min(a, b)
	}
	g.Began, g.First, g.Last = first(g.Began, o.Began), first(g.First, o.First), max(g.Last, o.Last)
}

// Percentile is the latency that a share p of the callers did not exceed: 0 is
// the shortest, 0.5 the median, 1 the longest.
func (g *Got) Percentile(p float64) time.Duration { return percentile(g.Latencies, p) }

// After is how long after a moment a share p of the callers that got a value had
// it: see Percentile.
func (g *Got) After(m Moment, p float64) time.Duration { return percentile(g.Ended, p).Sub(m) }

func percentile[T any](sorted []T, p float64) (at T) {
	if n := len(sorted); n > 0 {
		at = sorted[min(n-1, int(p*float64(n)))]
	}
	return at
}

// Failed is the number of callers whose error is, or wraps, target.
func (g *Got) Failed(target error) int {
	n := 0
	for name, f := range g.Failures {
		if errors.Is(f, target) {
			n += g.Errors[name]
		}
	}
	return n
}

// Want fails the test unless all callers got value.
func (g *Got) Want(tb testing.TB, value string) {
	tb.Helper()
	if g.Values[value] != g.Callers {
		tb.Errorf("Get = %v, want %q for all", g, value)
	}
}

// String says it all in one line.
func (g *Got) String() string {
	ms := func(p float64) time.Duration { return g.Percentile(p).Round(10 * time.Microsecond) }
	s := fmt.Sprintf("%d callers: values %v, errors %v, after %v to %v, median %v, p99 %v",
		g.Callers, g.Values, g.Errors, ms(0), ms(1), ms(0.5), ms(0.99))
	if g.Lost > 0 {
		s += fmt.Sprintf(", %d lost", g.Lost)
	}
	return s
}
