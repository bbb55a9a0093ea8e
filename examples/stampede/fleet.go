package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// fleet is the workers of one protection, seen from the parent.
type fleet struct {
	setup   setup // but for Process and Threads
	threads []int // of each worker
	errw    io.Writer
	workers map[int]*remoteWorker
	inbox   chan inbound
	warn    func(string)
	live    map[int]bool // workers whose server tells when a holder dies
}

// inbound is a message of a worker, or the news that it has ended.
type inbound struct {
	from int
	message
	gone bool
	err  error
}

// remoteWorker is a worker process, or the worker goroutine of a fleet of one.
type remoteWorker struct {
	commands *lines
	input    io.Closer
	process  *os.Process // nil: in this process
}

func newFleet(s setup, threads []int, errw io.Writer, warn func(string)) *fleet {
	return &fleet{
		setup: s, threads: threads, errw: errw, warn: warn,
		workers: make(map[int]*remoteWorker), inbox: make(chan inbound), live: make(map[int]bool),
	}
}

// fill starts the workers that are missing and waits until all are ready.
func (f *fleet) fill(ctx context.Context) error {
	started := 0
	for id := 1; id <= len(f.threads); id++ {
		if f.workers[id] != nil {
			continue
		}
		w, err := f.start(id)
		if err != nil {
			return fmt.Errorf("process %d: %w", id, err)
		}
		f.workers[id] = w
		s := f.setup
		s.Process, s.Threads = id, f.threads[id-1]
		if err := w.commands.send(command{Setup: &s}); err != nil {
			return fmt.Errorf("process %d: %w", id, err)
		}
		started++
	}
	return f.awaitReady(ctx, started)
}

// prepare lines up each worker's share of a herd.
func (f *fleet) prepare(ctx context.Context, c city, requests []int) error {
	for id, w := range f.workers {
		if err := w.commands.send(command{Prepare: &share{City: c, Requests: requests[id-1]}}); err != nil {
			return fmt.Errorf("process %d: %w", id, err)
		}
	}
	return f.awaitReady(ctx, len(f.workers))
}

func (f *fleet) awaitReady(ctx context.Context, n int) error {
	for n > 0 {
		in, err := f.receive(ctx)
		switch {
		case err != nil:
			return err
		case in.gone:
			return fmt.Errorf("process %d ended before it was ready: %w", in.from, in.err)
		case in.Ready:
			f.live[in.from] = in.Live
			n--
		}
	}
	return nil
}

// allLive reports whether all workers have a server that tells when a holder
// dies.
func (f *fleet) allLive() bool {
	for id := range f.workers {
		if !f.live[id] {
			return false
		}
	}
	return true
}

// receive returns the next message that is not merely a warning.
func (f *fleet) receive(ctx context.Context) (inbound, error) {
	for {
		select {
		case in := <-f.inbox:
			switch {
			case in.Warning != "":
				f.warn(in.Warning)
				continue
			case in.Error != "":
				return in, errors.New(in.Error)
			case in.gone:
				delete(f.workers, in.from)
			}
			return in, nil
		case <-ctx.Done():
			return inbound{}, context.Cause(ctx)
		}
	}
}

// release lets all shares go at once and returns the time that they count from.
func (f *fleet) release() (time.Time, error) {
	zero := time.Now()
	for id, w := range f.workers {
		if err := w.commands.send(command{Go: zero.UnixMicro()}); err != nil {
			return zero, fmt.Errorf("process %d: %w", id, err)
		}
	}
	return zero, nil
}

// stopWait is how long workers may take to end before they are killed.
const stopWait = 8 * time.Second

// stop ends all workers and waits for them.
func (f *fleet) stop() {
	for _, w := range f.workers {
		_ = w.input.Close() // the end of its input is its end
	}
	late := time.AfterFunc(stopWait, f.killAll())
	defer late.Stop()
	for len(f.workers) > 0 {
		switch in := <-f.inbox; {
		case in.gone:
			delete(f.workers, in.from)
		case in.Warning != "":
			f.warn(in.Warning)
		}
	}
}

func (f *fleet) killAll() func() {
	var all []*os.Process
	for _, w := range f.workers {
		if w.process != nil {
			all = append(all, w.process)
		}
	}
	return func() {
		for _, p := range all {
			_ = p.Kill() // it may have ended
		}
	}
}

// start starts worker id. A fleet of one has its worker in this process.
func (f *fleet) start(id int) (*remoteWorker, error) {
	if len(f.threads) == 1 {
		return f.startHere(id), nil
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), workerEnv+"=1")
	cmd.Stderr = f.errw
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		f.forward(id, out)
		f.inbox <- inbound{from: id, gone: true, err: cmd.Wait()}
	}()
	return &remoteWorker{commands: newLines(in), input: in, process: cmd.Process}, nil
}

func (f *fleet) startHere(id int) *remoteWorker {
	commands, in := io.Pipe()
	out, messages := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := serveWorker(commands, messages)
		ended <- errors.Join(err, commands.Close(), messages.Close())
	}()
	go func() {
		f.forward(id, out)
		f.inbox <- inbound{from: id, gone: true, err: <-ended}
	}()
	return &remoteWorker{commands: newLines(in), input: in}
}

// forward passes a worker's messages on until there are no more.
func (f *fleet) forward(id int, out io.Reader) {
	dec := json.NewDecoder(out)
	for {
		var m message
		if dec.Decode(&m) != nil {
			return
		}
		f.inbox <- inbound{from: id, message: m}
	}
}

// split divides n into parts that differ by at most one.
func split(n, parts int) []int {
	s := make([]int, parts)
	for i := range s {
		s[i] = n / parts
		if i < n%parts {
			s[i]++
		}
	}
	return s
}
