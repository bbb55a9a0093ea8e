// Observe shows what a cache stampede looks like from outside: a herd of
// processes, with traces in Jaeger and metrics in Prometheus. See --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	if os.Getenv(workerEnv) != "" {
		signal.Ignore(os.Interrupt) // a Ctrl-C ends the parent, which ends us
		if serveWorker(os.Stdin, os.Stdout) != nil {
			os.Exit(exitFailed) // the parent has been told why
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `See a cache stampede in Jaeger and Prometheus: a herd of processes plays the same
scenes over and over, and each scene says where to look.

Usage:  go run ./examples/observe [flags]

  --for D            how long; 0, the default, is until Ctrl-C
  --processes N      of the herd, 3 to 9 (default 3)
  --rate N           reads a second and process that go on all the time (default 200)
  --latency D        of the source, ±20 %; 10ms to 5s (default 300ms)

What it finds it starts, on free loopback ports, and ends with itself: valkey-server
(else an embedded one serves), Jaeger's all-in-one, prometheus. Or name what runs:

  --valkey URL       use this Valkey
  --embedded         use the embedded one anyway
  --otlp URL         send traces here, OTLP over HTTP; starts no Jaeger
  --jaeger URL       where that Jaeger's pages are (default http://localhost:16686)
  --metrics H:P      serve /metrics on this address, and those of the other processes on
                     the ports after it; starts no Prometheus
`

// settings are what the user asked for.
type settings struct {
	lasts, latency               time.Duration
	processes, rate              int
	valkey, otlp, jaeger, listen string
	embedded                     bool
}

func parseFlags(args []string) (settings, error) {
	var s settings
	fs := flag.NewFlagSet("observe", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.DurationVar(&s.lasts, "for", 0, "")
	fs.DurationVar(&s.latency, "latency", 300*time.Millisecond, "")
	fs.IntVar(&s.processes, "processes", 3, "")
	fs.IntVar(&s.rate, "rate", 200, "")
	fs.StringVar(&s.valkey, "valkey", "", "")
	fs.BoolVar(&s.embedded, "embedded", false, "")
	fs.StringVar(&s.otlp, "otlp", "", "")
	fs.StringVar(&s.jaeger, "jaeger", "http://localhost:16686", "")
	fs.StringVar(&s.listen, "metrics", "", "")
	if err := fs.Parse(args); err != nil {
		return s, err
	}
	s.otlp, s.jaeger = strings.TrimRight(s.otlp, "/"), strings.TrimRight(s.jaeger, "/")
	switch {
	case fs.NArg() > 0:
		return s, fmt.Errorf("%q is not a flag", fs.Arg(0))
	case s.lasts < 0:
		return s, errors.New("--for must not be negative")
	case s.processes < 3 || s.processes > 9:
		return s, errors.New("--processes must be 3 to 9")
	case s.rate < 0 || s.rate > 5000:
		return s, errors.New("--rate must be 0 to 5000")
	case s.latency < 10*time.Millisecond || s.latency > 5*time.Second:
		return s, errors.New("--latency must be 10ms to 5s")
	case s.valkey != "" && s.embedded:
		return s, errors.New("--valkey and --embedded exclude each other")
	}
	return s, nil
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, out, errw io.Writer) int {
	s, err := parseFlags(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(errw, "observe: %v\n", err)
		return exitUsage
	}
	if s.lasts > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.lasts)
		defer cancel()
	}
	if err := show(ctx, &s, out, errw); err != nil && ctx.Err() == nil {
		fmt.Fprintf(errw, "observe: %v\n", err)
		return exitFailed
	}
	return exitOK // its end by the clock or Ctrl-C is a good one
}

// show starts everything, plays until ctx ends, and ends everything.
func show(ctx context.Context, s *settings, out, errw io.Writer) error {
	place, err := openPlace(ctx, s)
	if err != nil {
		return err
	}
	defer place.close()
	h := newHerd(s, place, errw)
	defer h.stop()
	if err := h.fill(ctx); err != nil {
		return err
	}
	if err := place.watch(ctx, h.metrics()); err != nil {
		return err
	}
	place.describe(out, h.metrics())
	d, err := newDirector(ctx, h, place, out)
	if err != nil {
		return err
	}
	defer d.close()
	return d.play(ctx)
}
