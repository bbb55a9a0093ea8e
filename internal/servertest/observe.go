package servertest

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/bellwethercache/bellwether/internal/sidecar"
)

// JaegerPath returns where Jaeger's all-in-one is. Without one the test is
// skipped or fails, as without a Valkey.
func JaegerPath(tb testing.TB) string {
	tb.Helper()
	path, err := sidecar.LookJaeger()
	if err != nil {
		missing(tb, "no Jaeger: "+sidecar.JaegerHow+"; .ci/install-servers does")
	}
	return path
}

// Jaeger starts an all-in-one that keeps traces in memory.
func Jaeger(tb testing.TB) *sidecar.Jaeger {
	tb.Helper()
	j, err := sidecar.StartJaeger(context.Background(), JaegerPath(tb), sidecar.JaegerOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(j.Stop)
	return j
}

// PrometheusPath returns where Prometheus is.
func PrometheusPath(tb testing.TB) string {
	tb.Helper()
	path, err := sidecar.LookPrometheus()
	if err != nil {
		missing(tb, "no Prometheus: "+sidecar.PrometheusHow+"; .ci/install-servers does")
	}
	return path
}

// PromtoolPath returns where the tool is that checks Prometheus's rules.
func PromtoolPath(tb testing.TB) string {
	tb.Helper()
	path, err := sidecar.Look("PROMTOOL", "promtool")
	if err != nil {
		missing(tb, "no promtool: "+sidecar.PromtoolHow+"; .ci/install-servers does")
	}
	return path
}

// BrowserPath returns where a Chromium is: the one that CHROMIUM names, or one
// on PATH.
func BrowserPath(tb testing.TB) string {
	tb.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome"}
	if named := os.Getenv("CHROMIUM"); named != "" {
		names = []string{named}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(tb, "no chromium: install one, put it on PATH or name it in CHROMIUM; .ci/install-servers does")
	return ""
}
