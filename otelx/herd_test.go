package otelx_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/otelx"
	"github.com/bellwethercache/bellwether/tier"
)

const (
	childEnv  = "OTELX_TEST_VALKEY" // its value is the server's URL
	childName = "OTELX_TEST_SERVICE"
	childOTLP = "OTELX_TEST_OTLP"

	sourceTime = 300 * time.Millisecond
	hangs      = "hangs" // of this key the first process's source never answers
)

// child is one process of the herd. It does what it is told, a line each, and
// says "loading" and "waiting" when that begins, and "done".
func child(valkeyURL string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(os.Getenv(childOTLP)+"/v1/traces"))
	if err != nil {
		return fail(err)
	}
	name := os.Getenv(childName)
	tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(1<<15)),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", name))))
	c, err := childCache(valkeyURL, name, tp)
	if err != nil {
		return fail(err)
	}
	// A lease that is taken before its holder is subscribed cannot be taken over
	// before its end.
	for c.Stats().Tiers[0].WakeMode != backend.WakeLive {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fail(errors.New("the server does not tell who lives"))
		}
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var key string
		var callers, patience int // ms
		if _, err := fmt.Sscan(in.Text(), &key, &callers, &patience); err != nil {
			return fail(err)
		}
		get(ctx, c, key, callers, time.Duration(patience)*time.Millisecond)
		fmt.Println("done")
	}
	_ = c.Close()
	if err := tp.Shutdown(ctx); err != nil {
		return fail(err)
	}
	return 0
}

func childCache(valkeyURL, name string, tp *sdktrace.TracerProvider) (*cache.Cache[string, int], error) {
	memory, err := ristrettostore.New(nil)
	if err != nil {
		return nil, err
	}
	store, err := valkeystore.Open(valkeyURL, nil)
	if err != nil {
		return nil, err
	}
	waiting := cache.Hooks{Lock: lock.Hooks{Retry: func(context.Context, lock.Retry) { fmt.Println("waiting") }}}
	return cache.New(func(ctx context.Context, key string) (int, error) {
		fmt.Println("loading")
		var answer <-chan time.Time
		if key != hangs || name != "herd-1" {
			answer = time.After(sourceTime)
		}
		select {
		case <-answer:
			return 1, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}, &cache.Options[string, int]{
		Name:  "x",
		Lease: lock.Options{Owner: name},
		Hooks: otelx.Hooks(&otelx.Options{CacheName: "x", TracerProvider: tp, Next: waiting}),
	}, tier.Local(memory, nil), tier.Remote(store, &tier.RemoteOptions{Budget: time.Second}))
}

// get asks for key, from many goroutines at once. What comes of it is for the
// spans to say.
func get(ctx context.Context, c *cache.Cache[string, int], key string, callers int, patience time.Duration) {
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() { _, _ = c.Get(ctx, key) })
	}
	wg.Wait()
}

// member is a process of the herd, seen from the test.
type member struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	said chan string // closed when it says no more
}

// startHerd starts processes that send their spans to otlp.
func startHerd(t *testing.T, valkeyURL, otlp string, n int) (herd []*member) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		m := &member{name: fmt.Sprintf("herd-%d", i+1), cmd: exec.Command(exe), said: make(chan string, 1000)}
		m.cmd.Env = append(os.Environ(), childEnv+"="+valkeyURL, childName+"="+m.name, childOTLP+"="+otlp)
		m.cmd.Stderr = os.Stderr
		if m.in, err = m.cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		out, err := m.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { // ends with the process
			defer close(ended)
			defer close(m.said)
			for lines := bufio.NewScanner(out); lines.Scan(); {
				m.said <- lines.Text()
			}
		}()
		t.Cleanup(func() {
			_ = m.cmd.Process.Kill() // it may have ended
			<-ended
			_ = m.cmd.Wait()
		})
		herd = append(herd, m)
	}
	for _, m := range herd {
		m.await(t, "ready")
	}
	return herd
}

// get tells the process to ask for key.
func (m *member) get(t *testing.T, key string, callers int, patience time.Duration) {
	t.Helper()
	if _, err := fmt.Fprintln(m.in, key, callers, patience.Milliseconds()); err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
}

// await waits until the process says so.
func (m *member) await(t *testing.T, what string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-m.said:
			if !ok {
				t.Fatalf("%s ended before it said %q", m.name, what)
			}
			if strings.TrimSpace(line) == what {
				return
			}
		case <-late:
			t.Fatalf("%s does not say %q", m.name, what)
		}
	}
}

// end lets the processes send what they have, and end.
func end(t *testing.T, herd []*member) {
	t.Helper()
	for _, m := range herd {
		_ = m.in.Close()
	}
	for _, m := range herd {
		for range m.said { // until it has ended
		}
		if err := m.cmd.Wait(); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
	}
}
