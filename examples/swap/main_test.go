package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

// mainEnv makes the test binary be the program.
const mainEnv = "SWAP_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

var codecNames = []string{
	"json", "cbor", "msgpack", "gob", "protobuf", "string", "json+zstd", "cbor+s2", "json+aead", "cbor+zstd+aead", "protobuf+s2",
}

var secret = strings.Repeat("5e", 32)

// answers is what the program prints, with whatever backend and codec.
func answers(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	if _, err := run(t.Context(), nil, &out, &strings.Builder{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 12 || !strings.Contains(out.String(), `5: "Product № 5\n"`) {
		t.Fatalf("it answers\n%s\nwant two rounds of 6 lines", out.String())
	}
	return out.String()
}

// TestSwap: the same answers from all backends with all codecs. The codecs follow
// one another on what the one before has left: old entries miss, nothing fails,
// nothing is flushed; and a second run with the same codec loads nothing where
// there is a place that outlives the first.
func TestSwap(t *testing.T) {
	t.Setenv("SWAP_SECRET", secret)
	want := answers(t)
	places := []string{
		"--budget", "20s", // a busy machine is no outage
		"--valkey", servertest.Valkey(t).URL(), "--redis", servertest.Redis(t).URL(),
		"--memcached", servertest.Memcached(t).Addr(), "--postgres", servertest.Postgres(t).URL(), "--dir", t.TempDir(),
	}
	for _, b := range []string{
		"memory", "otter", "disk", "valkey", "redis", "memcached", "postgres",
		"memory+disk", "memory+valkey", "memory+disk+valkey", "otter,memcached", "memory+postgres",
	} {
		lasts := b != "memory" && b != "otter"
		namespace := strings.NewReplacer("+", "_", ",", "_").Replace(b)
		t.Run(b, func(t *testing.T) {
			for _, c := range codecNames {
				args := append([]string{"--backend", b, "--codec", c, "--namespace", namespace}, places...)
				first := answered(t, want, args)
				if first.Loads != 6 || lasts && c != codecNames[0] && rejected(&first) == 0 {
					t.Errorf("%s: %d loads, %d entries refused; want each key loaded once, because the other codec's entries are misses",
						c, first.Loads, rejected(&first))
				}
				again := answered(t, want, args)
				if lasts && again.Loads != 0 || !lasts && again.Loads != 6 {
					t.Errorf("%s, again: %d loads, want none where something lasts", c, again.Loads)
				}
			}
		})
	}
}

// answered runs the program, and wants its answers and no error in any tier.
func answered(t *testing.T, want string, args []string) cache.Stats {
	t.Helper()
	var out, log strings.Builder
	stats, err := run(t.Context(), args, &out, &log)
	if err != nil || out.String() != want {
		t.Fatalf("%v: %v, it answers\n%s\nwant\n%s\n%s", args[:4], err, out.String(), want, log.String())
	}
	for i, s := range stats.Tiers {
		if s.Errors != 0 || s.Corrupt != 0 || s.Skipped != 0 {
			t.Errorf("%v: Stats of tier %d from behind memory = %+v, want no error", args[:4], i+1, s)
		}
	}
	return stats
}

// rejected counts entries of another codec.
func rejected(s *cache.Stats) (n uint64) {
	for _, t := range s.Tiers {
		n += t.Foreign
	}
	return n
}

// TestOtherProcess: a real process with another codec, and then with the same.
func TestOtherProcess(t *testing.T) {
	t.Setenv("SWAP_SECRET", secret)
	want := answers(t)
	url := servertest.Valkey(t).URL()
	for i, tc := range []struct{ codec, says string }{
		{"json", "12 reads, 6 loads"}, {"cbor+zstd+aead", "12 reads, 6 loads"}, {"cbor+zstd+aead", "12 reads, 0 loads"},
	} {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), exe, "--backend", "memory+valkey", "--codec", tc.codec, "--budget", "20s")
		cmd.Env = append(os.Environ(), mainEnv+"=1", "VALKEY_URL="+url)
		var out, log strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &log
		if err := cmd.Run(); err != nil || out.String() != want || !strings.Contains(log.String(), tc.says) {
			t.Errorf("process %d: %v, it answers\n%s\nand says\n%s\nwant %q", i+1, err, out.String(), log.String(), tc.says)
		}
	}
}

func TestFlagsThatMakeNoSense(t *testing.T) {
	t.Setenv("SWAP_SECRET", "")
	for args, want := range map[string]string{
		"--backend floppy":        "backend floppy: there is none of this name",
		"--backend valkey+memory": "Local tiers first",
		"--backend ,":             "none given",
		"--codec xml":             "codec xml: no codec of this name",
		"--codec json+rot13":      "codec rot13: no wrapper of this name",
		"--codec json+aead":       "set SWAP_SECRET to 64 hexadecimal digits",
		"--codec":                 "needs an argument",
		"--backend memory+disk --dir /nonexistent":                  "backend disk",
		"--backend postgres":                                        "needs the URL of a database",
		"--backend postgres+postgres --postgres postgres://[::1]:1": "backend postgres",
	} {
		var log strings.Builder
		_, err := run(context.Background(), strings.Fields(args), &log, &log)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// TestHelpNamesEverything: each flag, place, codec and variable, and its examples
// are flags that are understood.
func TestHelpNamesEverything(t *testing.T) {
	var log strings.Builder
	if _, err := run(t.Context(), []string{"--help"}, &log, &log); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("--help = %v", err)
	}
	text := log.String()
	for _, name := range []string{
		"--backend", "--codec", "--namespace", "--dir", "--budget", "--valkey", "--redis", "--memcached", "--postgres",
		"VALKEY_URL", "REDIS_URL", "MEMCACHED", "POSTGRES_URL", "SWAP_SECRET",
		" memory ", " otter ", " disk ", "json, cbor, msgpack, gob, protobuf or string", "zstd or s2", "aead",
	} {
		if !strings.Contains(text, name) {
			t.Errorf("the help does not name %q", name)
		}
	}
	examples := 0
	for line := range strings.Lines(text) {
		_, args, ok := strings.Cut(line, "go run ./examples/swap --")
		if !ok {
			continue
		}
		examples++
		t.Setenv("SWAP_SECRET", secret)
		s, err := parse(strings.Fields("--"+args), &log)
		if err != nil {
			t.Errorf("%s: %v", args, err)
		}
		if _, err := codecOf(&s); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
	if examples < 5 {
		t.Errorf("%d examples in the help; has its form changed?", examples)
	}
}
