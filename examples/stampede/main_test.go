package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// mainEnv makes the test binary be the demo: tests run it as a process of its
// own, and it runs itself as its workers.
const mainEnv = "STAMPEDE_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" || os.Getenv(mainEnv) != "" {
		main() // exits, unless it is a worker that has ended well
		return
	}
	goleak.VerifyTestMain(m)
}

// demo is the demo as a process.
func demo(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, exe, args...)
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); name != "VALKEY_URL" {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, mainEnv+"=1", "TMPDIR="+t.TempDir())
	return cmd
}

// runDemo runs the demo to its end.
func runDemo(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := demo(t, args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}
