package leasemodel

import (
	"bytes"
	"context"
	"strings"

	"github.com/bellwethercache/bellwether/backend"
)

// op is a call of the protocol.
type op int

const (
	opNone op = iota
	opLease
	opCommit
	opRenew
	opRelease
	opFail // a release after a failed load
)

func (o op) String() string {
	return [...]string{"", "asks", "commits", "renews", "releases", "releases as failed"}[o]
}

// call is a call by a process. It may be made again, and late.
type call struct {
	op       op
	proc     int
	token    string // the request's of opLease, else what that was answered with
	value    string // to commit
	rejected string // value that is of no use
}

// answer is what came of a call.
type answer struct {
	ok    bool // of all but opLease
	reply backend.LeaseReply
}

// make makes the call and judges its reply.
func (r *run) make(c call) (a answer, b *broken) {
	var err error
	ctx, t := context.Background(), r.place.peer(c.proc)
	switch c.op {
	case opLease:
		req := backend.LeaseRequest{Token: c.token, TTL: leaseTTL, Watch: true}
		if c.rejected != "" {
			req.Rejected = []byte(c.rejected)
		}
		a.reply, err = t.Lease(ctx, key, req)
		b = r.leased(c, a.reply)
	case opCommit:
		a.ok, err = t.Commit(ctx, key, c.token, []byte(c.value), valueTTL)
		b = r.committed(c, a.ok)
	case opRenew:
		a.ok, err = t.Renew(ctx, key, c.token, leaseTTL)
		b = r.owned(c, a.ok)
	case opRelease, opFail:
		f := backend.Failure{}
		if c.op == opFail {
			f = backend.Failure{CoolDown: coolDown, CoolDownMax: coolDownMax, Text: "no"}
		}
		a.ok, err = t.Release(ctx, key, c.token, f)
		b = r.released(c, a.ok)
	}
	if err != nil {
		return a, breach("error", "%v", err)
	}
	if seen := r.truth.seen(r.place.peek()); seen != nil {
		b = seen // what is there weighs more than what was said
	}
	return a, b
}

// leased judges the reply to a request for the lease.
func (r *run) leased(c call, reply backend.LeaseReply) *broken {
	t := &r.truth
	usable := t.value != "" && (c.rejected == "" || !strings.HasPrefix(t.value, c.rejected))
	switch {
	case reply.Value != nil && (!usable || string(reply.Value) != t.value):
		return breach("S3", "found %q, want %q", reply.Value, t.value)
	case reply.Value == nil && usable:
		return breach("S7", "not given the value that is there")
	case reply.Value != nil:
		return nil
	case reply.Won:
		return r.won(c, reply)
	case reply.Cooling != nil:
		n := reply.Cooling.Failures
		if !t.cooling || n > t.fails || n < t.fails && !t.rowLost {
			return breach("D6", "told of %d failures, want %d, cooling %t", n, t.fails, t.cooling)
		}
		return nil
	case t.heldBy(c.token):
		return breach("S5", "the holder asked again and was refused")
	case t.holder == "":
		return breach("L", "held, but by nobody")
	case reply.Pushed:
		t.waiting[c.proc] = true
	}
	return nil
}

// heldBy reports whether a request with the token has won the lease.
func (t *truth) heldBy(token string) bool {
	return t.holder == token || strings.HasPrefix(t.holder, token+"|")
}

func (r *run) won(c call, reply backend.LeaseReply) *broken {
	t := &r.truth
	if t.cooling {
		return breach("D6", "won during the cool-down")
	}
	if t.heldBy(c.token) {
		if reply.Fence != t.fence {
			return breach("S5", "won again with the fence %+d of before", int64(reply.Fence-t.fence))
		}
		return nil
	}
	var waiting map[int]bool
	switch gone := t.holder != "" && r.procs[t.owner].state == crashed && r.place.abilities().takesOver; {
	case t.holder == "" && reply.TookOver:
		return breach("S7", "taken over from nobody")
	case t.holder != "" && !(gone && reply.TookOver):
		return breach("S7", "won while another holds it")
	case gone:
		waiting = t.waiting
	}
	if reply.Fence <= t.highest {
		return breach("S6", "fence %d steps behind the highest", t.highest-reply.Fence)
	}
	t.lose()
	if waiting != nil {
		t.waiting = waiting
	}
	t.holder, t.owner, t.fence, t.highest = reply.Token, c.proc, reply.Fence, reply.Fence
	return nil
}

func (r *run) committed(c call, ok bool) *broken {
	t := &r.truth
	if t.holder != c.token {
		if again := t.value == c.value; ok != again {
			return breach("S5", "a commit without the lease reports %t", ok)
		}
		return nil
	}
	if !ok {
		return breach("S5", "the holder's commit was refused")
	}
	b := t.populated(c.value)
	t.value, t.committed = c.value, max(t.committed, stamp(c.value))
	t.fails, t.rowLost = 0, false
	if woken := r.woken(t.end(), c.value); b == nil {
		b = woken
	}
	return b
}

// owned judges a reply that says no more than whether the token holds the lease.
func (r *run) owned(c call, ok bool) *broken {
	if holds := r.truth.holder == c.token; ok != holds {
		return breach("S5", "%s %v: %t, want %t", name(c.proc), c.op, ok, holds)
	}
	return nil
}

func (r *run) released(c call, ok bool) *broken {
	if b := r.owned(c, ok); b != nil || !ok {
		return b
	}
	told := r.truth.end()
	if c.op == opFail {
		r.truth.cooling = true
		r.truth.fails++
	}
	return r.woken(told, "")
}

// woken wants those who waited to have been told, and no other value than that.
func (r *run) woken(told map[int]bool, value string) *broken {
	r.place.settle()
	for i, p := range r.procs {
		if p.stop == nil {
			continue
		}
		notices := p.heard.take()
		if told[i] && len(notices) == 0 {
			return breach("L", "%s waits and is not woken", name(i))
		}
		for _, n := range notices {
			if n.Value != nil && !bytes.Equal(n.Value, []byte(value)) {
				return breach("S3", "%s is woken with %q, want %q", name(i), n.Value, value)
			}
		}
	}
	return nil
}
