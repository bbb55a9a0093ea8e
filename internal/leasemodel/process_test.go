package leasemodel

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/bellwethercache/bellwether/backend"
)

// state is where a process stands in the protocol.
type state int

const (
	idle    state = iota // wants the value
	waiting              // somebody else loads
	holding              // has won, the load is about to begin
	loaded               // has read the source
	done
	crashed
)

// proc is a process that loads as the cache does: ask, load, renew if it takes
// long, commit or release. A pause needs nothing: it is any process that others
// are let pass.
type proc struct {
	state    state
	attempt  int
	rejected string
	token    string // of the lease that it has won
	read     int    // the source's stamp
	renewed  bool

	repeat *call  // its reply was lost
	sent   []call // what a network may deliver once more

	heard *heard
	stop  func() // of the watch
}

// token is that of a process's attempt.
func token(i, attempt int) string {
	const hex = "0123456789abcdef"
	b := bytes.Repeat([]byte("0"), 32)
	b[29], b[30], b[31] = hex[i+1], hex[attempt>>4], hex[attempt&15]
	return string(b)
}

func name(i int) string {
	if i < 0 {
		return "somebody"
	}
	return string(rune('A' + i))
}

// heard collects notices.
type heard struct {
	mu      sync.Mutex
	notices []backend.Notice
}

func (h *heard) wake(n backend.Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notices = append(h.notices, n)
}

func (h *heard) take() []backend.Notice {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.notices
	h.notices = nil
	return n
}

// moves lists what process i may do next. With a fault to spend it may also
// lose the reply.
func (r *run) moves(i int, all []move) []move {
	p := r.procs[i]
	say := func(c call) {
		all = append(all, move{who: i, op: c.op, do: func() *broken { return r.send(c, false) }})
		if r.may(lostReply) {
			all = append(all, move{who: i, op: c.op, after: ", and the reply is lost", do: func() *broken { return r.send(c, true) }})
		}
	}
	if p.repeat != nil {
		c := *p.repeat
		return append(all, move{who: i, op: c.op, after: " once more", do: func() *broken { return r.send(c, false) }})
	}
	switch p.state {
	case idle:
		say(call{op: opLease, proc: i, token: token(i, p.attempt), rejected: p.rejected})
	case waiting:
		if p.attempt+1 < r.bounds.attempts {
			all = append(all, move{who: i, after: " looks again", do: func() *broken { return r.again(i, "") }})
		}
	case holding:
		all = append(all, move{who: i, after: " reads the source", do: func() *broken {
			p.read, p.state = r.truth.now, loaded
			return nil
		}})
	case loaded:
		c := call{op: opCommit, proc: i, token: p.token}
		for ; c.op <= opFail; c.op++ {
			if c.value = ""; c.op == opCommit {
				c.value = fresh(p.read)
			}
			if c.op != opRenew || !p.renewed {
				say(c)
			}
		}
	default: // nothing any more
	}
	return all
}

// again lets process i ask anew.
func (r *run) again(i int, rejected string) *broken {
	p := r.procs[i]
	p.attempt++
	p.rejected = rejected
	return r.send(call{op: opLease, proc: i, token: token(i, p.attempt), rejected: rejected}, false)
}

// send makes a process's call and lets it go on from the answer, unless that is
// lost.
func (r *run) send(c call, lost bool) *broken {
	p := r.procs[c.proc]
	if c.op == opLease && p.stop == nil { // the waiter registers before it asks
		p.heard = &heard{}
		p.stop = r.place.peer(c.proc).Watch(key, p.heard.wake)
	}
	a, b := r.make(c)
	if p.repeat == nil {
		p.sent = append(p.sent, c)
	}
	p.repeat = nil
	if lost {
		r.faults--
		p.repeat = &c
		return b
	}
	r.react(c, a)
	return b
}

// react is what a process makes of an answer.
func (r *run) react(c call, a answer) {
	p := r.procs[c.proc]
	switch c.op {
	case opLease:
		switch {
		case a.reply.Won:
			p.state, p.token = holding, a.reply.Token
		case a.reply.Value != nil && !isFresh(string(a.reply.Value)) && p.attempt+1 < r.bounds.attempts:
			p.state, p.rejected = idle, string(a.reply.Value)
			p.attempt++
		case a.reply.Value != nil, a.reply.Cooling != nil:
			p.state = done
		default:
			p.state = waiting
		}
	case opRenew: // also if it is lost: it may still try to commit
		p.renewed = true
	default:
		p.state = done
	}
	if p.state != waiting {
		r.unwatch(c.proc)
	}
}

func (r *run) unwatch(i int) {
	if p := r.procs[i]; p.stop != nil {
		p.stop()
		p.stop = nil
	}
	delete(r.truth.waiting, i)
}

// print is all of a process that decides what it may still do.
func (p *proc) print(holder string) string {
	s := fmt.Sprint(int(p.state), p.attempt, p.renewed, p.repeat != nil, p.stop != nil, stale(p.rejected))
	if p.repeat != nil {
		s += fmt.Sprint(p.repeat.op)
	}
	for _, c := range p.sent {
		s += fmt.Sprint(" ", int(c.op), c.token[29:32], c.token == holder, stale(c.rejected))
	}
	return s
}

func stale(value string) string {
	if value == "" {
		return ""
	}
	return value[:1]
}

func (p *proc) stamps() []int {
	n := []int{p.read, stamp(p.rejected)}
	for _, c := range p.sent {
		n = append(n, stamp(c.value), stamp(c.rejected))
	}
	return n
}
