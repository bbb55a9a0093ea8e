package fleettest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/cache"
)

// Proc is one process of a fleet. After a Kill it can be started again.
type Proc struct {
	Index int    // in Fleet.Procs
	Proxy *Proxy // between it and the server, if Config.Proxied

	fleet  *Fleet
	url    string
	starts int
	paused bool
	life   *life // the last start
}

// life is a process from its start to its end.
type life struct {
	name   string // begins the IDs of its loads
	cmd    *exec.Cmd
	in     io.Closer
	out    *lines
	killed bool          // by us
	gone   chan struct{} // closed when it has ended and all that it told is known
	err    error         // how it ended

	mu      sync.Mutex
	lastID  uint64
	answers map[uint64]chan message
}

// start starts the process. The answer is that its cache is open.
func (p *Proc) start() *pending {
	p.fleet.tb.Helper()
	l, err := p.spawn()
	if err != nil {
		p.fleet.tb.Fatalf("process %d: %v", p.Index, err)
	}
	p.life, p.paused = l, false
	return p.send(command{Op: opOpen, Setup: &setup{
		Process: l.name, URL: p.url, Config: p.fleet.cfg, Loaders: p.fleet.currentLoaders(),
	}})
}

func (p *Proc) spawn() (*life, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p.starts++
	l := &life{
		name: fmt.Sprintf("%d.%d", p.Index, p.starts), cmd: exec.Command(exe),
		gone: make(chan struct{}), answers: make(map[uint64]chan message),
	}
	// The race detector of a child need not wait a second at its end.
	l.cmd.Env = append(os.Environ(), childEnv+"=1", "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=20")
	l.cmd.Stderr = &logger{tb: p.fleet.tb, prefix: fmt.Sprintf("process %s: ", l.name)}
	// In a group of its own: should this process die while that one is paused,
	// the system ends it (SIGHUP and SIGCONT to an orphaned group).
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := l.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := l.cmd.Start(); err != nil {
		return nil, err
	}
	l.in, l.out = in, newLines(in)
	go l.listen(p, out) // ends with the process; join waits for it
	return l, nil
}

// listen takes in what the process tells until there is no more.
func (l *life) listen(p *Proc, out io.Reader) {
	defer close(l.gone)
	dec := json.NewDecoder(out)
	for {
		var m message
		if dec.Decode(&m) != nil {
			break
		}
		if m.Event != nil {
			p.fleet.note(p, m.Event)
			continue
		}
		l.mu.Lock()
		if answer := l.answers[m.ID]; answer != nil {
			answer <- m // has room for one
			delete(l.answers, m.ID)
		}
		l.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, out) // after what was no JSON
	l.err = l.cmd.Wait()
	p.fleet.gone(l.name)
}

// Alive reports whether the process runs, paused or not.
func (p *Proc) Alive() bool {
	select {
	case <-p.life.gone:
		return false
	default:
		return true
	}
}

// Kill ends the process without warning (SIGKILL) and waits for its end.
func (p *Proc) Kill() {
	p.life.killed = true
	_ = p.life.cmd.Process.Kill() // it may have ended
	<-p.life.gone
}

// Restart starts the process again, with a new cache; if it runs it is killed.
func (p *Proc) Restart() {
	p.fleet.tb.Helper()
	p.Kill()
	p.start().mustAnswer(p.fleet.tb)
}

// Pause stops the process (SIGSTOP), as a long garbage collection or a
// suspended machine would. It returns when the process stands still.
func (p *Proc) Pause() {
	p.fleet.tb.Helper()
	p.signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(p.life.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || !status.Stopped() {
			p.fleet.tb.Fatalf("process %d does not stop: %v", p.Index, err)
		}
		p.paused = true
		return
	}
}

// Resume undoes Pause.
func (p *Proc) Resume() {
	p.fleet.tb.Helper()
	p.signal(syscall.SIGCONT)
	p.paused = false
}

func (p *Proc) signal(sig syscall.Signal) {
	p.fleet.tb.Helper()
	if err := p.life.cmd.Process.Signal(sig); err != nil {
		p.fleet.tb.Fatalf("process %d: signal %v: %v", p.Index, sig, err)
	}
}

// end begins the process's end: by itself if it can.
func (p *Proc) end() {
	if p.life == nil {
		return
	}
	if p.paused {
		p.life.killed = true
		_ = p.life.cmd.Process.Kill() // it may have ended
	}
	_ = p.life.in.Close() // it may have ended
}

// join waits for the end and reports one that was not as it should be: a
// crash, a data race.
func (p *Proc) join() {
	if p.life == nil {
		return
	}
	select {
	case <-p.life.gone:
	case <-time.After(patience):
		p.fleet.tb.Errorf("process %d does not end", p.Index)
		p.Kill()
	}
	if p.life.err != nil && !p.life.killed {
		p.fleet.tb.Errorf("process %d ended by itself: %v", p.Index, p.life.err)
	}
}

// Go lets so many callers Get key at once, each with timeout (0: none), and
// returns without waiting for them.
func (p *Proc) Go(key string, callers int, timeout time.Duration) *Herd {
	p.fleet.tb.Helper()
	h := &Herd{tb: p.fleet.tb}
	h.add(p, command{Op: opGet, Key: key, Callers: callers, Timeout: timeout})
	return h
}

// Get is Go and Wait.
func (p *Proc) Get(key string, callers int, timeout time.Duration) *Got {
	p.fleet.tb.Helper()
	return p.Go(key, callers, timeout).Wait()
}

// Set calls Set. The error is a *Failure.
func (p *Proc) Set(key, value string) error {
	p.fleet.tb.Helper()
	return p.call(command{Op: opSet, Key: key, Value: value}, nil)
}

// SetTagged calls Set with tags. The error is a *Failure.
func (p *Proc) SetTagged(key, value string, tags ...string) error {
	p.fleet.tb.Helper()
	return p.call(command{Op: opSet, Key: key, Value: value, Keys: tags}, nil)
}

// DeleteTags calls DeleteTags, or without tags Clear. The error is a *Failure.
func (p *Proc) DeleteTags(tags ...string) error {
	p.fleet.tb.Helper()
	return p.call(command{Op: opTags, Keys: tags}, nil)
}

// See is a process that reads a key until its value changes.
type See struct{ *pending }

// GoSee lets the process read key, in short intervals, until its value is no
// longer old, for within at most.
func (p *Proc) GoSee(key, old string, within time.Duration) *See {
	p.fleet.tb.Helper()
	return &See{p.send(command{Op: opSee, Key: key, Value: old, Timeout: within})}
}

// Wait waits until it has seen another value. The error is a *Failure.
func (s *See) Wait() (seen Seen, err error) {
	s.proc.fleet.tb.Helper()
	err = s.result(&seen)
	return seen, err
}

// Delete calls Delete. The error is a *Failure.
func (p *Proc) Delete(key string) error {
	p.fleet.tb.Helper()
	return p.call(command{Op: opDelete, Key: key}, nil)
}

// Expire calls Expire. The error is a *Failure.
func (p *Proc) Expire(key string) error {
	p.fleet.tb.Helper()
	return p.call(command{Op: opExpire, Key: key}, nil)
}

// GoMany lets one caller GetMany keys, and returns without waiting for it. Those
// of several processes that are told one after another begin together.
func (p *Proc) GoMany(keys ...string) *Many {
	p.fleet.tb.Helper()
	return &Many{p.send(command{Op: opMany, Keys: keys, Timeout: patience, At: Now() + Moment(lineUp)})}
}

// Peek calls Peek. The error is a *Failure.
func (p *Proc) Peek(key string) (value string, err error) {
	p.fleet.tb.Helper()
	err = p.call(command{Op: opPeek, Key: key}, &value)
	return value, err
}

// Stats calls Stats.
func (p *Proc) Stats() (s cache.Stats) {
	p.fleet.tb.Helper()
	if err := p.call(command{Op: opStats}, &s); err != nil {
		p.fleet.tb.Fatalf("process %d: Stats: %v", p.Index, err)
	}
	return s
}

// Close closes the cache; the process lives on. The error is a *Failure.
func (p *Proc) Close() (c Closed, err error) {
	p.fleet.tb.Helper()
	err = p.call(command{Op: opClose}, &c)
	return c, err
}

// SetLoader says what loads of key do from now on in this process, until it is
// started again. "" is all other keys.
func (p *Proc) SetLoader(key string, l Loader) {
	p.fleet.tb.Helper()
	p.tell(command{Op: opLoader, Key: key, Loader: &l})
}

// logger writes lines to the test's log.
type logger struct {
	tb     testing.TB
	prefix string
	rest   []byte // the beginning of a line
}

func (l *logger) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.tb.Log(l.prefix + string(line))
		l.rest = rest
	}
}
