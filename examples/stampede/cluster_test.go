package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

func TestDemoOnACluster(t *testing.T) {
	url := servertest.Cluster(t).URL()
	args := "--valkey " + url + " --processes 4 --latency 300ms -r 80 -t 16 -c 5"
	for _, run := range []struct {
		more  string
		calls int // for each city
	}{{"", 1}, {"", 0}, {" --flush", 1}} {
		code, d := runJSON(t, args+run.more)
		if code != exitOK {
			t.Fatalf("exit %d, %+v", code, d)
		}
		for _, test := range d.Tests {
			if test.APICalls != run.calls || test.Errors+test.Timeouts != 0 {
				t.Errorf("%s: %+v, want %d calls", run.more, test, run.calls)
			}
		}
	}
}

// TestDemoSurvivesItsMaster: the server that holds the city's key is killed in
// mid-load. Everybody gets the weather, by one call in each process at most.
func TestDemoSurvivesItsMaster(t *testing.T) {
	layout, err := valkeylease.NewLayout(namespace)
	if err != nil {
		t.Fatal(err)
	}
	const (
		processes, requests = 4, 200
		latency             = 2 * time.Second
		budget, pollCap     = time.Second, 1600 * time.Millisecond
		noise               = 1500 * time.Millisecond
	)
	servertest.InDeployments(t, layout.Lease(cities[0].key()), func(t *testing.T, d *servertest.Deployment) {
		cmd := demo(t, strings.Fields("--valkey "+d.URL+" --processes 4 --latency 2s -r 200 -t 40 --json -v")...)
		var out, errOut strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for late := time.After(30 * time.Second); d.Master.Do("EXISTS "+layout.Lease(cities[0].key())) != ":1"; {
			select {
			case <-late:
				t.Fatalf("nobody loads: %s%s", out.String(), errOut.String())
			case <-time.After(5 * time.Millisecond):
			}
		}
		<-time.After(latency / 4)
		d.Master.Kill()
		killed := time.Now()
		_ = cmd.Wait() // 1 if more than one has called the API
		ended := time.Since(killed)
		var doc parsed
		if err := json.Unmarshal([]byte(out.String()), &doc); err != nil || len(doc.Tests) != 1 {
			t.Fatalf("%v: %s%s", err, out.String(), errOut.String())
		}
		test := doc.Tests[0]
		if test.Requests != requests || test.Errors != 0 || len(test.Timeline) != requests {
			t.Errorf("%d requests, %d errors, want %d and none", test.Requests, test.Errors, requests)
		}
		if test.APICalls < 1 || test.APICalls > processes {
			t.Errorf("%d calls of the API, want at most one in each of %d processes", test.APICalls, processes)
		}
		longest := 0.0
		for _, e := range test.Timeline {
			longest = max(longest, e.Latency)
		}
		t.Logf("%d calls of the API, the longest request took %.0f ms, all was over %v after the master's death", test.APICalls, longest, ended)
		// From the death on: what a waiter may take to notice, and a load of its own.
		if limit := latency*6/5 + budget + pollCap + latency/4 + noise; longest > float64(limit.Milliseconds()) {
			t.Errorf("the longest request took %.0f ms, want %v at most", longest, limit)
		}
	})
}
