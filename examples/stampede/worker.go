package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// workerEnv is set for a process that is a worker of another one.
const workerEnv = "STAMPEDE_WORKER"

// worker is one process of the herd, or the only one's goroutine: a cache of
// its own, and requests to it.
type worker struct {
	out       *lines
	setup     *setup
	source    *source
	telemetry *telemetry
	protect   protection
	herd      *herd
}

// serveWorker does what the commands in in say until in ends.
func serveWorker(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	commands := make(chan command)
	go func() { // ends with in
		defer close(commands)
		defer cancel() // the requests that run are wanted no more
		dec := json.NewDecoder(in)
		for {
			var c command
			if dec.Decode(&c) != nil {
				return
			}
			select {
			case commands <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	w := &worker{out: newLines(out)}
	var err error
	for c := range commands {
		if err = w.obey(ctx, c); err != nil {
			_ = w.out.send(message{Error: err.Error()}) // the parent may be gone
			break
		}
	}
	return errors.Join(err, w.close())
}

func (w *worker) obey(ctx context.Context, c command) error {
	switch {
	case c.Setup != nil:
		if err := w.open(ctx, c.Setup); err != nil {
			return err
		}
		return w.ready()
	case c.Prepare != nil:
		w.herd = lineUp(ctx, w.setup, c.Prepare, w.protect)
		return w.ready()
	case c.Go != 0:
		w.herd.release(time.UnixMicro(c.Go))
		r := w.herd.wait(func(done int) { _ = w.out.send(message{Progress: done}) })
		w.telemetry.flush()
		return w.out.send(message{Result: r})
	}
	return errors.New("worker: empty command")
}

func (w *worker) open(ctx context.Context, s *setup) (err error) {
	w.setup = s
	warn := func(text string) { _ = w.out.send(message{Warning: text}) }
	if w.telemetry, err = startTelemetry(ctx, s, func(spans []span) { _ = w.out.send(message{Spans: spans}) }); err != nil {
		return err
	}
	w.source = newSource(s.API, s.APIKey, s.Threads, func(holder bool, thread int) {
		_ = w.out.send(message{Loading: &loading{At: time.Now().UnixMicro(), Thread: thread, Holder: holder}})
	})
	if w.protect, err = openProtection(ctx, s, w.source, w.telemetry.tracer(), observe(w.telemetry.hooks(), warn)); err != nil {
		return err
	}
	return w.telemetry.watch(w.protect)
}

func (w *worker) ready() error {
	f, ok := w.protect.(*full)
	return w.out.send(message{Ready: true, Live: ok && f.live()})
}

func (w *worker) close() error {
	var err error
	if w.herd != nil {
		select {
		case <-w.herd.start:
		default:
			w.herd.release(time.Now()) // never let go; its context has ended
		}
		w.herd.wg.Wait()
	}
	if w.protect != nil {
		err = w.protect.close()
	}
	if w.source != nil {
		w.source.close()
	}
	return errors.Join(err, w.telemetry.stop())
}
