package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// mainEnv makes the test binary be the demo, which runs itself as its workers.
const mainEnv = "OBSERVE_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" || os.Getenv(mainEnv) != "" {
		main() // exits, unless it is a worker that has ended well
		return
	}
	goleak.VerifyTestMain(m)
}

// demo is the demo as a process, and what it has printed so far.
type demo struct {
	cmd *exec.Cmd
	tmp string // its temporary folder

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and made anew with each line
	ended chan struct{}
	errs  bytes.Buffer // to be read after its end
}

// startDemo starts the demo, with some of the environment changed.
func startDemo(t *testing.T, env []string, args ...string) *demo {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{cmd: exec.Command(exe, args...), tmp: t.TempDir(), more: make(chan struct{}), ended: make(chan struct{})}
	d.cmd.Env = append(append(os.Environ(), mainEnv+"=1", "TMPDIR="+d.tmp), env...)
	d.cmd.Stderr = &d.errs
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go d.read(out)
	t.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			_ = d.cmd.Process.Signal(syscall.SIGTERM) // so that it ends those that it has started
			d.wait(t)
		}
	})
	return d
}

func (d *demo) read(out io.Reader) {
	defer close(d.ended)
	for s := bufio.NewScanner(out); s.Scan(); {
		d.mu.Lock()
		d.lines = append(d.lines, s.Text())
		close(d.more)
		d.more = make(chan struct{})
		d.mu.Unlock()
	}
}

// line waits for a line with all of words after line from, and returns its
// number and text.
func (d *demo) line(t *testing.T, from int, words ...string) (int, string) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		d.mu.Lock()
		lines, more := d.lines, d.more
		d.mu.Unlock()
	next:
		for i := from; i < len(lines); i++ {
			for _, w := range words {
				if !strings.Contains(lines[i], w) {
					continue next
				}
			}
			return i, lines[i]
		}
		select {
		case <-more:
		case <-d.ended:
			t.Fatalf("the demo ended before it said %q:\n%s", words, strings.Join(lines, "\n"))
		case <-late:
			t.Fatalf("the demo does not say %q:\n%s", words, strings.Join(lines, "\n"))
		}
	}
}

// url is the address at the end of the first such line.
func (d *demo) url(t *testing.T, from int, words ...string) string {
	t.Helper()
	_, line := d.line(t, from, append(words, "http://")...)
	return line[strings.Index(line, "http://"):]
}

// wait waits for its end and returns the exit status.
func (d *demo) wait(t *testing.T) int {
	t.Helper()
	late, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	select {
	case <-d.ended:
	case <-late.Done():
		_ = d.cmd.Process.Kill()
		t.Error("the demo does not end")
		<-d.ended
	}
	_ = d.cmd.Wait()
	return d.cmd.ProcessState.ExitCode()
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{
		{"--for", "-1s"},
		{"--processes", "2"},
		{"--processes", "10"},
		{"--rate", "-1"},
		{"--latency", "1ms"},
		{"--embedded", "--valkey", "valkey://127.0.0.1:1"},
		{"--nonsense"},
		{"nonsense"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != exitUsage || !strings.HasPrefix(errs.String(), "observe: ") {
			t.Errorf("%q: exit status %d, %q", args, code, errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &out, &errs); code != exitOK || out.String() != usage {
		t.Errorf("--help: exit status %d, %q", code, out.String())
	}
}
