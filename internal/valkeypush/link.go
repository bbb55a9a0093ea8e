package valkeypush

import (
	"context"
	cryptorand "crypto/rand"
	"math/rand/v2"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

const (
	topologyEvery = time.Second
	firstBackoff  = 10 * time.Millisecond
	lastBackoff   = time.Second
	firstRefusal  = time.Second // until what the server refuses is tried again, at first
	lastRefusal   = 30 * time.Second
	probeLimit    = time.Second // for the subscription, and for the nonce to come back
	nameLimit     = time.Second
)

// link is the subscription at one node. Being subscribed at each, a process is
// seen to live by a script on any of them.
type link struct {
	hub    *Hub
	client valkey.Client // of the node
	cancel context.CancelFunc

	// Under the hub's mutex.
	mode    mode
	tried   bool // the first attempt has ended
	replica bool // is no node that scripts run on: left alone
}

// follow keeps a link to each node.
func (h *Hub) follow(c valkey.Client) {
	h.relink(c.Nodes(), c.Mode())
	if c.Mode() == valkey.ClientModeStandalone {
		return
	}
	tick := time.NewTicker(topologyEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.relink(c.Nodes(), c.Mode())
		case <-h.ctx.Done():
			return
		}
	}
}

func (h *Hub) relink(nodes map[string]valkey.Client, m valkey.ClientMode) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	for addr, l := range h.links {
		if nodes[addr] == nil {
			l.cancel()
			delete(h.links, addr)
		}
	}
	for addr, c := range nodes {
		if h.links[addr] == nil {
			l := &link{hub: h, client: c}
			ctx, cancel := context.WithCancel(h.ctx)
			l.cancel = cancel
			h.links[addr] = l
			h.wg.Go(func() { l.run(ctx, m != valkey.ClientModeStandalone) })
		}
	}
	h.rate()
}

// rate sets the hub's mode from its links'. The mutex is held.
func (h *Hub) rate() {
	worst, primaries, tried := live, 0, true
	for _, l := range h.links {
		tried = tried && l.tried
		if !l.replica {
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

// set notes what the link is good for, and has everybody look again if that
// changed: after a loss because messages may be lost from now on, after a
// subscription because they may have been until now.
func (l *link) set(m mode, replica bool) {
	h := l.hub
	h.mu.Lock()
	changed := l.mode != m
	l.mode, l.replica, l.tried = m, replica, true
	h.rate()
	h.mu.Unlock()
	if changed {
		h.wakeAll()
	}
}

// run subscribes again and again until ctx ends.
func (l *link) run(ctx context.Context, replicas bool) {
	backoff, refusal := firstBackoff, firstRefusal
	for ctx.Err() == nil {
		if replicas && l.isReplica(ctx) {
			l.set(poll, true)
			sleep(ctx, topologyEvery) // it may be promoted
			continue
		}
		up, refused := l.session(ctx)
		l.set(poll, false)
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

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// isReplica reports false as well where the question is refused.
func (l *link) isReplica(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	parts, err := l.client.Do(ctx, l.client.B().Role().Build()).ToArray()
	if err != nil || len(parts) == 0 {
		return false
	}
	role, _ := parts[0].ToString()
	return role == "slave"
}

// session is one subscription, from its connection to its loss. It reports
// whether it was up, and otherwise whether the server refused it, rather than
// being away.
func (l *link) session(ctx context.Context) (up, refused bool) {
	conn, _ := l.client.Dedicate() // dials, within the client's own limit
	defer conn.Close()
	nonce, heard := cryptorand.Text(), make(chan struct{}, 1)
	lost := conn.SetPubSubHooks(valkey.PubSubHooks{OnMessage: func(m valkey.PubSubMessage) {
		msg, ok := valkeylease.ParseMessage(m.Message)
		switch {
		case !ok:
		case msg.Lease != "":
			l.hub.deliver(msg)
		case msg.Nonce == nonce:
			select {
			case heard <- struct{}{}:
			default:
			}
		}
	}})
	got, refused := l.probe(ctx, conn, nonce, heard, lost)
	if got == poll {
		return false, refused
	}
	l.set(got, false)
	select {
	case <-lost: //nolint:errcheck // why does not matter
	case <-ctx.Done():
	}
	return true, false
}

// probe subscribes and finds out what the server lets us do. Proxies and
// restricted users show only by trying.
func (l *link) probe(ctx context.Context, conn valkey.DedicatedClient, nonce string, heard <-chan struct{}, lost <-chan error) (m mode, refused bool) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	channel := l.hub.layout.Channel(l.hub.process)
	if err := conn.Do(ctx, conn.B().Subscribe().Channel(channel).Build()).Error(); err != nil {
		_, refused := valkey.IsValkeyErr(err)
		return poll, refused
	}
	sent, seen, err := valkeylease.Probe(ctx, l.client, channel, "n0:"+nonce)
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
