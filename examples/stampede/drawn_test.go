package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// runReport runs the demo and reads the page that it leaves.
func runReport(t *testing.T, args string) (path string, d doc, p parsed) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "herd.html")
	_, p = runJSON(t, args+" --report "+path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, parseDoc(t, string(text)), p
}

// In every mode the page draws what the spans say, and that is what was counted.
func TestDemoReport(t *testing.T) {
	for _, tc := range []struct {
		args             string
		timelines, lanes int
		loads            []int // of each timeline; -1: see JSON
	}{
		{"--latency 50ms -r 40 -t 4 -c 2", 2, 1, []int{1, 1}},
		{"--processes 3 --latency 100ms -r 60 -t 12", 1, 3, []int{1}},
		{"--protection compare --processes 2 --latency 300ms -r 20 -t 4", 3, 2, []int{-1, -1, 1}},
		{"--processes 3 --kill-holder --latency 600ms -l 60000 -r 60 -t 12", 1, 3, []int{1}}, // and the one that was cut
	} {
		t.Run(tc.args, func(t *testing.T) {
			t.Parallel()
			_, d, p := runReport(t, "--embedded "+tc.args)
			timelines := all(d.Node, ".timeline")
			if len(timelines) != tc.timelines {
				t.Fatalf("%d timelines, want %d", len(timelines), tc.timelines)
			}
			tests := p.Tests
			for i, tl := range timelines {
				if n := len(all(tl, ".lane")); n != tc.lanes {
					t.Errorf("timeline %d: %d lanes, want %d", i, n, tc.lanes)
				}
				want := tc.loads[i]
				if want < 0 {
					want = p.Protections[i].Summary.APICalls
				}
				if n := len(all(all(tl, ".canvas")[0], ".load")) / 2; n != want { // its row and its strip
					t.Errorf("timeline %d: %d loads, want %d", i, n, want)
				}
			}
			if strings.Contains(tc.args, "kill") {
				checkKill(t, d)
				if tests[0].Recovery == nil {
					t.Error("nobody was killed")
				}
			}
			d.byID(t)
		})
	}
}

// checkKill checks that a page shows who died, whom it took with it, and who
// took over.
func checkKill(t *testing.T, d doc) {
	t.Helper()
	for class, want := range map[string]int{".dead": 1, ".cut": 1} {
		if n := len(all(d.Node, class)); n != want {
			t.Errorf("%d of %s, want %d", n, class, want)
		}
	}
	if n := len(all(d.Node, ".lost")); n < 2 {
		t.Errorf("%d marks of what died with its process, want some", n)
	}
	canvas := all(d.Node, ".canvas")[0]
	if over := len(all(canvas, ".over")); over != 1 || !strings.Contains(text(canvas), "took over") {
		t.Errorf("%d lines to a successor, want 1", over)
	}
}

// A wait of another process leads to the strip that did the work, also over the
// border of a process.
func TestDemoReportLinks(t *testing.T) {
	t.Parallel()
	_, d, _ := runReport(t, "--embedded --processes 3 --latency 200ms -r 12 -t 12")
	ids := d.byID(t)
	process := func(row *html.Node) string {
		return attr(row.Parent.Parent, "aria-label")[:len("Process 1")] // row, list, lane
	}
	across := 0
	for _, r := range all(d.Node, ".row") {
		if attr(r, "class") != "row wait" {
			continue
		}
		to := ids[strings.TrimPrefix(attr(all(r, "a")[0], "href"), "#")]
		if to == nil || attr(to.Parent, "class") != "row load" || process(to.Parent) == process(r) {
			t.Errorf("%q leads elsewhere", text(all(r, ".vh")[0]))
			continue
		}
		across++
	}
	if across != 2 {
		t.Errorf("%d waits lead to another process's load, want 2", across)
	}
}

func TestReportFlag(t *testing.T) {
	dir := t.TempDir()
	for path, ok := range map[string]bool{
		filepath.Join(dir, "herd.html"): true, filepath.Join(dir, "missing", "herd.html"): false, dir: false, "": false,
	} {
		if _, err := parseFlags([]string{"--report", path}, noEnv); (err == nil) != ok {
			t.Errorf("--report %q: %v", path, err)
		}
	}
}

// The text says where the page is.
func TestDemoReportText(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "herd.html")
	code, out, errOut := runDemo(t, "", "--embedded", "--latency", "20ms", "-r", "8", "-t", "4", "--report", path)
	if want := fmt.Sprintf("timeline: %s\n", path); code != exitOK || !strings.HasSuffix(out, want) {
		t.Errorf("exit %d, want it to end in %q\n%s%s", code, want, out, errOut)
	}
}
