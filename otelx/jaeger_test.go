package otelx_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/otelx"
	"github.com/bellwethercache/bellwether/tier"
)

const (
	childEnv     = "OTELX_TEST_VALKEY" // its value is the server's URL
	childName    = "OTELX_TEST_SERVICE"
	childOTLP    = "OTELX_TEST_OTLP"
	childCallers = 10
)

// child is one process of the herd: it exports its spans and exits.
func child(valkeyURL string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpoint(os.Getenv(childOTLP)), otlptracehttp.WithInsecure())
	if err != nil {
		return fail(err)
	}
	tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(20_000)),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", os.Getenv(childName)))))
	memory, err := ristrettostore.New(nil)
	if err != nil {
		return fail(err)
	}
	store, err := valkeystore.Open(valkeyURL, nil)
	if err != nil {
		return fail(err)
	}
	c, err := cache.New(func(context.Context, string) (int, error) {
		<-time.After(300 * time.Millisecond) // the source
		return 1, nil
	}, &cache.Options[string, int]{Name: "x", Hooks: otelx.Hooks(&otelx.Options{CacheName: "x", TracerProvider: tp})},
		tier.Local(memory, nil), tier.Remote(store, &tier.RemoteOptions{Budget: time.Second}))
	if err != nil {
		return fail(err)
	}
	fmt.Println("ready")
	_, _ = fmt.Scanln() // until the parent says go
	var wg sync.WaitGroup
	for range childCallers {
		wg.Go(func() {
			if _, err := c.Get(ctx, "k"); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
	wg.Wait()
	_ = c.Close()
	if err := tp.Shutdown(ctx); err != nil {
		return fail(err)
	}
	return 0
}

// TestJaeger lets two processes stampede and asks a real Jaeger what it saw.
func TestJaeger(t *testing.T) {
	jaeger := startJaeger(t)
	valkey := servertest.Valkey(t)
	services := []string{"herd-1", "herd-2"}
	runHerd(t, valkey.URL(), jaeger.otlp, services)

	var spans []jaegerSpan
	deadline := time.Now().Add(20 * time.Second)
	for want := 2 * childCallers; ; { // each caller has a cache.get
		spans = spans[:0]
		for _, s := range services {
			spans = append(spans, jaeger.spans(t, s, nil)...)
		}
		if len(named(spans, "cache.get x")) == want {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Jaeger has %d gets of %d", len(named(spans, "cache.get x")), want)
		}
		<-time.After(50 * time.Millisecond)
	}
	for _, s := range spans {
		if len(s.Warnings) > 0 {
			t.Errorf("Jaeger warns of %s: %q", s.OperationName, s.Warnings)
		}
	}
	acquired, waits := named(spans, "cache.lock.acquire x"), named(spans, "cache.lock.wait x")
	t.Logf("%d spans: %d gets, %d fills, %d loads, %d acquisitions, %d waits", len(spans), len(named(spans, "cache.get x")),
		len(named(spans, "cache.fill x")), len(named(spans, "cache.load x")), len(acquired), len(waits))
	if n := len(named(spans, "cache.load x")); n != 1 {
		t.Errorf("%d loads, want 1", n)
	}
	if len(acquired) != 1 {
		t.Fatalf("%d acquisitions won, want 1", len(acquired))
	}
	checkWaits(t, spans, acquired[0], waits)

	other := services[0]
	if acquired[0].service == other {
		other = services[1]
	}
	found := jaeger.spans(t, other, map[string]string{otelx.AttrHolderTraceID: acquired[0].TraceID})
	if len(found) == 0 {
		t.Errorf("a search for the holder's trace id finds no wait of %s", other)
	}
}

// checkWaits follows each wait's link to the read that loads: at once, or over
// the read of its own process's leader, in whose trace is the wait for the other
// process.
func checkWaits(t *testing.T, spans []jaegerSpan, acquired jaegerSpan, waits []jaegerSpan) {
	t.Helper()
	read := inTrace(named(spans, "cache.get x"), acquired.TraceID)
	if len(waits) != 2*childCallers-1 {
		t.Errorf("%d waits, want one of every caller but the holder", len(waits))
	}
	byID := make(map[string]jaegerSpan)
	for _, s := range spans {
		byID[s.SpanID] = s
	}
	for _, w := range waits {
		to := byID[w.link()]
		if to.SpanID != read.SpanID && w.tag(otelx.AttrLockScope) == "process" {
			to = byID[inTrace(waits, to.TraceID).link()]
		}
		if to.SpanID != read.SpanID {
			t.Errorf("a wait of %s (%s) does not lead to the read that loads", w.service, w.tag(otelx.AttrLockScope))
		}
	}
}

// inTrace is the first of spans that is in the trace.
func inTrace(spans []jaegerSpan, id string) jaegerSpan {
	for _, s := range spans {
		if s.TraceID == id {
			return s
		}
	}
	return jaegerSpan{}
}

func runHerd(t *testing.T, valkeyURL, otlp string, services []string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var children []*exec.Cmd
	var gates []interface{ Close() error }
	for _, s := range services {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), childEnv+"="+valkeyURL, childName+"="+s, childOTLP+"="+otlp)
		cmd.Stderr = os.Stderr
		in, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscanln(out, new(string)); err != nil {
			t.Fatalf("child: %v", err)
		}
		children, gates = append(children, cmd), append(gates, in)
	}
	for _, g := range gates {
		_ = g.Close() // go
	}
	for _, cmd := range children {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("child: %v", err)
		}
	}
}

type jaegerServer struct{ otlp, query string }

// startJaeger starts the all-in-one from PATH or JAEGER_ALL_IN_ONE.
func startJaeger(t *testing.T) jaegerServer {
	t.Helper()
	bin := os.Getenv("JAEGER_ALL_IN_ONE")
	if bin == "" {
		bin = "all-in-one"
	}
	path, err := exec.LookPath(bin)
	if err != nil {
		servertest.Skip(t, "no Jaeger: go install github.com/jaegertracing/jaeger/cmd/all-in-one@v1.48.0, or name it in JAEGER_ALL_IN_ONE")
	}
	ports := freeAddrs(t, 11)
	j := jaegerServer{otlp: ports[0], query: ports[1]}
	cmd := exec.Command(path, "--collector.otlp.http.host-port="+j.otlp, "--query.http-server.host-port="+j.query,
		"--collector.otlp.grpc.host-port="+ports[2], "--query.grpc-server.host-port="+ports[3],
		"--collector.grpc-server.host-port="+ports[4], "--collector.http-server.host-port="+ports[5],
		"--admin.http.host-port="+ports[6], "--http-server.host-port="+ports[7],
		"--processor.jaeger-binary.server-host-port="+ports[8], "--processor.jaeger-compact.server-host-port="+ports[9],
		"--processor.zipkin-compact.server-host-port="+ports[10])
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		http.DefaultClient.CloseIdleConnections()
	})
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(50 * time.Millisecond) {
		if r, err := http.Get("http://" + j.query + "/api/services"); err == nil {
			_ = r.Body.Close()
			return j
		}
		if time.Now().After(deadline) {
			t.Fatal("Jaeger does not answer")
		}
	}
}

// freeAddrs holds all ports at once, so that they differ.
func freeAddrs(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
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

// spans returns a service's spans, of the traces that have the tags.
func (j jaegerServer) spans(t *testing.T, service string, tags map[string]string) (spans []jaegerSpan) {
	t.Helper()
	q := url.Values{"service": {service}, "limit": {"1000"}, "lookback": {"1h"}}
	if tags != nil {
		b, _ := json.Marshal(tags)
		q.Set("tags", string(b))
	}
	r, err := http.Get("http://" + j.query + "/api/traces?" + q.Encode())
	if err != nil {
		t.Fatal(err)
	}
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
