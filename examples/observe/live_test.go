package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/sidecar"
)

// TestLive runs the demo with a real Valkey, Jaeger and Prometheus for one round
// of scenes, looks where it says to look, and ends it.
func TestLive(t *testing.T) {
	servertest.PrometheusPath(t) // that they are there
	servertest.JaegerPath(t)
	servertest.Valkey(t).Kill()
	defer http.DefaultClient.CloseIdleConnections()
	d := startDemo(t, nil, "--latency", "150ms", "--rate", "100")
	jaeger, prometheus, metrics := d.url(t, 0, "Jaeger"), d.url(t, 0, "Prometheus"), d.url(t, 0, "shop-1", "/metrics")
	begin, line := d.line(t, 0, "cold key", "reads at once")
	if !strings.Contains(line, "60 reads at once in 3 processes: 1 load, by shop-") {
		t.Errorf("want one load, got %q", line)
	}
	end, line := d.line(t, begin, "outage", "Valkey stood still")
	if !strings.Contains(line, "9 reads answered, 0 failed") {
		t.Errorf("the outage let reads fail: %q", line)
	}
	t.Run("traces", func(t *testing.T) { checkScenes(t, d, jaeger, begin, end) })
	t.Run("pages", func(t *testing.T) { checkPages(t, d, jaeger, begin) })
	t.Run("exemplars", func(t *testing.T) { checkExemplars(t, metrics) })
	t.Run("dashboard", func(t *testing.T) { checkDashboard(t, prometheus) })

	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := d.wait(t); code != exitOK {
		t.Errorf("exit status %d: %s", code, d.errs.String())
	}
	for _, u := range []string{jaeger, prometheus, metrics} {
		if resp, err := http.Get(u); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s still answers", u)
		}
	}
	if left, err := os.ReadDir(d.tmp); err != nil || len(left) > 0 {
		t.Errorf("it left %v behind: %v", left, err)
	}
}

// jaegerTrace is what Jaeger's API says of a trace.
type jaegerTrace struct {
	TraceID string
	Spans   []struct {
		OperationName string
		References    []struct{ RefType string }
		Tags          []struct {
			Key   string
			Value any
		}
	}
}

// has reports whether a span of that name has the tag, if one is asked for.
func (tr *jaegerTrace) has(name, key, value string) bool {
	for _, s := range tr.Spans {
		if s.OperationName != name {
			continue
		}
		if key == "" {
			return true
		}
		for _, tag := range s.Tags {
			if tag.Key == key && fmt.Sprint(tag.Value) == value {
				return true
			}
		}
	}
	return false
}

// checkScenes looks at the traces that the lines between begin and end name.
func checkScenes(t *testing.T, d *demo, jaeger string, begin, end int) {
	at := func(words ...string) string { return path.Base(d.url(t, begin, words...)) }
	_, load := d.line(t, begin, "the load")
	loader := path.Base(load)
	for _, want := range []struct{ id, name, key, value string }{
		{loader, "cache.load products", "cache.fill.role", "holder"},
		{loader, "SELECT item", "", ""},
		{at("its trace"), "cache.lock.wait products", "cache.lock.outcome", "filled"},
		{at("the refresh"), "cache.refresh products", "cache.result", "loaded"},
		{at("gave up"), "cache.lock.wait products", "error", "true"},
		{at("took over"), "cache.lock.wait products", "cache.lock.took_over", "true"},
		{path.Base(d.url(t, end, "degraded")), "cache.get products", "cache.degraded", "true"},
	} {
		eventually(t, fmt.Sprintf("trace %s has no %s with %s=%s", want.id, want.name, want.key, want.value), func() bool {
			traces := traces(t, jaeger+"/api/traces/"+want.id)
			return len(traces) == 1 && traces[0].has(want.name, want.key, want.value)
		})
	}
	batch, _ := d.line(t, begin, "batch")
	eventually(t, "the batch has no cache.get_many", func() bool {
		return slices.ContainsFunc(traces(t, jaeger+"/api/traces/"+path.Base(d.url(t, batch+1))), func(tr jaegerTrace) bool {
			return tr.has("cache.get_many products", "cache.many.keys", "6")
		})
	})
	for _, shop := range []string{"shop-1", "shop-2", "shop-3"} {
		u, err := url.Parse(d.url(t, begin, "waited, "+shop))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the search finds nobody of "+shop, func() bool {
			return slices.ContainsFunc(traces(t, jaeger+"/api/traces?"+u.RawQuery), func(tr jaegerTrace) bool {
				return tr.TraceID != loader && tr.has("cache.lock.wait products", "cache.lock.holder.trace_id", loader)
			})
		})
	}
	if page := get(t, jaeger+"/trace/"+loader); strings.Contains(page, "not compiled with the UI assets") || strings.Contains(page, "JAEGER_CONFIG = DEFAULT_CONFIG") {
		t.Error("Jaeger has no pages, or none with links")
	}
}

// checkPages looks at the pages that a Jaeger without its own is given, in a
// real browser.
func checkPages(t *testing.T, d *demo, jaeger string, begin int) {
	browser := servertest.BrowserPath(t)
	if !strings.Contains(get(t, jaeger), "stand-in for Jaeger's own pages") {
		t.Skip("this Jaeger has pages of its own")
	}
	line, load := d.line(t, begin, "the load")
	_, scene := d.line(t, begin, "cold key", "1 load, by ")
	loader := scene[strings.LastIndex(scene, " ")+1:]
	for u, want := range map[string][]string{
		load[strings.Index(load, "http://"):]:         {"cache.load products", "acquired", "SELECT item", "Traces that waited for this one", "Who waited for this in " + loader + "</a>: 19"},
		d.url(t, line, "waited, "+loader):             {"19 traces", "process, shared", "/trace/" + path.Base(load)},
		d.url(t, begin, "its trace"):                  {"gateway", "shop-1", "shop-2", "shop-3", "filled", "→ shop-"},
		d.url(t, begin, "took over"):                  {"took over", "cache.load products"},
		d.url(t, begin, "gave up"):                    {"failed: "},
		jaeger + "/trace/" + strings.Repeat("0f", 16): {"Jaeger has no trace"},
	} {
		page := look(t, browser, u)
		for _, w := range want {
			if !strings.Contains(page, w) {
				t.Errorf("%s does not say %q", u, w)
			}
		}
		if strings.Contains(page, "[object") || strings.Contains(page, "undefined") {
			t.Errorf("%s shows what should not be seen", u)
		}
	}
}

// look returns a page as it is once its script has run.
func look(t *testing.T, browser, u string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=5000", "--dump-dom", u)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", u, err)
	}
	_, page, _ := strings.Cut(string(out), "<main") // without the script
	page, _, _ = strings.Cut(page, "</main>")
	return page
}

// traces asks Jaeger; of a trace that it does not know yet there are none.
func traces(t *testing.T, u string) []jaegerTrace {
	t.Helper()
	var body struct{ Data []jaegerTrace }
	if err := json.Unmarshal([]byte(get(t, u)), &body); err != nil {
		t.Fatalf("%s: %v", u, err)
	}
	return body.Data
}

// checkExemplars looks for the way from a histogram to a trace.
func checkExemplars(t *testing.T, metrics string) {
	req, err := http.NewRequest(http.MethodGet, metrics, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "cache_lock_wait_duration_seconds_bucket") && strings.Contains(line, `# {`) && strings.Contains(line, "trace_id=") {
			return
		}
	}
	t.Error("no wait has an exemplar with a trace id")
}

// checkDashboard runs each query of the dashboard, and each recording rule.
func checkDashboard(t *testing.T, prometheus string) {
	fill := strings.NewReplacer("$cache", ".*", "$job", ".*", "$__rate_interval", "20s")
	exprs := []string{`bellwether:requests:rate5m > 0`, `bellwether:unprotected_loads:ratio5m`}
	for _, rule := range []string{"api_call_reduction:ratio5m", "hit_rate:ratio5m", "lock_wait_rate:ratio5m", "average_wait:seconds5m", "timeout_rate:ratio5m"} {
		exprs = append(exprs, "bellwether:"+rule)
	}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			exprs = append(exprs, fill.Replace(target.Expr))
		}
	}
	for _, expr := range exprs {
		eventually(t, "no data: "+expr, func() bool {
			var body struct {
				Status string
				Data   struct{ Result []struct{ Value [2]any } }
			}
			if err := json.Unmarshal([]byte(get(t, prometheus+"/api/v1/query?query="+url.QueryEscape(expr))), &body); err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(body.Data.Result, func(r struct{ Value [2]any }) bool { return r.Value[1] != "NaN" })
		})
	}
}

func get(t *testing.T, u string) string {
	t.Helper()
	resp, err := http.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// eventually waits until ok.
func eventually(t *testing.T, problem string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(15 * time.Second); !ok(); <-time.After(100 * time.Millisecond) {
		if time.Now().After(late) {
			t.Error(problem)
			return
		}
	}
}

// TestAlone runs the demo where there is nothing else.
func TestAlone(t *testing.T) {
	t.Parallel()
	nothing := t.TempDir()
	env := []string{"PATH=" + nothing, "HOME=" + nothing, "GOPATH=", "GOBIN=", "VALKEY_SERVER=", "JAEGER_ALL_IN_ONE=", "PROMETHEUS="}
	d := startDemo(t, env, "--for", "10m", "--latency", "50ms", "--rate", "20")
	for _, words := range [][]string{
		{"Valkey", "embedded"},
		{"Jaeger", "not here", "go install"},
		{"Prometheus", "not here", "install the package"},
		{"cold key", "1 load, by shop-"},
		{"kill -9", "1 load, by shop-"},
	} {
		d.line(t, 0, words...)
	}
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := d.wait(t); code != exitOK || d.errs.Len() > 0 {
		t.Errorf("exit status %d: %s", code, d.errs.String())
	}
}

// TestFor: the demo ends by itself, whatever it has got to by then.
func TestFor(t *testing.T) {
	t.Parallel()
	began := time.Now()
	d := startDemo(t, []string{"JAEGER_ALL_IN_ONE=none", "PROMETHEUS=none"}, "--for", "2s", "--latency", "50ms", "--rate", "20")
	if code := d.wait(t); code != exitOK {
		t.Errorf("exit status %d: %s", code, d.errs.String())
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it ended after %v, want 2s at least", took)
	}
}

// TestNamedServers runs the demo twice with a Valkey and addresses that are
// somebody else's.
func TestNamedServers(t *testing.T) {
	t.Parallel()
	valkey := servertest.Valkey(t)
	addrs, err := sidecar.Addrs(1)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d := startDemo(t, []string{"JAEGER_ALL_IN_ONE=none"}, "--valkey", valkey.URL(), "--metrics", addrs[0], "--latency", "50ms", "--rate", "20")
		d.line(t, 0, "Valkey", "that you named")
		d.line(t, 0, "Prometheus", "yours")
		for i := range 3 {
			d.line(t, 0, serviceName(i), "http://"+net.JoinHostPort(host, strconv.Itoa(n+i))+"/metrics")
		}
		d.line(t, 0, "cold key", "1 load, by shop-") // though an earlier run has left entries
		d.line(t, 0, "outage", "not played")
		if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if code := d.wait(t); code != exitOK || d.errs.Len() > 0 {
			t.Errorf("exit status %d: %s", code, d.errs.String())
		}
	}
}
