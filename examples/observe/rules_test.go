package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/otelx"
)

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(servertest.PromtoolPath(t), args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRules(t *testing.T) {
	promtool(t, "check", "rules", "prometheus/rules.yml")
	promtool(t, "check", "config", "prometheus/prometheus.yml")
	promtool(t, "test", "rules", "prometheus/rules_test.yml")
}

// figures are the recording rules of what cache.Stats computes.
func figures(s *cache.Stats) map[string]float64 {
	return map[string]float64{
		"bellwether:api_call_reduction:ratio5m": s.APICallReduction(),
		"bellwether:hit_rate:ratio5m":           s.HitRate(),
		"bellwether:lock_wait_rate:ratio5m":     s.LockWaitRate(),
		"bellwether:average_wait:seconds5m":     s.AverageWait().Seconds(),
		"bellwether:timeout_rate:ratio5m":       s.TimeoutRate(),
	}
}

// TestFiguresAreThoseOfStats lets a Stats be exported, grow by itself each ten
// seconds, and the rules compute what its methods do.
func TestFiguresAreThoseOfStats(t *testing.T) {
	s := cache.Stats{
		Hits: 1000, RemoteHits: 203, Stale: 57, Negative: 31, Shared: 71, Filled: 13, Loaded: 17, Errors: 11,
		Loads: 97, LoadErrors: 7, LoadTimeouts: 3, Unprotected: 5, Waits: 121, WaitTime: 37 * time.Second, WaitTimeouts: 19,
		Cooled: 2, HardTimeouts: 1, StaleIfError: 4, Takeovers: 1, LeasesLost: 1,
	}
	tel, err := startTelemetry(t.Context(), &setup{Service: "x", Metrics: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tel.stop() }()
	stop, err := otelx.Observe(&otelx.Options{CacheName: "p", MeterProvider: tel.metrics}, func() cache.Stats { return s })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop() }()
	w := httptest.NewRecorder()
	tel.server.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))

	type m = map[string]any
	var series, want []m
	for _, line := range regexp.MustCompile(`(?m)^(cache_\w+\{[^}]*\}) (\S+)$`).FindAllStringSubmatch(w.Body.String(), -1) {
		name := strings.Replace(line[1], "{", `{job="j",`, 1)
		series = append(series, m{"series": name, "values": fmt.Sprintf("0+%sx60", line[2])})
	}
	for rule, v := range figures(&s) {
		want = append(want, m{"expr": fmt.Sprintf("abs(%s - %v) < bool 1e-9", rule, v), "eval_time": "9m", "exp_samples": []m{
			{"labels": `{job="j",cache_name="p"}`, "value": 1},
		}})
	}
	rules, err := filepath.Abs("prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(m{
		"rule_files": []string{rules}, "evaluation_interval": "10s",
		"tests": []m{{"interval": "10s", "input_series": series, "promql_expr_test": want}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "test.yml")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", file)
}

// dashboard is what the tests look at of Grafana's.
type dashboard struct {
	Panels []struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	b, err := os.ReadFile("grafana/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Error("dashboard.json is more than one value")
	}
	return d
}

// TestTilesAreTheRules compares the five tiles' queries, but for the choice of
// job, cache and window, with the recording rules.
func TestTilesAreTheRules(t *testing.T) {
	rules, err := os.ReadFile("prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	exprs := make(map[string]string)
	for _, r := range regexp.MustCompile(`record: (\S+)\s+expr: (.+)`).FindAllStringSubmatch(string(rules), -1) {
		exprs[r[1]] = r[2]
	}
	plain := strings.NewReplacer(`{cache_name=~"$cache",job=~"$job"}`, "", `cache_name=~"$cache",job=~"$job",`, "", "$__rate_interval", "5m")
	tiles := make(map[string]bool)
	for _, p := range readDashboard(t).Panels {
		if p.Type == "stat" {
			tiles[plain.Replace(p.Targets[0].Expr)] = true
		}
	}
	for rule := range figures(&cache.Stats{}) {
		if !tiles[exprs[rule]] {
			t.Errorf("no tile asks for %s: %s", rule, exprs[rule])
		}
	}
	if len(tiles) != len(figures(&cache.Stats{})) {
		t.Errorf("%d tiles, want %d", len(tiles), len(figures(&cache.Stats{})))
	}
}

func TestDashboardPanelsDoNotOverlap(t *testing.T) {
	taken := make(map[[2]int]string)
	ids := make(map[int]bool)
	for _, p := range readDashboard(t).Panels {
		if ids[p.ID] || len(p.Targets) == 0 {
			t.Errorf("%s: id %d is taken, or it asks for nothing", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s covers %q, or leaves the page", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}
