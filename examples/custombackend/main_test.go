package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConforms is all that the author of a store has to write.
func TestConforms(t *testing.T) {
	backendtest.RunStore(t, backendtest.StoreHarness{
		New:    func(tb testing.TB) backend.Store { return &dir{path: tb.TempDir()} },
		Bubble: true,
	})
}

func TestRunSaysWhatItFallsBackTo(t *testing.T) {
	var out strings.Builder
	if err := run(&out, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`fallback: cache "users": the farthest store does not lease (backend.Leaser), so each process loads for itself`,
		"(backend.Swapper), so Expire deletes",
		"(backend.Clock), so ages are measured with each machine's own clock",
		`the first gets "user 7, loaded by the first"`,
		`the second gets "user 7, loaded by the first"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it says\n%s\nwant %q", out.String(), want)
		}
	}
	if strings.Contains(out.String(), "users: fallback") || strings.Count(out.String(), "(backend.Leaser)") != 1 {
		t.Errorf("it says\n%s\nwant each fallback once", out.String())
	}
}

// brokenEnv names the mistake that the store of TestBroken makes.
const brokenEnv = "CUSTOMBACKEND_BROKEN"

// broken is a dir with a mistake, such as one makes in a first version.
type broken struct {
	dir
	mistake string
}

func (b *broken) Get(ctx context.Context, key string) ([]byte, error) {
	if b.mistake == "ignores contexts" {
		ctx = context.Background()
	}
	v, err := b.dir.Get(ctx, key)
	switch {
	case b.mistake == "nil for a miss" && errors.Is(err, backend.ErrMiss):
		return nil, nil
	case b.mistake == "wraps the miss" && errors.Is(err, backend.ErrMiss):
		return nil, fmt.Errorf("get %q: %w", filepath.Base(b.path), err)
	}
	return v, err
}

func (b *broken) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	switch b.mistake {
	case "never ends":
		ttl = 1000 * time.Hour
	case "refuses a short ttl":
		if ttl < time.Millisecond {
			return errors.New("invalid ttl")
		}
	case "refuses what is empty":
		if len(value) == 0 {
			return errors.New("no value")
		}
	}
	return b.dir.Set(ctx, key, value, ttl)
}

func (b *broken) Delete(ctx context.Context, keys ...string) error {
	if b.mistake == "deletes one key" {
		keys = keys[:min(len(keys), 1)]
	}
	return b.dir.Delete(ctx, keys...)
}

func (b *broken) Close() error {
	if b.mistake == "stays open" {
		return nil
	}
	return b.dir.Close()
}

// TestBroken is run by TestTheKitSaysWhatIsWrong, as a process of its own.
func TestBroken(t *testing.T) {
	mistake := os.Getenv(brokenEnv)
	if mistake == "" {
		return
	}
	backendtest.RunStore(t, backendtest.StoreHarness{
		New:    func(tb testing.TB) backend.Store { return &broken{dir: dir{path: tb.TempDir()}, mistake: mistake} },
		Bubble: true,
	})
}

// TestTheKitSaysWhatIsWrong reads what go test prints as the author of a broken
// store would: the call, what it gave, what it should have, and the rule.
func TestTheKitSaysWhatIsWrong(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for mistake, says := range map[string][]string{
		"nil for a miss": {
			`Get("k") = "", <nil>, want backend.ErrMiss: a value of no bytes is a value`,
			"the rule: Get of a key that was never set returns backend.ErrMiss, bare",
		},
		"wraps the miss": {
			`, want backend.ErrMiss itself, not an error that wraps it`,
			"the rule: Get of a key that was never set returns backend.ErrMiss, bare",
		},
		"never ends": {
			`Get("k") = "v", <nil>, want backend.ErrMiss`,
			"the rule: a value is there until its ttl is over, and not after",
		},
		"refuses a short ttl": {
			`Set("k", 1 bytes, ttl 1ns) = invalid ttl, want nil`,
			"the rule: a ttl below the place's unit is rounded up to one: no error, and no eternal life",
		},
		"refuses what is empty": {
			`Set("k", 0 bytes, ttl 1h0m0s) = no value, want nil`,
			"the rule: Get returns the bytes of the last Set, whatever they are; empty is a value",
		},
		"deletes one key": {
			`Get("b") = "b", <nil>, want backend.ErrMiss`,
			"the rule: Delete removes all its keys; absent ones are fine; others stay",
		},
		"ignores contexts": {
			`Get with a context that has ended = <nil>, want an error that is no miss`,
			"the rule: a call whose context has ended returns an error",
		},
		"stays open": {
			`Set after Close = <nil>, want an error that is no miss, such as backend.ErrClosed`,
			"the rule: Close is idempotent, and calls after it return an error that is not a miss",
		},
	} {
		t.Run(mistake, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), exe, "-test.run", "^TestBroken$")
			cmd.Env = append(os.Environ(), brokenEnv+"="+mistake)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the kit finds nothing wrong:\n%s", out)
			}
			for _, want := range says {
				if !strings.Contains(string(out), want) {
					t.Errorf("the kit says\n%s\nwant %q", out, want)
				}
			}
		})
	}
}
