package servertest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Daemon is a server of a kind that this package only starts and stops.
type Daemon struct {
	tb      testing.TB
	name    string
	addr    string
	command func(addr string) *exec.Cmd
	ready   func(addr string) bool
	ending  syscall.Signal // ends it without warning, its children too
	cmd     *exec.Cmd      // nil after Kill
	done    chan struct{}  // closed when the process has ended
}

// run starts d on a free port and stops it with the test.
func (d *Daemon) run() {
	d.tb.Helper()
	var err error
	for range 5 { // the port may be taken between our look and the server's
		d.addr = freeAddr(d.tb)
		if err = d.start(); err == nil {
			d.tb.Cleanup(d.stop)
			return
		}
	}
	d.tb.Fatalf("%s does not start: %v", d.name, err)
}

// Addr is host:port.
func (d *Daemon) Addr() string { return d.addr }

// Pause stops the server's processes: it accepts connections and answers
// nothing.
func (d *Daemon) Pause() { d.tb.Helper(); d.signalAll(syscall.SIGSTOP) }

// Resume undoes Pause.
func (d *Daemon) Resume() { d.tb.Helper(); d.signalAll(syscall.SIGCONT) }

// Kill ends the server without warning.
func (d *Daemon) Kill() {
	d.tb.Helper()
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Signal(d.ending)
	select {
	case <-d.done:
	case <-time.After(10 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.done
	}
	d.cmd = nil
}

// Restart starts a killed server again on the same port.
func (d *Daemon) Restart() {
	d.tb.Helper()
	d.Kill()
	if err := d.start(); err != nil {
		d.tb.Fatalf("%s does not start again: %v", d.name, err)
	}
}

func (d *Daemon) start() error {
	d.cmd = d.command(d.addr)
	if err := d.cmd.Start(); err != nil {
		d.cmd = nil
		return err
	}
	cmd, done := d.cmd, make(chan struct{})
	d.done = done
	go func() { // ends with the process
		_ = cmd.Wait()
		close(done)
	}()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if d.ready(d.addr) {
			return nil
		}
		select {
		case <-done:
		case <-time.After(5 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
		}
		d.Kill()
		return fmt.Errorf("no answer on %s", d.addr)
	}
}

func (d *Daemon) stop() {
	if d.cmd != nil {
		d.signalAll(syscall.SIGCONT) // a paused process does not die
	}
	d.Kill()
}

// signalAll reaches the process and its children, which may lead groups of
// their own.
func (d *Daemon) signalAll(sig syscall.Signal) {
	d.tb.Helper()
	for _, pid := range append(children(d.cmd.Process.Pid), d.cmd.Process.Pid) {
		if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
			d.tb.Fatalf("%s: signal %v: %v", d.name, sig, err)
		}
	}
}

// children returns the processes whose parent is pid, where there is a /proc.
func children(pid int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		// 1234 (a name) S 1230 ...: the name may hold anything.
		var state string
		var parent int
		rest := b[bytes.LastIndexByte(b, ')')+1:]
		if _, err := fmt.Sscan(string(rest), &state, &parent); err == nil && parent == pid {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, child)
		}
	}
	return pids
}

// program finds a server: named by the environment, on PATH, or where
// distributions put servers. Without one the test is skipped or fails.
func program(tb testing.TB, env, name string, places ...string) string {
	tb.Helper()
	if bin := os.Getenv(env); bin != "" {
		name, places = bin, nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, place := range places {
		found, _ := filepath.Glob(filepath.Join(place, name))
		for _, path := range found {
			return path
		}
	}
	missing(tb, fmt.Sprintf("no %s: install one, put it on PATH or name it in %s; .ci/install-servers does", name, env))
	return ""
}

// nobody returns an account without rights to run a server as that refuses to
// run as root, or nil if we are not root.
func nobody(tb testing.TB, names ...string) *syscall.Credential {
	tb.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	tb.Fatalf("we are root, and there is none of the accounts %v to run a server as", names)
	return nil
}
