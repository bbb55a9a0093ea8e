package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellwethercache/bellwether/internal/valkeyconn"
)

// settings are what the user asked for.
type settings struct {
	requests, threads, cities, processes int

	protection    string
	lockTTL       time.Duration
	latency       time.Duration
	valkey        string
	valkeyFromEnv bool
	embedded      bool
	api, apiKey   string
	otlp          string
	report        string

	flush, verbose, interactive, killHolder, json bool
}

const usage = `Watch a cache stampede, and how it is stopped: a herd of requests for the weather
of one city at once, with a slow weather API behind a cache.

Usage:  go run ./examples/stampede [flags]

The herd
  -r, --requests N       requests for each city, 1 to 10000 (default 100)
  -t, --threads N        that run at once, 1 to 100 (default 10)
  -c, --cities N         one after the other, 1 to 5 (default 1)
      --processes N      real processes that share the herd, 1 to 16 (default 1)
      --latency D        of the built-in API, ±20 %; 1ms to 10s (default 300ms)

The protection
      --protection P     none     cache-aside, nothing else
                         naive    the textbook's lock: SET NX PX, a fixed TTL, plain DEL
                         full     Bellwether (default)
                         compare  all three, side by side; flushes between them
  -l, --lock-ttl MS      of the lock, in milliseconds, 10 to 60000 (default 10000)
      --kill-holder      kill -9 the process that holds the lock, in mid-load;
                         needs --processes 2 or more; flushes first

The servers
      --valkey URL       use this Valkey (or set VALKEY_URL); else a valkey-server on PATH
                         is started, else an embedded one serves. A cluster is
                         valkey+cluster://host:port,host:port, and with Sentinels
                         it is valkey+sentinel://host:port,host:port/mymaster
      --embedded         use the embedded one anyway
  -f, --flush            first delete what earlier runs left (only the demo's own keys)
      --api URL          ask this OpenWeatherMap instead of the built-in API
      --api-key KEY      for it (or set OPENWEATHERMAP_API_KEY)
      --otlp URL         send traces and metrics here, OTLP over HTTP

The output
  -v, --verbose          a line for every request
      --json             one JSON object instead of text
      --report FILE      draw it as well: one HTML page, for any browser, phone or screen reader
  -i, --interactive      ask for the settings, then offer to run again
  -h, --help             this text

Exit status: 0 the stampede was prevented (none and naive need not prevent it),
1 it was not, or something broke, 2 the flags make no sense, 130 interrupted.
`

// usageError is a mistake in the flags.
type usageError struct{ error }

// parseFlags reads the command line; getenv is os.Getenv.
func parseFlags(args []string, getenv func(string) string) (settings, error) {
	s := settings{
		requests: 100, threads: 10, cities: 1, processes: 1,
		protection: protectFull, lockTTL: 10 * time.Second, latency: 300 * time.Millisecond,
	}
	fs := flag.NewFlagSet("stampede", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	both := func(v flag.Value, names ...string) {
		for _, name := range names {
			fs.Var(v, name, "")
		}
	}
	both(&whole{&s.requests, 1, 10000}, "r", "requests")
	both(&whole{&s.threads, 1, 100}, "t", "threads")
	both(&whole{&s.cities, 1, 5}, "c", "cities")
	both(&whole{&s.processes, 1, 16}, "processes")
	both(&millis{&s.lockTTL, 10 * time.Millisecond, time.Minute}, "l", "lock-ttl")
	both(&millis{&s.latency, time.Millisecond, 10 * time.Second}, "latency")
	both(&oneOf{&s.protection, []string{protectNone, protectNaive, protectFull, protectCompare}}, "protection")
	for p, names := range map[*bool][]string{
		&s.flush: {"f", "flush"}, &s.verbose: {"v", "verbose"}, &s.interactive: {"i", "interactive"},
		&s.killHolder: {"kill-holder"}, &s.embedded: {"embedded"}, &s.json: {"json"},
	} {
		for _, name := range names {
			fs.BoolVar(p, name, false, "")
		}
	}
	fs.StringVar(&s.valkey, "valkey", "", "")
	fs.StringVar(&s.api, "api", "", "")
	fs.StringVar(&s.apiKey, "api-key", "", "")
	fs.StringVar(&s.otlp, "otlp", "", "")
	fs.StringVar(&s.report, "report", "", "")
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return s, err
	case err != nil:
		return s, usageError{err}
	case fs.NArg() > 0:
		return s, usageError{fmt.Errorf("unexpected argument %q: everything is a flag", fs.Arg(0))}
	}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if err := s.contradictions(given); err != nil {
		return s, usageError{err}
	}
	return s, s.complete(getenv)
}

// contradictions returns a sentence on flags that do not go together.
func (s *settings) contradictions(given map[string]bool) error {
	switch {
	case s.processes > s.threads:
		return fmt.Errorf("--processes %d needs at least as many --threads, which is %d", s.processes, s.threads)
	case s.processes > s.requests:
		return fmt.Errorf("--processes %d needs at least as many --requests, which is %d", s.processes, s.requests)
	case s.killHolder && s.processes < 2:
		return errors.New("--kill-holder needs --processes 2 or more: somebody must be left")
	case s.killHolder && (s.protection == protectNone || s.protection == protectCompare):
		return fmt.Errorf("--kill-holder needs --protection naive or full, not %s", s.protection)
	case s.killHolder && s.latency < 100*time.Millisecond:
		return fmt.Errorf("--kill-holder needs a --latency of at least 100ms to strike in mid-load, not %v", s.latency)
	case s.embedded && given["valkey"]:
		return errors.New("--embedded and --valkey exclude each other")
	case given["api-key"] && !given["api"]:
		return errors.New("--api-key needs --api: the built-in API takes no key")
	case given["latency"] && given["api"]:
		return errors.New("--latency belongs to the built-in API and excludes --api")
	case s.json && s.interactive:
		return errors.New("--json and --interactive exclude each other")
	case given["report"] && !writable(s.report):
		return fmt.Errorf("--report must name a file in a folder that exists, such as stampede.html, not %q", s.report)
	case given["valkey"] && s.valkey == "":
		return errors.New("--valkey needs a URL, such as valkey://127.0.0.1:6379")
	case given["api"] && !webURL(s.api):
		return fmt.Errorf("--api must be an http or https URL, not %q", s.api)
	case given["otlp"] && !webURL(s.otlp):
		return fmt.Errorf("--otlp must be an http or https URL, such as http://127.0.0.1:4318, not %q", s.otlp)
	}
	return nil
}

// complete takes from the environment what the flags left open.
func (s *settings) complete(getenv func(string) string) error {
	if s.valkey == "" && !s.embedded {
		s.valkey = getenv("VALKEY_URL")
		s.valkeyFromEnv = s.valkey != ""
	}
	if s.valkey != "" {
		if _, err := valkeyconn.Options(s.valkey); err != nil {
			from := "--valkey"
			if s.valkeyFromEnv {
				from = "VALKEY_URL"
			}
			return usageError{fmt.Errorf("%s: %w", from, err)}
		}
	}
	if s.api != "" && s.apiKey == "" {
		s.apiKey = getenv("OPENWEATHERMAP_API_KEY")
	}
	s.api = strings.TrimRight(s.api, "/")
	return nil
}

// writable reports whether path can be a file, before a herd runs for nothing.
func writable(path string) bool {
	if info, err := os.Stat(path); err == nil {
		return info.Mode().IsRegular()
	}
	info, err := os.Stat(filepath.Dir(path))
	return path != "" && err == nil && info.IsDir()
}

func webURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// whole is a flag for a whole number within bounds.
type whole struct {
	p        *int
	min, max int
}

func (w *whole) String() string { return "" }

func (w *whole) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < w.min || n > w.max {
		return fmt.Errorf("must be a whole number from %d to %d", w.min, w.max)
	}
	*w.p = n
	return nil
}

// millis is a flag for a duration: a bare number is milliseconds.
type millis struct {
	p        *time.Duration
	min, max time.Duration
}

func (m *millis) String() string { return "" }

func (m *millis) Set(text string) error {
	d, err := time.ParseDuration(text)
	if n, nerr := strconv.Atoi(text); nerr == nil {
		d, err = time.Duration(min(max(n, -1), 1e9))*time.Millisecond, nil
	}
	if err != nil || d < m.min || d > m.max {
		return fmt.Errorf("must be milliseconds from %d to %d, or a duration such as 300ms", m.min.Milliseconds(), m.max.Milliseconds())
	}
	*m.p = d
	return nil
}

// oneOf is a flag for a choice of words.
type oneOf struct {
	p     *string
	words []string
}

func (o *oneOf) String() string { return "" }

func (o *oneOf) Set(text string) error {
	if !slices.Contains(o.words, text) {
		return fmt.Errorf("must be one of %s", strings.Join(o.words, ", "))
	}
	*o.p = text
	return nil
}
