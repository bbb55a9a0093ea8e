package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (rewrite with -update):\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// printed is a whole report of made-up outcomes.
func printed(s *settings, colour bool, all ...outcome) string {
	var b bytes.Buffer
	p := &paper{w: bufio.NewWriter(&b), colour: colour}
	ses := &session{server: &server{what: "embedded (miniredis) on 127.0.0.1:6379", fresh: true}, out: p}
	p.configuration(s, ses)
	for i := range all {
		for j := range all[i].Tests {
			p.test(s, all[i].Protection, &all[i].Tests[j])
		}
	}
	p.summary(s, all)
	p.flush()
	return b.String()
}

func someSettings(protection string) settings {
	s, err := parseFlags([]string{"-r", "10", "-t", "4", "--processes", "2", "-l", "100", "--protection", protection}, noEnv)
	if err != nil {
		panic(err)
	}
	return s
}

// fine is an outcome as it should be, bad one as it should not.
func fine(protection string) outcome {
	tr := aTrial()
	for i := range tr.records {
		if r := &tr.records[i]; r.Status == statusError {
			r.Status, r.Err, r.TimedOut = statusFilled, "", false
		}
	}
	tests := []test{tr.measure(1, time.Second)}
	return outcome{Protection: protection, Tests: tests, Summary: summarize(tests)}
}

func bad(protection string) outcome {
	tests := []test{aTrial().measure(3, time.Second)}
	return outcome{Protection: protection, Tests: tests, Summary: summarize(tests), Warnings: []string{"the lock was lost"}}
}

func TestReportFull(t *testing.T) {
	s := someSettings(protectFull)
	s.verbose = true
	golden(t, "full.golden", printed(&s, false, fine(protectFull)))
}

func TestReportCompare(t *testing.T) {
	s := someSettings(protectCompare)
	golden(t, "compare.golden", printed(&s, false, bad(protectNone), bad(protectNaive), fine(protectFull)))
}

func TestReportColour(t *testing.T) {
	s := someSettings(protectFull)
	plain, coloured := printed(&s, false, bad(protectFull)), printed(&s, true, bad(protectFull))
	if strings.Contains(plain, "\x1b") {
		t.Error("the plain report has escape sequences")
	}
	if !strings.Contains(coloured, "\x1b[31m✗") {
		t.Error("the coloured report has no red cross")
	}
}

func TestReportKill(t *testing.T) {
	s := someSettings(protectFull)
	s.killHolder = true
	o := fine(protectFull)
	if out := printed(&s, false, o); !strings.Contains(out, "none was killed") {
		t.Errorf("nobody was killed, and nobody says so:\n%s", out)
	}
	o.Tests[0].Recovery = &recovery{Process: 2, KilledMS: 150, Load: 2000, Value: 2300, Bound: 4600, Held: true}
	out := printed(&s, false, o)
	for _, want := range []string{"process 2 was killed at 150 ms", "2000 ms later", "after 2300 ms", "✓ recovery", "4600 ms"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	o.Tests[0].Recovery = &recovery{Process: 2, KilledMS: 150, Load: 251, Value: 551, Bound: 250, Live: true}
	if out, want := printed(&s, false, o), "✗ recovery within 250 ms and one load"; !strings.Contains(out, want) {
		t.Errorf("no %q in\n%s", want, out)
	}
}

// Nothing that is printed shows a password.
func TestReportHidesPasswords(t *testing.T) {
	s, err := parseFlags([]string{"--api", "http://user:SECRET@127.0.0.1:1", "--api-key", "SECRET", "--valkey", "valkey://:SECRET@127.0.0.1:1"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	srv := namedServer(t.Context(), &s)
	if !srv.down || strings.Contains(srv.what, "SECRET") {
		t.Errorf("server = %+v", srv)
	}
	var b bytes.Buffer
	ses := &session{server: srv}
	if err := writeJSON(&b, &s, ses, []outcome{fine(protectFull)}); err != nil {
		t.Fatal(err)
	}
	if out := b.String() + printed(&s, false, fine(protectFull)); strings.Contains(out, "SECRET") {
		t.Errorf("a password is shown:\n%s", out)
	}
}

func TestJSONShape(t *testing.T) {
	s := someSettings(protectFull)
	ses := &session{server: &server{what: "a server"}}
	var b bytes.Buffer
	if err := writeJSON(&b, &s, ses, []outcome{fine(protectFull)}); err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	tests, _ := doc["tests"].([]any)
	if len(tests) != 1 {
		t.Fatalf("tests = %v, want one", doc["tests"])
	}
	has(t, "config", doc["config"], "requests threads cities processes protection lock_ttl_ms latency_ms api server flush kill_holder")
	has(t, "tests[0]", tests[0], `city requests cache_hits cache_misses api_calls lock_acquisitions
		lock_waits timeouts errors min_ms avg_ms max_ms hit_ms api_ms stampede_prevented weather`)
	has(t, "summary", doc["summary"], "api_call_reduction hit_rate lock_wait_rate avg_wait timeout_rate stampede_prevented")
	summary, _ := doc["summary"].(map[string]any)
	has(t, "summary.hit_rate", summary["hit_rate"], "value unit target met")
	if first, _ := tests[0].(map[string]any); first["timeline"] != nil {
		t.Error("a timeline without --verbose")
	}
}

func TestJSONCompareAndVerbose(t *testing.T) {
	s := someSettings(protectCompare)
	s.verbose = true
	var b bytes.Buffer
	all := []outcome{fine(protectNone), fine(protectNaive), fine(protectFull)}
	if err := writeJSON(&b, &s, &session{server: &server{}}, all); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Tests       []any
		Summary     any
		Protections []struct {
			Protection string
			Tests      []struct{ Timeline []map[string]any }
			Summary    map[string]any
		}
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Tests != nil || doc.Summary != nil || len(doc.Protections) != 3 {
		t.Fatalf("want three protections and nothing beside them:\n%s", b.String())
	}
	for i, name := range []string{protectNone, protectNaive, protectFull} {
		p := doc.Protections[i]
		if p.Protection != name || len(p.Tests) != 1 || p.Summary == nil {
			t.Fatalf("protections[%d] = %+v", i, p)
		}
		if n := len(p.Tests[0].Timeline); n != 10 {
			t.Fatalf("%s: a timeline of %d requests, want 10", name, n)
		}
		has(t, "timeline[0]", p.Tests[0].Timeline[0], "start_ms process worker status duration_ms retries wait_ms")
	}
}

func has(t *testing.T, what string, object any, fields string) {
	t.Helper()
	m, ok := object.(map[string]any)
	for _, f := range strings.Fields(fields) {
		if _, there := m[f]; !ok || !there {
			t.Errorf("%s has no %s: %v", what, f, object)
		}
	}
}

func TestMillisText(t *testing.T) {
	for x, want := range map[float64]string{0: "–", 0.00024: "240 ns", 0.5: "500 µs", 5.25: "5.2 ms", 312.4: "312 ms"} {
		if got := millisText(x); got != want {
			t.Errorf("millisText(%v) = %q, want %q", x, got, want)
		}
	}
}

func TestBar(t *testing.T) {
	var b bytes.Buffer
	p := &bar{w: &b}
	p.begin("London, full", 10)
	p.set(5)
	p.set(10)
	p.end()
	if out := b.String(); !strings.Contains(out, "10/10") || !strings.HasSuffix(out, "\r\x1b[K") {
		t.Errorf("bar = %q", out)
	}
	(&bar{}).begin("nobody sees it", 1)
}
