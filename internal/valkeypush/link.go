package valkeypush

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

const (
	topologyEvery = time.Second
	hurry         = 100 * time.Millisecond // instead, while a primary is missing
	firstBackoff  = 10 * time.Millisecond
	lastBackoff   = time.Second
	firstRefusal  = time.Second // until what the server refuses is tried again, at first
	lastRefusal   = 30 * time.Second
	probeLimit    = time.Second // for the subscription, and for the nonce to come back
	nameLimit     = time.Second

	// gather is how long living processes have to subscribe at a node that has
	// been promoted, has restarted, or has lost its connections: the client's look
	// for the topology, our own, a backoff, a dial.
	gather = 3 * time.Second
)

// link is the subscription at one node. Being subscribed at each, a process is
// seen to live by a script on any of them.
type link struct {
	hub    *Hub
	addr   string
	cancel context.CancelFunc

	// Under the hub's mutex.
	client   valkey.Client // of the node
	mode     mode
	tried    bool      // the first attempt has ended
	replica  bool      // is no node that scripts run on: left alone
	lost     time.Time // since when it does not answer; zero: it does
	sessions int
	sure     time.Time        // from then on who is not subscribed here is not there
	seen     map[string]bool  // or has been, in this session, and is not any more
	hears    backend.Interest // changes that are told on it
	tracks   bool             // those of keys by the server's tracking
	told     time.Time        // when it first told of keys in that way, as a primary

	bcast bool // the connection is told of all keys; run's own
}

// follow keeps a link to each node.
func (h *Hub) follow(c valkey.Client) {
	h.relink(c.Nodes(), c.Mode(), true)
	if c.Mode() == valkey.ClientModeStandalone {
		return
	}
	for sleep(h.ctx, h.pace()); h.ctx.Err() == nil; sleep(h.ctx, h.pace()) {
		h.relink(c.Nodes(), c.Mode(), false)
	}
}

// pace is how long to wait until the next look at the topology.
func (h *Hub) pace() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	primaries := 0
	for _, l := range h.links {
		if !l.replica && !l.lost.IsZero() && time.Since(l.lost) < 10*gather { // else it is gone for good
			return hurry
		}
		if !l.replica {
			primaries++
		}
	}
	if primaries == 0 {
		return hurry
	}
	return topologyEvery
}

func (h *Hub) relink(nodes map[string]valkey.Client, m valkey.ClientMode, first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	for addr, l := range h.links {
		if nodes[addr] == nil {
			l.cancel()
			delete(h.links, addr)
			h.vacate(l)
		}
	}
	for addr, c := range nodes {
		if h.links[addr] == nil {
			l := &link{hub: h, addr: addr, client: c}
			ctx, cancel := context.WithCancel(h.ctx)
			l.cancel = cancel
			h.links[addr] = l
			h.wg.Go(func() { l.run(ctx, m != valkey.ClientModeStandalone, first) })
		}
	}
	h.rate()
	h.wg.Go(func() { h.announce(false) }) // not here: the mutex is held
}

// rate sets the hub's mode from its links'. A node that does not answer does
// not count: in a cluster the others pass on what is published, and tell that
// we live. The mutex is held.
func (h *Hub) rate() {
	worst, primaries, tried := live, 0, true
	for _, l := range h.links {
		tried = tried && l.tried
		if !l.replica && l.lost.IsZero() {
			primaries++
			worst = min(worst, l.mode)
		}
	}
	if primaries == 0 {
		worst = poll
	}
	h.mode.Store(worst)
	h.nameNow()
	if tried && len(h.links) > 0 {
		select {
		case <-h.settled:
		default:
			close(h.settled)
		}
	}
}

// state is what an attempt at a link has found out.
type state struct {
	mode    mode
	replica bool
	lost    bool
	trusted bool // that others are subscribed here, if they live
}

// set notes what the link is good for, and has everybody look again if that
// changed: after a loss because messages may be lost from now on, after a
// subscription because they may have been until now.
func (l *link) set(s state) {
	h, now := l.hub, time.Now()
	h.mu.Lock()
	changed := l.mode != s.mode
	l.mode, l.replica, l.tried = s.mode, s.replica, true
	if s.replica {
		l.told = time.Time{}
	}
	missed := false
	switch {
	case !s.lost:
		l.lost = time.Time{}
	case l.lost.IsZero():
		l.lost, missed = now, l.hears != backend.Interest{}
	}
	if s.mode == poll {
		l.hears = backend.Interest{}
	} else {
		l.sessions++
		l.seen, l.sure = make(map[string]bool), now
		if !s.trusted {
			l.sure = now.Add(gather)
			clear(h.dead) // who was found dead elsewhere may only be late here
		}
	}
	h.rate()
	h.mu.Unlock()
	h.announce(missed)
	if changed {
		h.wakeAll()
	}
}

// run subscribes again and again until ctx ends. At the first attempt of the
// first links nothing is known to have happened to the node lately.
func (l *link) run(ctx context.Context, many, trusted bool) {
	backoff, refusal := firstBackoff, firstRefusal
	replica := false
	for ; ctx.Err() == nil; trusted = false {
		c := l.renew()
		if many {
			is, answered := isReplica(ctx, c)
			if answered {
				replica = is
			}
			if replica {
				l.set(state{replica: true, lost: !answered})
				sleep(ctx, l.hub.pace()) // it may be promoted
				continue
			}
		}
		up, refused := l.session(ctx, c, trusted)
		l.set(state{lost: !refused})
		switch {
		case refused:
			sleep(ctx, refusal)
			refusal = min(2*refusal, lastRefusal)
			continue
		case up:
			backoff, refusal = firstBackoff, firstRefusal
		}
		sleep(ctx, backoff/2+rand.N(backoff/2))
		backoff = min(2*backoff, lastBackoff)
	}
}

// renew returns the node's client. It is not the last one's if the node has
// been away: the client has then replaced its connection, and closed the old one.
func (l *link) renew() valkey.Client {
	h := l.hub
	h.mu.Lock()
	all := h.client
	h.mu.Unlock()
	c := all.Nodes()[l.addr]
	h.mu.Lock()
	defer h.mu.Unlock()
	if c != nil {
		l.client = c
	}
	return l.client
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// isReplica reports false as well where the question is refused.
func isReplica(ctx context.Context, c valkey.Client) (is, answered bool) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	parts, err := c.Do(ctx, c.B().Role().Build()).ToArray()
	if err != nil || len(parts) == 0 {
		_, refused := valkey.IsValkeyErr(err)
		return false, refused
	}
	role, _ := parts[0].ToString()
	return role == "slave", true
}

// session is one subscription, from its connection to its loss. It reports
// whether it was up, and otherwise whether the server refused it, rather than
// being away.
func (l *link) session(ctx context.Context, c valkey.Client, trusted bool) (up, refused bool) {
	conn, _ := c.Dedicate() // dials, within the client's own limit
	defer conn.Close()
	l.bcast = false
	nonce, heard := cryptorand.Text(), make(chan struct{}, 1)
	lost := conn.SetPubSubHooks(valkey.PubSubHooks{OnMessage: func(m valkey.PubSubMessage) {
		msg, ok := valkeylease.ParseMessage(m.Message)
		switch {
		case !ok:
		case msg.Change != nil:
			l.hub.changed(msg)
		case msg.Lease != "":
			l.hub.deliver(msg)
		case msg.Nonce == nonce:
			select {
			case heard <- struct{}{}:
			default:
			}
		}
	}})
	if l.hub.cfg.Coherence == backend.CoherencePrefix {
		lost = conn.SetOnInvalidations(l.hub.Invalidated) // beside the other hooks
	}
	got, refused := l.probe(ctx, c, conn, nonce, heard, lost)
	if got == poll {
		return false, refused
	}
	l.set(state{mode: got, trusted: trusted})
	l.attend(ctx, conn, lost)
	l.set(state{lost: true}) // before Close: of a silent connection that takes another second
	return true, false
}

// probe subscribes and finds out what the server lets us do. Proxies and
// restricted users show only by trying.
func (l *link) probe(ctx context.Context, c valkey.Client, conn valkey.DedicatedClient, nonce string, heard <-chan struct{}, lost <-chan error) (m mode, refused bool) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	channel := l.hub.layout.Channel(l.hub.process)
	if err := conn.Do(ctx, conn.B().Subscribe().Channel(channel).Build()).Error(); err != nil {
		if errors.Is(err, valkey.ErrNoCache) && l.hub.cfg.Untrack != nil {
			l.hub.cfg.Untrack() // calls would do that as well, but there may be none
		}
		_, refused := valkey.IsValkeyErr(err)
		return poll, refused
	}
	sent, seen, err := valkeylease.Probe(ctx, c, channel, "n0:"+nonce)
	if err != nil {
		return poll, valkeylease.Refused(err)
	}
	if !sent {
		return poll, true
	}
	select {
	case <-heard:
	case <-lost: //nolint:errcheck // why does not matter
		return poll, false
	case <-ctx.Done(): // sent, and never seen: something in between does not pass it on
		return poll, true
	}
	if seen < 1 { // refused, or counted elsewhere: others could not see us live
		return push, false
	}
	return live, false
}
