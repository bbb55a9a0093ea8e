package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

func serviceName(i int) string { return fmt.Sprintf("shop-%d", i+1) }

// herd is the workers, seen from the parent.
type herd struct {
	settings *settings
	place    *place
	errw     io.Writer
	members  []*member
	inbox    chan inbound
	ids      int
}

// member is a worker process.
type member struct {
	index   int
	process *os.Process
	input   io.Closer
	orders  *lines
	metrics string // where it serves them; its successor does too
	alive   bool
}

// inbound is a worker's news, or that it has ended.
type inbound struct {
	from int
	news
	gone bool
	err  error
}

func newHerd(s *settings, p *place, errw io.Writer) *herd {
	h := &herd{settings: s, place: p, errw: errw, inbox: make(chan inbound, 1024)}
	for i := range s.processes {
		h.members = append(h.members, &member{index: i, metrics: h.listenAt(i)})
	}
	return h
}

// listenAt is where worker i is to serve its metrics.
func (h *herd) listenAt(i int) string {
	host, port, err := net.SplitHostPort(h.settings.listen)
	n, e := strconv.Atoi(port)
	if err != nil || e != nil || n == 0 {
		return "127.0.0.1:0"
	}
	return net.JoinHostPort(host, strconv.Itoa(n+i))
}

func (h *herd) metrics() (addrs []string) {
	for _, m := range h.members {
		addrs = append(addrs, m.metrics)
	}
	return addrs
}

// fill starts the workers that are missing and waits until all are ready.
func (h *herd) fill(ctx context.Context) error {
	missing := 0
	for _, m := range h.members {
		if m.alive {
			continue
		}
		if err := h.start(m); err != nil {
			return fmt.Errorf("%s: %w", serviceName(m.index), err)
		}
		missing++
	}
	for missing > 0 {
		in, err := h.receive(ctx)
		switch {
		case err != nil:
			return err
		case in.gone:
			return fmt.Errorf("%s ended before it was ready: %w", serviceName(in.from), in.err)
		case in.Ready != "":
			h.members[in.from].metrics = in.Ready
			missing--
		}
	}
	return nil
}

func (h *herd) start(m *member) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), workerEnv+"=1")
	cmd.Stderr = h.errw
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	m.process, m.input, m.orders, m.alive = cmd.Process, in, newLines(in), true
	go func() { // ends with the worker
		for dec := json.NewDecoder(out); ; {
			var n news
			if dec.Decode(&n) != nil {
				break
			}
			h.inbox <- inbound{from: m.index, news: n}
		}
		h.inbox <- inbound{from: m.index, gone: true, err: cmd.Wait()}
	}()
	return m.orders.send(setup{
		Service: serviceName(m.index), Valkey: h.place.valkey, OTLP: h.place.otlp,
		Metrics: m.metrics, Latency: h.settings.latency, Rate: h.settings.rate,
	})
}

// receive returns the next news.
func (h *herd) receive(ctx context.Context) (inbound, error) {
	select {
	case in := <-h.inbox:
		switch {
		case in.Error != "":
			return in, errors.New(in.Error)
		case in.gone:
			h.members[in.from].alive = false
		}
		return in, nil
	case <-ctx.Done():
		return inbound{}, context.Cause(ctx)
	}
}

// tell gives worker i an order and returns its id.
func (h *herd) tell(i int, o order) (int, error) {
	h.ids++
	o.ID = h.ids
	return o.ID, h.members[i].orders.send(o)
}

// collected is what came of some orders.
type collected struct {
	done
	loads []loaded
}

// loaded is a load, and whose it was.
type loaded struct {
	loading
	by int
}

// collect waits until the orders are done, or those who had them are gone.
func (h *herd) collect(ctx context.Context, ids map[int]int) (c collected, err error) {
	for len(ids) > 0 {
		in, err := h.receive(ctx)
		switch {
		case err != nil:
			return c, err
		case in.Loading != nil:
			c.loads = append(c.loads, loaded{*in.Loading, in.from})
		case in.Done != nil:
			delete(ids, in.Done.ID)
			c.OK, c.Failed, c.Stale = c.OK+in.Done.OK, c.Failed+in.Done.Failed, c.Stale+in.Done.Stale
			if c.Trace == "" || in.Done.Failed > 0 {
				c.Trace = in.Done.Trace
			}
		case in.gone:
			for id, worker := range ids {
				if worker == in.from {
					delete(ids, id)
				}
			}
		}
	}
	return c, nil
}

// awaitLoad waits until key is being loaded.
func (h *herd) awaitLoad(ctx context.Context, key string) (loaded, error) {
	for {
		in, err := h.receive(ctx)
		if err != nil {
			return loaded{}, err
		}
		if in.Loading != nil && in.Loading.Key == key {
			return loaded{*in.Loading, in.from}, nil
		}
	}
}

// kill ends worker i without warning.
func (h *herd) kill(i int) error { return h.members[i].process.Kill() }

// stopWait is how long workers may take to end before they are killed.
const stopWait = 8 * time.Second

// stop ends all workers and waits for them.
func (h *herd) stop() {
	alive := func(m *member) bool { return m.alive }
	for _, m := range h.members {
		if m.alive {
			_ = m.input.Close() // the end of its input is its end
		}
	}
	late := time.NewTimer(stopWait)
	defer late.Stop()
	for slices.ContainsFunc(h.members, alive) {
		select {
		case in := <-h.inbox:
			if in.gone {
				h.members[in.from].alive = false
			}
		case <-late.C:
			for _, m := range h.members {
				if m.alive {
					_ = m.process.Kill()
				}
			}
		}
	}
}
