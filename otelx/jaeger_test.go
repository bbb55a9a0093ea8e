package otelx_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/sidecar"
	"github.com/bellwethercache/bellwether/otelx"
)

// TestJaeger lets three processes stampede, and one of them be impatient, and
// asks a real Jaeger what it saw.
func TestJaeger(t *testing.T) {
	const callers = 10
	jaeger := servertest.Jaeger(t)
	valkey := servertest.Valkey(t)
	herd := startHerd(t, valkey.URL(), jaeger.OTLP, 3)
	for _, m := range herd {
		m.get(t, "k", callers, 0)
	}
	for _, m := range herd {
		m.await(t, "done")
	}
	herd[0].get(t, "slow", 1, 0)
	herd[0].await(t, "loading")
	herd[1].get(t, "slow", 1, sourceTime/10)
	herd[1].await(t, "done")
	herd[0].await(t, "done")
	end(t, herd)

	all := collect(t, jaeger, herd, 3*callers+2)
	impatient, spans := split(all)
	if len(impatient) == 0 || len(named(impatient, "cache.lock.wait x")) != 1 {
		t.Errorf("the timeout that was forced is not among the waits: %v", impatient)
	}
	for _, s := range impatient {
		if s.service != herd[1].name {
			t.Errorf("%s of %s has failed: %s", s.OperationName, s.service, s.tag(otelx.AttrErrorType))
		}
	}
	checkStampede(t, jaeger, spans, herd, callers)
}

// split divides spans into those of traces with an error, which must all be in
// one, and those of the first stampede.
func split(all []jaegerSpan) (failed, spans []jaegerSpan) {
	failedIn, slowIn := "", ""
	for _, s := range all {
		if s.tag("error") != "" {
			failedIn = s.TraceID
		}
	}
	for _, s := range inTrace(all, failedIn) {
		if id := s.tag(otelx.AttrHolderTraceID); id != "" {
			slowIn = id
		}
	}
	for _, s := range all {
		switch s.TraceID {
		case failedIn:
			failed = append(failed, s)
		case slowIn:
		default:
			spans = append(spans, s)
		}
	}
	return failed, spans
}

// checkStampede wants one load, one lease won, and everybody else waiting for
// it.
func checkStampede(t *testing.T, jaeger *sidecar.Jaeger, spans []jaegerSpan, herd []*member, callers int) {
	t.Helper()
	for _, s := range spans {
		if s.tag("error") != "" {
			t.Errorf("%s of %s has failed: %s", s.OperationName, s.service, s.tag(otelx.AttrErrorType))
		}
		if len(s.Warnings) > 0 { // where a caller has left, its flight may end after it, which Jaeger takes for clock skew
			t.Errorf("Jaeger warns of %s: %q", s.OperationName, s.Warnings)
		}
	}
	if n := len(named(spans, "cache.load x")); n != 1 {
		t.Errorf("%d loads, want 1", n)
	}
	acquired := named(spans, "cache.lock.acquire x")
	if len(acquired) != 1 {
		t.Fatalf("%d acquisitions won, want 1", len(acquired))
	}
	waits := named(spans, "cache.lock.wait x")
	if len(waits) != len(herd)*callers-1 {
		t.Errorf("%d waits, want one of every caller but the holder", len(waits))
	}
	checkWaits(t, spans, acquired[0], waits)
	for _, m := range herd {
		found := search(t, jaeger, m.name, map[string]string{otelx.AttrHolderTraceID: acquired[0].TraceID})
		if len(found) == 0 {
			t.Errorf("a search for the holder's trace id finds no wait of %s", m.name)
		}
	}
}

// checkWaits follows each wait's link to the read that loads: at once, or over
// the read of its own process's leader, in whose trace is the wait for the other
// process.
func checkWaits(t *testing.T, spans []jaegerSpan, acquired jaegerSpan, waits []jaegerSpan) {
	t.Helper()
	read := first(named(inTrace(spans, acquired.TraceID), "cache.get x"))
	byID := make(map[string]jaegerSpan)
	for _, s := range spans {
		byID[s.SpanID] = s
	}
	for _, w := range waits {
		to := byID[w.link()]
		if to.SpanID != read.SpanID && w.tag(otelx.AttrLockScope) == "process" {
			to = byID[first(inTrace(waits, to.TraceID)).link()]
		}
		if to.SpanID != read.SpanID {
			t.Errorf("a wait of %s (%s) does not lead to the read that loads", w.service, w.tag(otelx.AttrLockScope))
		}
	}
}

// TestJaegerShowsATakeover kills the process that holds the lease. What it had
// to tell died with it; the others tell who took over.
func TestJaegerShowsATakeover(t *testing.T) {
	jaeger := servertest.Jaeger(t)
	valkey := servertest.Valkey(t)
	herd := startHerd(t, valkey.URL(), jaeger.OTLP, 3)
	herd[0].get(t, hangs, 1, 0)
	herd[0].await(t, "loading")
	for _, m := range herd[1:] {
		m.get(t, hangs, 1, 0)
		m.await(t, "waiting")
	}
	if err := herd[0].cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, m := range herd[1:] {
		m.await(t, "done")
	}
	end(t, herd[1:])

	spans := collect(t, jaeger, herd[1:], 2)
	load := named(spans, "cache.load x")
	if len(load) != 1 {
		t.Fatalf("%d loads by those who live, want 1", len(load))
	}
	for _, w := range named(spans, "cache.lock.wait x") {
		took := w.TraceID == load[0].TraceID
		wantOutcome := "filled"
		if took {
			wantOutcome = "acquired"
		}
		if got := w.tag(otelx.AttrLockTookOver) == "true"; got != took {
			t.Errorf("%s: took over: %t, want %t", w.service, got, took)
		}
		if got := w.tag(otelx.AttrLockOutcome); got != wantOutcome {
			t.Errorf("%s: outcome %q, want %q", w.service, got, wantOutcome)
		}
		// Whoever slept through the takeover knows only the first holder.
		holder := w.tag(otelx.AttrHolderID)
		if holder != "herd-1" && (took || holder != load[0].service) {
			t.Errorf("%s waited for %q", w.service, holder)
		}
		if id := w.tag(otelx.AttrHolderTraceID); holder != "herd-1" && id != load[0].TraceID {
			t.Errorf("%s: the holder's trace is %s, want that of the load", w.service, id)
		}
	}
	if n := len(named(spans, "cache.lock.wait x")); n != 2 {
		t.Errorf("%d waits, want 2", n)
	}
}

// collect waits until Jaeger has so many reads, and returns all spans.
func collect(t *testing.T, jaeger *sidecar.Jaeger, herd []*member, gets int) (spans []jaegerSpan) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(50 * time.Millisecond) {
		spans = spans[:0]
		for _, m := range herd {
			spans = append(spans, search(t, jaeger, m.name, nil)...)
		}
		n := len(named(spans, "cache.get x"))
		if n == gets {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Jaeger has %d gets of %d", n, gets)
		}
	}
	return spans
}

type jaegerSpan struct {
	TraceID, SpanID, OperationName string
	Warnings                       []string
	References                     []struct{ RefType, TraceID, SpanID string }
	Tags                           []struct {
		Key   string
		Value any
	}
	service string
}

// link is the span that a FOLLOWS_FROM reference names.
func (s jaegerSpan) link() string {
	for _, r := range s.References {
		if r.RefType == "FOLLOWS_FROM" {
			return r.SpanID
		}
	}
	return ""
}

func (s jaegerSpan) tag(key string) string {
	for _, t := range s.Tags {
		if t.Key == key {
			return fmt.Sprint(t.Value)
		}
	}
	return ""
}

func named(spans []jaegerSpan, name string) (found []jaegerSpan) {
	for _, s := range spans {
		if s.OperationName == name {
			found = append(found, s)
		}
	}
	return found
}

func inTrace(spans []jaegerSpan, id string) (found []jaegerSpan) {
	for _, s := range spans {
		if s.TraceID == id {
			found = append(found, s)
		}
	}
	return found
}

func first(spans []jaegerSpan) jaegerSpan {
	if len(spans) == 0 {
		return jaegerSpan{}
	}
	return spans[0]
}

// search returns a service's spans, of the traces that have the tags.
func search(t *testing.T, jaeger *sidecar.Jaeger, service string, tags map[string]string) (spans []jaegerSpan) {
	t.Helper()
	q := url.Values{"service": {service}, "limit": {"1000"}, "lookback": {"1h"}}
	if tags != nil {
		b, _ := json.Marshal(tags)
		q.Set("tags", string(b))
	}
	r, err := http.Get(jaeger.Query + "/api/traces?" + q.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer func() { _ = r.Body.Close() }()
	var body struct {
		Data []struct{ Spans []jaegerSpan }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	for _, trace := range body.Data {
		for _, s := range trace.Spans {
			if strings.HasPrefix(s.OperationName, "cache.") {
				s.service = service
				spans = append(spans, s)
			}
		}
	}
	return spans
}
