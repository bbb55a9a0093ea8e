package fleettest

import (
	"encoding/json"
	"testing"
	"time"
)

// pending is a command that was sent.
type pending struct {
	proc   *Proc
	life   *life
	op     op
	answer chan message
}

// send sends a command that wants an answer.
func (p *Proc) send(cmd command) *pending {
	p.fleet.tb.Helper()
	w := &pending{proc: p, life: p.life, op: cmd.Op, answer: make(chan message, 1)}
	w.life.mu.Lock()
	w.life.lastID++
	cmd.ID = w.life.lastID
	w.life.answers[cmd.ID] = w.answer
	w.life.mu.Unlock()
	p.tell(cmd)
	return w
}

// tell sends a command. Of one to a process that has ended nothing comes.
func (p *Proc) tell(cmd command) {
	p.fleet.tb.Helper()
	if err := p.life.out.send(cmd); err != nil && p.Alive() {
		p.fleet.tb.Logf("process %d is ending: %s: %v", p.Index, cmd.Op, err)
	}
}

// wait returns the answer, or false if the process has ended without one.
func (w *pending) wait(tb testing.TB, within time.Duration) (m message, ok bool) {
	tb.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case m = <-w.answer:
		return m, true
	case <-w.life.gone:
		select {
		case m = <-w.answer: // its last word
			return m, true
		default:
			return m, false
		}
	case <-late.C:
		tb.Fatalf("process %d has not answered to %s within %v", w.proc.Index, w.op, within)
		return m, false
	}
}

// mustAnswer waits for a success.
func (w *pending) mustAnswer(tb testing.TB) {
	tb.Helper()
	m, ok := w.wait(tb, patience)
	switch {
	case !ok:
		tb.Fatalf("process %d ended: %s: %v; does TestMain begin with fleettest.RunIfChild?", w.proc.Index, w.op, w.life.err)
	case m.Err != nil:
		tb.Fatalf("process %d: %s: %v", w.proc.Index, w.op, m.Err)
	}
}

// call sends a command and waits for its answer. The error is what the cache
// returned.
func (p *Proc) call(cmd command, result any) error {
	p.fleet.tb.Helper()
	return p.send(cmd).result(result)
}

// result waits for the answer and decodes it into v.
func (w *pending) result(v any) error {
	p := w.proc
	p.fleet.tb.Helper()
	m, ok := w.wait(p.fleet.tb, patience)
	if !ok {
		p.fleet.tb.Fatalf("process %d ended: %s: %v", p.Index, w.op, p.life.err)
	}
	if m.Result != nil {
		if err := json.Unmarshal(m.Result, v); err != nil {
			p.fleet.tb.Fatalf("process %d: %s: %v", p.Index, w.op, err)
		}
	}
	if m.Err != nil {
		return m.Err
	}
	return nil
}

// Many is a GetMany on its way.
type Many struct{ *pending }

// Wait waits until it has come back, and returns what it found, long values as
// Got shows them. The error is a *Failure.
func (m *Many) Wait() (found map[string]string, err error) {
	m.proc.fleet.tb.Helper()
	err = m.result(&found)
	return found, err
}

// Herd is callers on their way.
type Herd struct {
	tb    testing.TB
	parts []herdPart
}

type herdPart struct {
	*pending
	callers int
	timeout time.Duration
}

func (h *Herd) add(p *Proc, cmd command) {
	h.tb.Helper()
	h.parts = append(h.parts, herdPart{p.send(cmd), cmd.Callers, cmd.Timeout})
}

// Wait waits until all callers have come back, and returns what they got. It
// fails the test when their timeout, or without one 30 s, is long over.
func (h *Herd) Wait() *Got {
	h.tb.Helper()
	sum := new(Got)
	for _, part := range h.parts {
		within := 30 * time.Second
		if part.timeout > 0 {
			within = part.timeout
		}
		m, ok := part.wait(h.tb, within+patience)
		one := Got{Callers: part.callers}
		switch {
		case !ok:
			one.Lost = part.callers
		case m.Err != nil:
			h.tb.Fatalf("process %d: Get: %v", part.proc.Index, m.Err)
		default:
			if err := json.Unmarshal(m.Result, &one); err != nil {
				h.tb.Fatalf("process %d: Get: %v", part.proc.Index, err)
			}
		}
		sum.merge(&one)
	}
	return sum
}
