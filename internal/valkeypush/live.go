package valkeypush

import (
	"context"
	"time"

	"github.com/valkey-io/valkey-go"
)

const (
	lookEvery  = 100 * time.Millisecond
	lookAgain  = 50 * time.Millisecond // after nobody was seen: it may be reconnecting
	apart      = 40 * time.Millisecond // two looks closer than this are one
	lookLimit  = time.Second
	rememberIt = time.Minute // a lease of the dead that outlives it is found out again
	maxDead    = 32
)

// lookAfter makes process the holder of lease for all that watch it, and starts
// to poll whether it lives.
func (h *Hub) lookAfter(lease, process string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.watches[lease]) == 0 {
		return
	}
	delete(h.dead, process) // the server has just denied it
	for w := range h.watches[lease] {
		w.holder = process
	}
	if !h.polling {
		h.polling = true
		h.wg.Go(h.pollHolders) // ends when there is nobody to look at
		return
	}
	select {
	case h.look <- struct{}{}:
	default:
	}
}

// pollHolders asks, for all holders in one command, whether somebody is still
// subscribed to their channels.
func (h *Hub) pollHolders() {
	seenBefore := map[string]bool{}
	missing := map[string]time.Time{} // since when nobody was seen
	for {
		holders, nodes := h.holders(seenBefore)
		if len(holders) == 0 {
			return
		}
		gone, ok := h.gone(holders, nodes)
		now, pause := time.Now(), lookEvery
		for _, p := range holders {
			since, before := missing[p]
			switch {
			case !ok || !gone[p]: // what is not known is not dead
				delete(missing, p)
			case !before:
				missing[p], pause = now, lookAgain
			case now.Sub(since) < apart:
				pause = lookAgain
			default:
				delete(missing, p)
				h.bury(p, now)
			}
		}
		if !h.pause(pause, seenBefore) {
			return
		}
	}
}

// pause waits for d, or until there is somebody who has not been looked at. It
// reports false when the hub closes.
func (h *Hub) pause(d time.Duration, seenBefore map[string]bool) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return true
		case <-h.look:
			if h.anyNew(seenBefore) {
				return true
			}
		case <-h.ctx.Done():
			return false
		}
	}
}

func (h *Hub) anyNew(seenBefore map[string]bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, set := range h.watches {
		for w := range set {
			if w.holder != "" && !seenBefore[w.holder] {
				return true
			}
		}
	}
	return false
}

// node is one to ask.
type node struct {
	*link
	client  valkey.Client
	session int
}

// holders returns the processes that somebody waits for, and the nodes to ask,
// or nil if one that is to be asked does not answer. With no process, the poll
// has ended.
func (h *Hub) holders(seen map[string]bool) (processes []string, nodes []node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(seen)
	for _, set := range h.watches {
		for w := range set {
			if w.holder != "" && !seen[w.holder] {
				seen[w.holder] = true
				processes = append(processes, w.holder)
			}
		}
	}
	if h.closed {
		processes = nil
	}
	h.polling = len(processes) > 0
	for _, l := range h.links {
		switch {
		case l.replica:
		case l.mode == live:
			nodes = append(nodes, node{link: l, client: l.client, session: l.sessions})
		case l.lost.IsZero() || time.Since(l.lost) < gather:
			return processes, nil // until it is back, or has a successor
		}
	}
	return processes, nodes
}

// gone tells who of processes is subscribed nowhere, though some node could
// tell: where a process has been seen before, or where whoever lives has had
// the time to come. A failover must not make the living look dead: at a node
// that was just promoted nobody is subscribed yet. It asks every node, as a
// process may be late at one, and reports false unless all have answered.
func (h *Hub) gone(processes []string, nodes []node) (gone map[string]bool, ok bool) {
	ctx, cancel := context.WithTimeout(h.ctx, lookLimit)
	defer cancel()
	channels := make([]string, len(processes))
	for i, p := range processes {
		channels[i] = h.layout.Channel(p)
	}
	gone = make(map[string]bool, len(processes))
	here := make(map[string]bool, len(processes))
	for _, n := range nodes {
		counts, err := n.client.Do(ctx, n.client.B().PubsubNumsub().Channel(channels...).Build()).AsIntMap()
		if err != nil || len(counts) < len(channels) {
			return nil, false
		}
		seen := make(map[string]bool, len(processes))
		for i, p := range processes {
			seen[p] = counts[channels[i]] > 0
			here[p] = here[p] || seen[p]
		}
		h.tell(n, seen, gone)
	}
	for p := range here {
		if here[p] {
			delete(gone, p)
		}
	}
	return gone, len(nodes) > 0
}

// tell adds to gone whom a node could tell to be, and remembers whom it has seen.
func (h *Hub) tell(n node, seen, gone map[string]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n.sessions != n.session { // it has begun anew meanwhile
		return
	}
	sure := !time.Now().Before(n.sure)
	for p, is := range seen {
		if !is && (sure || n.seen[p]) {
			gone[p] = true
		}
		seen[p] = is || n.seen[p]
	}
	n.seen = seen // only of those who are looked at
}

// bury notes that a process is dead, for requests to take its leases over, and
// wakes those who wait for it.
func (h *Hub) bury(process string, now time.Time) {
	h.mu.Lock()
	h.forget(now)
	if len(h.dead) >= maxDead {
		for p := range h.dead { // any: if it matters it is found out again
			delete(h.dead, p)
			break
		}
	}
	h.dead[process] = now
	h.mu.Unlock()
	h.wakeIf(func(w *watch) bool { return w.holder == process })
}

// forget drops those who have been dead for long. The mutex is held.
func (h *Hub) forget(now time.Time) {
	for p, since := range h.dead {
		if now.Sub(since) > rememberIt {
			delete(h.dead, p)
		}
	}
}

// deadNow lists the processes found dead lately.
func (h *Hub) deadNow() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.dead) == 0 {
		return nil
	}
	h.forget(time.Now())
	list := make([]string, 0, len(h.dead))
	for p := range h.dead {
		list = append(list, p)
	}
	return list
}
