package main

import (
	"strings"
	"testing"
	"time"
)

func noEnv(string) string { return "" }

func TestFlagsDefaults(t *testing.T) {
	s, err := parseFlags(nil, noEnv)
	want := settings{
		requests: 100, threads: 10, cities: 1, processes: 1,
		protection: protectFull, lockTTL: 10 * time.Second, latency: 300 * time.Millisecond,
	}
	if err != nil || s != want {
		t.Errorf("no flags = %+v, %v, want %+v", s, err, want)
	}
}

func TestFlagsShortAndLong(t *testing.T) {
	short, err := parseFlags(strings.Fields("-r 7 -t 4 -c 3 -l 500 -f -v -i"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	long, err := parseFlags(strings.Fields("--requests=7 --threads 4 --cities 3 --lock-ttl 500ms --flush --verbose --interactive"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := settings{
		requests: 7, threads: 4, cities: 3, processes: 1, protection: protectFull,
		lockTTL: 500 * time.Millisecond, latency: 300 * time.Millisecond, flush: true, verbose: true, interactive: true,
	}
	if short != want || long != want {
		t.Errorf("short = %+v, long = %+v, want %+v", short, long, want)
	}
}

func TestFlagsBoundsAreInclusive(t *testing.T) {
	for _, args := range []string{
		"-r 1", "-r 10000", "-t 1", "-t 100", "-c 1", "-c 5", "-l 10", "-l 60000", "--latency 1ms", "--latency 10s",
		"--processes 1", "--processes 16 -t 16", "--processes 2 --kill-holder --latency 100ms",
		"--api http://127.0.0.1:1", "--api http://127.0.0.1:1 --api-key k", "--otlp http://127.0.0.1:4318",
		"--valkey valkey://127.0.0.1:1", "--protection none", "--protection compare", "--json -v",
	} {
		if _, err := parseFlags(strings.Fields(args), noEnv); err != nil {
			t.Errorf("%s: %v, want no error", args, err)
		}
	}
}

func TestFlagsRefused(t *testing.T) {
	for args, want := range map[string]string{
		"-r 0":             "from 1 to 10000",
		"-r 10001":         "from 1 to 10000",
		"-r many":          "from 1 to 10000",
		"-t 0":             "from 1 to 100",
		"-t 101":           "from 1 to 100",
		"-c 0":             "from 1 to 5",
		"-c 6":             "from 1 to 5",
		"-l 9":             "from 10 to 60000",
		"-l 60001":         "from 10 to 60000",
		"-l -5":            "from 10 to 60000",
		"-l soon":          "from 10 to 60000",
		"--processes 0":    "from 1 to 16",
		"--processes 17":   "from 1 to 16",
		"--latency 0":      "from 1 to 10000",
		"--latency 10001":  "from 1 to 10000",
		"--protection all": "one of none, naive, full, compare",
		"--nonsense":       "not defined",
		"extra":            "unexpected argument",
		"-r":               "needs an argument",

		"--processes 11":     "at least as many --threads",
		"--processes 4 -r 3": "at least as many --requests",
		"--kill-holder":      "--processes 2 or more",
		"--kill-holder --processes 2 --protection none":    "naive or full, not none",
		"--kill-holder --processes 2 --protection compare": "naive or full, not compare",
		"--kill-holder --processes 2 --latency 99ms":       "at least 100ms",
		"--embedded --valkey valkey://127.0.0.1:1":         "exclude each other",
		"--api-key k":                           "needs --api",
		"--api http://127.0.0.1:1 --latency 1s": "excludes --api",
		"--json -i":                             "exclude each other",
		"--valkey=":                             "needs a URL",
		"--valkey http://127.0.0.1":             "scheme",
		"--api ftp://127.0.0.1":                 "http or https",
		"--api=":                                "http or https",
		"--otlp 127.0.0.1:4318":                 "http or https",
	} {
		_, err := parseFlags(strings.Fields(args), noEnv)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a sentence with %q", args, err, want)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q is more than one line", args, err)
		}
	}
}

func TestFlagsFromTheEnvironment(t *testing.T) {
	env := func(name string) string {
		return map[string]string{"VALKEY_URL": "valkey://127.0.0.1:7", "OPENWEATHERMAP_API_KEY": "k"}[name]
	}
	if s, err := parseFlags([]string{"--api", "http://127.0.0.1:1/"}, env); err != nil ||
		s.valkey != "valkey://127.0.0.1:7" || !s.valkeyFromEnv || s.apiKey != "k" || s.api != "http://127.0.0.1:1" {
		t.Errorf("environment = %+v, %v", s, err)
	}
	if s, err := parseFlags([]string{"--valkey", "valkey://127.0.0.1:8"}, env); err != nil || s.valkey != "valkey://127.0.0.1:8" || s.apiKey != "" {
		t.Errorf("flag over environment = %+v, %v", s, err)
	}
	if s, err := parseFlags([]string{"--embedded"}, env); err != nil || s.valkey != "" {
		t.Errorf("--embedded over environment = %+v, %v", s, err)
	}
	bad := func(string) string { return "nonsense" }
	if _, err := parseFlags(nil, bad); err == nil || !strings.Contains(err.Error(), "VALKEY_URL") {
		t.Errorf("bad VALKEY_URL: %v, want an error that names it", err)
	}
}

// A mistake costs one line and runs nothing.
func TestFlagsMistakesRunNothing(t *testing.T) {
	for _, args := range []string{"-r 0", "--kill-holder", "--json -i"} {
		code, out, errOut := runDemo(t, "", strings.Fields(args)...)
		if code != exitUsage || out != "" || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%s: exit %d, stdout %q, stderr %q, want 2, nothing, one line", args, code, out, errOut)
		}
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	code, out, _ := runDemo(t, "", "--help")
	if code != exitOK {
		t.Errorf("--help: exit %d, want 0", code)
	}
	for _, name := range strings.Fields(`-r --requests -t --threads -c --cities -l --lock-ttl -i --interactive -v --verbose -f --flush
		--processes --protection --latency --kill-holder --otlp --json --valkey --embedded --api --api-key`) {
		if !strings.Contains(out, name) {
			t.Errorf("--help does not mention %s", name)
		}
	}
}
