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
		counts, ok := h.count(holders, nodes)
		now, pause := time.Now(), lookEvery
		for _, p := range holders {
			since, before := missing[p]
			switch {
			case !ok || counts[h.layout.Channel(p)] > 0: // what is not known is not dead
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

// holders returns the processes that somebody waits for, and the nodes to ask.
// With none, the poll has ended.
func (h *Hub) holders(seen map[string]bool) (processes []string, nodes []valkey.Client) {
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
	for _, l := range h.links {
		if !l.replica {
			nodes = append(nodes, l.client)
		}
	}
	if h.closed {
		processes = nil
	}
	h.polling = len(processes) > 0
	return processes, nodes
}

// count asks every node, as a process may be late to subscribe at a new one. It
// reports false unless all have answered.
func (h *Hub) count(processes []string, nodes []valkey.Client) (map[string]int64, bool) {
	ctx, cancel := context.WithTimeout(h.ctx, lookLimit)
	defer cancel()
	channels := make([]string, len(processes))
	for i, p := range processes {
		channels[i] = h.layout.Channel(p)
	}
	sum := make(map[string]int64, len(channels))
	for _, c := range nodes {
		m, err := c.Do(ctx, c.B().PubsubNumsub().Channel(channels...).Build()).AsIntMap()
		if err != nil || len(m) < len(channels) {
			return nil, false
		}
		for ch, n := range m {
			sum[ch] += n
		}
	}
	return sum, len(nodes) > 0
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
