package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// parsed is the part of the JSON document that these tests look at.
type parsed struct {
	Tests []struct {
		City     string
		Requests int
		Hits     int `json:"cache_hits"`
		Misses   int `json:"cache_misses"`
		APICalls int `json:"api_calls"`
		Timeouts int
		Errors   int
		Killed   int
		Recovery *recovery
		Timeline []event
	}
	Summary struct {
		Prevented bool   `json:"stampede_prevented"`
		Reduction figure `json:"api_call_reduction"`
	}
	Protections []outcome
}

func runJSON(t *testing.T, args string) (code int, d parsed) {
	t.Helper()
	code, out, errOut := runDemo(t, "", strings.Fields(args+" --json")...)
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%s: exit %d, %v\n%s%s", args, code, err, out, errOut)
	}
	return code, d
}

// Point 1 of what must be seen to hold, with a quicker API.
func TestDemoEmbedded(t *testing.T) {
	t.Parallel()
	code, d := runJSON(t, "--embedded --latency 50ms -r 100 -t 4 -c 2 -l 60000 -f -v")
	if code != exitOK || !d.Summary.Prevented || d.Summary.Reduction.Value != 99 || len(d.Tests) != 2 {
		t.Fatalf("exit %d, %+v", code, d.Summary)
	}
	for _, test := range d.Tests {
		if test.APICalls != 1 || test.Requests != 100 || test.Hits+test.Misses != 100 || test.Hits == 0 || test.Timeouts+test.Errors != 0 || len(test.Timeline) != 100 {
			t.Errorf("%+v", test)
		}
	}
}

func TestDemoProcesses(t *testing.T) {
	t.Parallel()
	code, d := runJSON(t, "--embedded --processes 3 --latency 100ms -r 60 -t 12")
	if code != exitOK || d.Tests[0].APICalls != 1 || d.Tests[0].Hits+d.Tests[0].Misses != 60 {
		t.Errorf("exit %d, %+v", code, d.Tests)
	}
}

// Everybody but the killed process's own requests is served, by one more call.
func TestDemoKillHolder(t *testing.T) {
	t.Parallel()
	code, d := runJSON(t, "--embedded --processes 3 --kill-holder --latency 600ms -l 600 -r 60 -t 12 -c 2")
	if code != exitOK || len(d.Tests) != 2 {
		t.Fatalf("exit %d, %+v", code, d)
	}
	for _, test := range d.Tests {
		if test.Killed != 20 || test.Errors+test.Timeouts != 0 || test.APICalls != 2 || test.Recovery == nil {
			t.Errorf("%+v, recovery %+v", test, test.Recovery)
		}
	}
}

// That a holder has died is found out long before its lock ends, and what is
// promised then is what the demo judges by. How well a busy machine keeps it is
// not for this test.
func TestDemoTakesOverFromTheDead(t *testing.T) {
	t.Parallel()
	_, d := runJSON(t, "--embedded --processes 3 --kill-holder --latency 300ms -l 60000 -r 60 -t 12")
	r := d.Tests[0].Recovery
	if r == nil || r.Load == 0 || r.Load > 20_000 {
		t.Fatalf("recovery %+v, want another's load well within the lock's 60 s", r)
	}
	if !r.Live || r.Bound != 250 || r.Held != (r.Load <= 250) {
		t.Errorf("recovery %+v, want it judged by 250 ms", r)
	}
}

// The textbook's lock ends with its time, and no sooner.
func TestDemoKillHolderNaive(t *testing.T) {
	t.Parallel()
	_, d := runJSON(t, "--embedded --processes 2 --kill-holder --protection naive --latency 300ms -l 600 -r 8 -t 4")
	if r := d.Tests[0].Recovery; r == nil || r.Live || r.Bound != 2200 {
		t.Errorf("recovery %+v, want it judged by the lock's 600 ms and 1.6 s", r)
	}
}

// Waiters in other processes are woken, they need not look again and again.
func TestDemoWakes(t *testing.T) {
	t.Parallel()
	_, d := runJSON(t, "--embedded --processes 3 --latency 1s -r 12 -t 12 -v")
	waiters := 0
	for _, e := range d.Tests[0].Timeline {
		if e.Lock == lockHeld {
			waiters++
			if e.Retries != 1 {
				t.Errorf("a waiter slept %d times, want once", e.Retries)
			}
		}
	}
	if waiters != 2 {
		t.Errorf("%d waiters for the lock, want 2", waiters)
	}
}

func TestDemoCompare(t *testing.T) {
	t.Parallel()
	code, d := runJSON(t, "--embedded --protection compare -r 40 -t 8 -l 150 --latency 500ms")
	if code != exitOK || len(d.Protections) != 3 {
		t.Fatalf("exit %d, %+v", code, d)
	}
	calls := func(i int) int { return d.Protections[i].Summary.APICalls }
	if calls(0) < 8 || calls(1) < 2 || d.Protections[1].Summary.Prevented || calls(2) != 1 {
		t.Errorf("API calls: none %d, naive %d, full %d, want 8 (more if reads time out), more than 1, 1", calls(0), calls(1), calls(2))
	}
}

func TestDemoWithoutAServer(t *testing.T) {
	t.Parallel()
	code, d := runJSON(t, "--valkey valkey://127.0.0.1:1 --latency 50ms -t 4")
	if code != exitOK || d.Tests[0].APICalls != 1 {
		t.Errorf("one process: exit %d, %+v", code, d.Tests)
	}
	code, d = runJSON(t, "--valkey valkey://127.0.0.1:1 --latency 50ms --processes 2 -t 4")
	if code != exitFailed || d.Tests[0].APICalls != 2 || d.Tests[0].Errors != 0 {
		t.Errorf("two processes: exit %d, %+v, want 1 and a call each", code, d.Tests)
	}
}

func TestDemoText(t *testing.T) {
	t.Parallel()
	code, out, errOut := runDemo(t, "", strings.Fields("--embedded --latency 20ms -r 20 -t 4 -v")...)
	if code != exitOK || errOut != "" || strings.Contains(out, "\x1b") {
		t.Errorf("exit %d, stderr %q, want plain text\n%s", code, errOut, out)
	}
	for _, want := range []string{"embedded (miniredis)", "(should be 1)", "London, GB", "✓ stampede prevented", "timeout rate"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// The entries of an earlier run are hits, until they are flushed. What belongs
// to others is not touched.
func TestDemoFlush(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	if err := m.Set("stampede", "theirs"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args  string
		calls int
	}{{"", 1}, {"", 0}, {"-f", 1}} {
		code, d := runJSON(t, "--latency 20ms -t 2 --valkey valkey://"+m.Addr()+" "+tc.args)
		if code != exitOK || d.Tests[0].APICalls != tc.calls {
			t.Errorf("%q: exit %d, %d API calls, want 0, %d", tc.args, code, d.Tests[0].APICalls, tc.calls)
		}
	}
	if err := flush(t.Context(), "valkey://"+m.Addr()); err != nil {
		t.Fatal(err)
	}
	if keys := m.Keys(); len(keys) != 1 || keys[0] != "stampede" {
		t.Errorf("left after a flush: %q, want only what is not ours", keys)
	}
}

func TestDemoInteractive(t *testing.T) {
	t.Parallel()
	// Two runs, with a mistake in each place where one can be made; then the end.
	in := strings.Join([]string{"0", "20", "2", "", "3", "", "full", "", "", "", "1", "", "", "x", "r"}, "\n") + "\n"
	code, out, _ := runDemo(t, in, "-i", "--embedded", "--latency", "20ms")
	if code != exitOK || strings.Count(out, "\nSummary\n") != 2 {
		t.Errorf("exit %d, %d runs, want 0, 2\n%s", code, strings.Count(out, "\nSummary\n"), out)
	}
	for _, want := range []string{"must be a whole number", "at least as many --threads", "must be r, c or q"} {
		if strings.Count(out, want) != 1 {
			t.Errorf("%q is not there once in\n%s", want, out)
		}
	}
	if code, out, _ := runDemo(t, "", "-i", "--embedded"); code != exitOK || strings.Contains(out, "Summary") {
		t.Errorf("no input at all: exit %d\n%s", code, out)
	}
}

// An interrupt ends the processes and leaves nothing behind.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--latency 10s", "--latency 10s --processes 2", "--embedded --latency 10s"} {
		cmd := demo(t, strings.Fields(args)...)
		tmp := t.TempDir()
		cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil { // the configuration: the servers are up
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
			t.Errorf("%s: exit %d, %s, want 130", args, code, errOut.String())
		}
		if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
			t.Errorf("%s: left in the temp folder: %v, %v", args, left, err)
		}
	}
}

func TestDemoTelemetry(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got := make(map[string]string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got[r.URL.Path] += string(body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer srv.Close()
	if code, d := runJSON(t, "--embedded --processes 2 -t 4 --latency 50ms --otlp "+srv.URL); code != exitOK {
		t.Errorf("exit %d, %+v", code, d)
	}
	mu.Lock()
	defer mu.Unlock()
	for path, texts := range map[string][]string{
		"/v1/traces":  {"stampede-1", "stampede-2", "cache.load"},
		"/v1/metrics": {"stampede-1", "stampede-2", "cache.lock.waits"},
	} {
		for _, text := range texts {
			if !strings.Contains(got[path], text) {
				t.Errorf("nothing of %s came to %s", text, path)
			}
		}
	}
	if n := strings.Count(got["/v1/traces"], "cache.load"); n != 1 {
		t.Errorf("%d cache.load spans, want 1", n)
	}
}

// The server that is started goes with the demo, and so does its folder.
func TestServerChoice(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	srv, err := chooseServer(t.Context(), &settings{})
	if err != nil {
		t.Fatal(err)
	}
	if !srv.fresh || srv.what == "" {
		t.Errorf("server = %+v", srv)
	}
	srv.close()
	t.Setenv("PATH", "")
	if srv, err = chooseServer(t.Context(), &settings{}); err != nil || !strings.HasPrefix(srv.what, "embedded") {
		t.Fatalf("nothing on PATH: %+v, %v, want the embedded one", srv, err)
	}
	srv.close()
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("left in the temp folder: %v, %v", left, err)
	}
}

// The embedded server's TTLs move by themselves.
func TestEmbeddedServerExpires(t *testing.T) {
	srv, err := embedServer()
	if err != nil {
		t.Fatal(err)
	}
	defer srv.close()
	client, err := connect(srv.url)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := client.Do(ctx, client.B().Set().Key("k").Value("v").Px(50*time.Millisecond).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := client.Do(ctx, client.B().Exists().Key("k").Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		if err := wait(ctx, 5*time.Millisecond); err != nil {
			t.Fatal("the key did not expire")
		}
	}
}
