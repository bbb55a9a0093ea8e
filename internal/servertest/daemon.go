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
// nothing. It returns when they stand still.
func (d *Daemon) Pause() {
	d.tb.Helper()
	d.signal(syscall.SIGSTOP, d.cmd.Process.Pid) // first: it is to have no more children
	standStill(d.tb, d.cmd.Process.Pid)
	for _, pid := range children(d.cmd.Process.Pid) {
		d.signal(syscall.SIGSTOP, pid)
		await(d.tb, "process that stands still", func() bool {
			state, _ := status(pid)
			return state != "R" && state != "S" && state != "D" // or it has ended
		})
	}
}

// standStill waits until a child of ours that was sent a SIGSTOP has stopped. On
// a busy machine its other threads go on answering until the one that has got
// the signal has a processor.
func standStill(tb testing.TB, pid int) {
	tb.Helper()
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || !status.Stopped() {
			tb.Fatalf("process %d does not stop: %v", pid, err)
		}
		return
	}
}

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
	d.signal(sig, append(children(d.cmd.Process.Pid), d.cmd.Process.Pid)...)
}

func (d *Daemon) signal(sig syscall.Signal, pids ...int) {
	d.tb.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
			d.tb.Fatalf("%s: signal %v: %v", d.name, sig, err)
		}
	}
}

// children returns the processes whose parent is pid, where there is a /proc.
func children(pid int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if _, parent := status(child); parent == pid {
			pids = append(pids, child)
		}
	}
	return pids
}

// status is the state of a process, "" if there is none or no /proc, and who its
// parent is.
func status(pid int) (state string, parent int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	// 1234 (a name) S 1230 ...: the name may hold anything.
	_, _ = fmt.Sscan(string(b[bytes.LastIndexByte(b, ')')+1:]), &state, &parent)
	return state, parent
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
