package main

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/alicebob/miniredis/v2"

	"github.com/bellwethercache/bellwether/internal/sidecar"
)

//go:embed prometheus/rules.yml jaeger-ui.json ui/index.html
var files embed.FS

// place is what the herd lives among: its Valkey, and those who watch.
type place struct {
	dir    string // temporary
	notes  []string
	valkey string
	hang   func() error // stops the Valkey for a while; nil: it is not ours to stop
	heal   func() error
	otlp   string // empty: no traces
	jaeger string // base URL of its pages; empty: there are none
	watch  func(ctx context.Context, metrics []string) error
	graphs string // base URL of Prometheus's pages; empty: there are none
	stops  []func()
}

func openPlace(ctx context.Context, s *settings) (p *place, err error) {
	p = &place{watch: func(context.Context, []string) error { return nil }}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.dir, err = os.MkdirTemp("", "bellwether-observe-"); err != nil {
		return nil, err
	}
	p.stops = append(p.stops, func() { _ = os.RemoveAll(p.dir) })
	for _, open := range []func(context.Context, *settings) error{p.openValkey, p.openJaeger, p.openPrometheus} {
		if err := open(ctx, s); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *place) note(name, format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf("  %-12s %s", name, fmt.Sprintf(format, args...)))
}

func (p *place) openValkey(ctx context.Context, s *settings) error {
	if s.valkey != "" {
		p.valkey = s.valkey
		p.note("Valkey", "the one that you named")
		return nil
	}
	path, err := sidecar.Look("VALKEY_SERVER", "valkey-server")
	if err == nil && !s.embedded {
		v, err := sidecar.StartValkey(ctx, path, p.dir)
		if err != nil {
			return err
		}
		p.stops = append(p.stops, v.Stop)
		p.valkey, p.hang, p.heal = v.URL, v.Pause, v.Resume
		p.note("Valkey", "%s", v.URL)
		return nil
	}
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true) // else its TTLs stand still
	if err := m.Start(); err != nil {
		return err
	}
	p.stops = append(p.stops, m.Close)
	p.valkey = "valkey://" + m.Addr()
	p.hang = func() error { m.Close(); return nil }
	p.heal = m.Restart
	p.note("Valkey", "embedded (miniredis); for a real one put valkey-server on PATH")
	return nil
}

func (p *place) openJaeger(ctx context.Context, s *settings) error {
	if s.otlp != "" {
		p.otlp, p.jaeger = s.otlp, s.jaeger
		p.note("Jaeger", "%s", p.jaeger)
		return nil
	}
	path, err := sidecar.LookJaeger()
	if err != nil {
		p.note("Jaeger", "not here, so no traces: %s", sidecar.JaegerHow)
		return nil
	}
	ui, err := p.copy("jaeger-ui.json")
	if err != nil {
		return err
	}
	j, err := sidecar.StartJaeger(ctx, path, sidecar.JaegerOptions{UIConfig: ui})
	if err != nil {
		return err
	}
	if !j.HasPages(ctx) { // ours then, under the same addresses
		j.Stop()
		page, err := p.copy("ui/index.html")
		if err != nil {
			return err
		}
		if j, err = sidecar.StartJaeger(ctx, path, sidecar.JaegerOptions{UIConfig: ui, Pages: filepath.Dir(page)}); err != nil {
			return err
		}
	}
	p.stops = append(p.stops, j.Stop)
	p.otlp, p.jaeger = j.OTLP, j.Query
	p.note("Jaeger", "%s", j.Query)
	return nil
}

func (p *place) openPrometheus(_ context.Context, s *settings) error {
	if s.listen != "" {
		p.note("Prometheus", "yours, which asks at the addresses below")
		return nil
	}
	path, err := sidecar.LookPrometheus()
	if err != nil {
		p.note("Prometheus", "not here, so nobody asks for the metrics: %s", sidecar.PrometheusHow)
		return nil
	}
	p.watch = func(ctx context.Context, metrics []string) error {
		config, err := p.configurePrometheus(metrics)
		if err != nil {
			return err
		}
		prom, err := sidecar.StartPrometheus(ctx, path, config, filepath.Join(p.dir, "tsdb"))
		if err != nil {
			return err
		}
		p.stops = append(p.stops, prom.Stop)
		p.graphs = prom.URL
		p.note("Prometheus", "%s", prom.URL)
		return nil
	}
	return nil
}

// configurePrometheus writes its configuration and returns the file. JSON is
// YAML as well.
func (p *place) configurePrometheus(metrics []string) (string, error) {
	rules, err := p.copy("prometheus/rules.yml")
	if err != nil {
		return "", err
	}
	type m = map[string]any
	config, err := json.Marshal(m{
		"global":     m{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{rules},
		"scrape_configs": []m{{
			"job_name":       "shop",
			"static_configs": []m{{"targets": metrics}},
		}},
	})
	if err != nil {
		return "", err
	}
	file := filepath.Join(p.dir, "prometheus.yml")
	return file, os.WriteFile(file, config, 0o600)
}

// copy writes one of the embedded files into the temporary folder, for programs
// that want a file, and returns its path.
func (p *place) copy(name string) (string, error) {
	b, err := files.ReadFile(name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(p.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, b, 0o600)
}

// describe says what there is.
func (p *place) describe(out io.Writer, metrics []string) {
	fmt.Fprintln(out, "A herd of processes, observed. Its addresses are good until it ends; Ctrl-C ends it.")
	for _, n := range p.notes {
		fmt.Fprintln(out, n)
	}
	if p.graphs != "" {
		fmt.Fprintf(out, "  %-12s %s\n", "  a figure", p.graph("bellwether:hit_rate:ratio5m"))
	}
	for i, addr := range metrics {
		fmt.Fprintf(out, "  %-12s http://%s/metrics\n", serviceName(i), addr)
	}
	fmt.Fprintf(out, "  %-12s docker compose -f examples/observe/compose.yaml up\n", "Grafana")
}

func (p *place) graph(expr string) string {
	return p.graphs + "/graph?g0.range_input=2m&g0.tab=0&g0.expr=" + url.QueryEscape(expr)
}

// trace is where the trace is shown; empty if nowhere.
func (p *place) trace(id string) string {
	if p.jaeger == "" || id == "" {
		return ""
	}
	return p.jaeger + "/trace/" + id
}

// waiters is where the traces of service are listed that waited for a trace.
func (p *place) waiters(service, id string) string {
	if p.jaeger == "" || id == "" {
		return ""
	}
	tags, _ := json.Marshal(map[string]string{"cache.lock.holder.trace_id": id}) // cannot fail
	return p.jaeger + "/search?" + url.Values{
		"service": {service}, "lookback": {"1h"}, "limit": {"100"}, "tags": {string(tags)},
	}.Encode()
}

func (p *place) close() {
	for i := len(p.stops) - 1; i >= 0; i-- {
		p.stops[i]()
	}
	p.stops = nil
}
