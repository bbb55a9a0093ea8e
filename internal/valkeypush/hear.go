package valkeypush

import (
	"context"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

const (
	beatEvery = 500 * time.Millisecond // with beatLimit bounds how long a silent connection is trusted
	beatLimit = time.Second
)

// hearing is who in this process wants to hear of changes by others.
type hearing struct {
	wanted chan struct{} // closed, and made anew, when somebody new wants to

	// Guarded by the hub's mutex.
	hearers   map[*hearer]struct{}
	all       backend.TagStamp // of the tag "", as of when hearing began
	vacant    time.Time        // since when a master that told by tracking is gone, without a successor
	untracked chan struct{}    // closed when the client is not tracked any more

	// Held while hearers are told that they hear or are deaf, so that they are
	// told in order. Taken before the hub's mutex.
	telling sync.Mutex
}

type hearer struct {
	what backend.Interest
	on   func(backend.Invalidation)

	hears bool // as it was told; guarded by hearing.telling

	mu   sync.Mutex // held while on runs
	gone bool
}

func (r *hearer) tell(inv backend.Invalidation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.gone {
		r.on(inv)
	}
}

func (x *hearing) init() {
	x.wanted, x.untracked, x.hearers = make(chan struct{}), make(chan struct{}), make(map[*hearer]struct{})
}

// Hear calls on for each change by another process, on Heard and on Deaf.
func (h *Hub) Hear(what backend.Interest, on func(backend.Invalidation)) (stop func()) {
	if h.cfg.Coherence == backend.CoherenceOff {
		return func() {}
	}
	r := &hearer{what: what, on: on}
	h.mu.Lock()
	h.hearing.hearers[r] = struct{}{}
	close(h.hearing.wanted)
	h.hearing.wanted = make(chan struct{})
	h.mu.Unlock()
	return func() {
		h.mu.Lock()
		delete(h.hearing.hearers, r)
		h.mu.Unlock()
		r.mu.Lock() // a call under way has ended, and none will begin
		r.gone = true
		r.mu.Unlock()
	}
}

// Coherence says how changes are told at the moment.
func (h *Hub) Coherence() backend.CoherenceMode {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.cfg.Off || h.cfg.Coherence == backend.CoherenceOff:
		return backend.CoherenceOff
	case !h.covered(backend.Interest{Keys: true}):
		return backend.CoherenceDeaf
	}
	for _, l := range h.links {
		if !l.tracks && !l.replica && l.lost.IsZero() {
			return backend.CoherencePublish
		}
	}
	return h.cfg.Coherence
}

// covered reports whether changes on every node reach this process. One that does
// not answer does not count: in a cluster the others pass on what is published
// there. What servers tell by tracking they do not. The mutex is held.
func (h *Hub) covered(what backend.Interest) bool {
	if what.Keys && time.Since(h.hearing.vacant) < vacancy {
		return false
	}
	primaries := 0
	for _, l := range h.links {
		switch {
		case l.replica:
		case !l.lost.IsZero():
			if what.Keys && l.tracks && time.Since(l.lost) < 10*gather { // else it is gone for good
				return false
			}
		default:
			primaries++
			if what.Keys && !l.hears.Keys || what.Tags && !l.hears.Tags {
				return false
			}
		}
	}
	return primaries > 0
}

// untold reports whether there is a hearer that could hear and has not been told.
func (h *Hub) untold() bool {
	h.hearing.telling.Lock()
	defer h.hearing.telling.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.hearing.hearers {
		if !r.hears && h.covered(r.what) {
			return true
		}
	}
	return false
}

// announce tells hearers whose hearing has begun or ended. If something was missed it
// begins anew: a node may have died before it passed on what it published.
func (h *Hub) announce(missed bool) {
	h.hearing.telling.Lock()
	defer h.hearing.telling.Unlock()
	h.mu.Lock()
	var changed []*hearer
	all := h.hearing.all
	for r := range h.hearing.hearers {
		if now := h.covered(r.what); now != r.hears || now && missed {
			r.hears = now
			changed = append(changed, r)
		}
	}
	h.mu.Unlock() // a hearer may ask for the mode
	for _, r := range changed {
		if r.hears {
			r.tell(backend.Invalidation{Kind: backend.Heard, Stamp: all})
		} else {
			r.tell(backend.Invalidation{Kind: backend.Deaf})
		}
	}
}

// changed hands a change out, unless it is this process's own. It runs in the
// client's reader.
func (h *Hub) changed(m valkeylease.Message) {
	if m.By == h.process {
		return
	}
	h.hand(*m.Change)
}

// Publish tells every other process of a change, where no script does.
func (h *Hub) Publish(ctx context.Context, c valkey.Client, inv backend.Invalidation) error {
	channel := h.layout.KeyChanges()
	if inv.Kind == backend.TagStamped {
		channel = h.layout.TagStamps()
	}
	message := valkeylease.ChangeMessage(inv, h.process)
	send := func() valkey.ValkeyResult {
		return c.Do(ctx, c.B().Publish().Channel(channel).Message(message).Build())
	}
	r := send()
	if valkeylease.Again(ctx, r) { // once more does no harm
		r = send()
	}
	return valkeylease.Wrap(r.Error())
}

func (h *Hub) hand(inv backend.Invalidation) {
	var to []*hearer
	h.mu.Lock()
	for r := range h.hearing.hearers {
		if h.closed {
			break
		}
		if inv.Kind == backend.KeyChanged && r.what.Keys || inv.Kind == backend.TagStamped && r.what.Tags {
			to = append(to, r)
		}
	}
	h.mu.Unlock()
	for _, r := range to {
		r.tell(inv)
	}
}

// wanted is what hearers want to hear of, and a channel that is closed when that
// changes.
func (h *Hub) wanted() (what backend.Interest, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.hearing.hearers {
		what.Keys = what.Keys || r.what.Keys
		what.Tags = what.Tags || r.what.Tags
	}
	return what, h.hearing.wanted
}

// attend keeps a subscription that is up, until it is lost: it adds what hearers
// want to hear of, and while there are any it makes sure that the connection is
// not merely silent.
func (l *link) attend(ctx context.Context, conn valkey.DedicatedClient, lost <-chan error) {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	var refused time.Time
	refusal := firstRefusal / 2
	for {
		what, more := l.hub.wanted()
		if time.Since(refused) > refusal {
			ok, no := l.listen(ctx, conn, what)
			switch {
			case no:
				refused, refusal = time.Now(), min(2*refusal, lastRefusal)
			case !ok:
				return
			default:
				refusal = firstRefusal / 2
			}
		}
		beats := beat.C
		if what == (backend.Interest{}) {
			beats = nil
		}
		select {
		case <-more:
		case <-beats:
			if !within(ctx, beatLimit, func(ctx context.Context) error { return conn.Do(ctx, conn.B().Ping().Build()).Error() }) {
				return
			}
		case <-l.tracking(): // anew, by messages
			return
		case <-lost: //nolint:errcheck // why does not matter
			return
		case <-ctx.Done():
			return
		}
	}
}

// listen subscribes to the changes that hearers want to hear of. It reports
// whether that is so now, and if not, whether the server has refused it.
func (l *link) listen(ctx context.Context, conn valkey.DedicatedClient, what backend.Interest) (ok, refused bool) {
	h := l.hub
	h.mu.Lock()
	have, tracks := l.hears, l.tracks
	h.mu.Unlock()
	if (have.Keys || !what.Keys) && (have.Tags || !what.Tags) {
		if h.untold() { // somebody has come later, and wants the stamps of now
			if what.Tags && !h.cfg.NoStamps && !within(ctx, beatLimit, l.readAll) {
				return false, true
			}
			h.announce(false)
		}
		return true, false
	}
	tracks = have.Keys && tracks
	var channels []string
	if what.Keys {
		tracks = tracks || !have.Keys && within(ctx, beatLimit, func(ctx context.Context) error { return l.track(ctx, conn) })
		if tracks {
			channels = append(channels, h.layout.HashChanges())
		} else {
			channels = append(channels, h.layout.KeyChanges())
		}
	}
	if what.Tags {
		channels = append(channels, h.layout.TagStamps())
	}
	ok = within(ctx, beatLimit, func(ctx context.Context) error {
		err := conn.Do(ctx, conn.B().Subscribe().Channel(channels...).Build()).Error()
		_, refused = valkey.IsValkeyErr(err)
		return err
	})
	if ok && what.Tags && !h.cfg.NoStamps && !within(ctx, beatLimit, l.readAll) {
		return false, true // if it is the connection, the next beat will tell
	}
	if ok {
		h.mu.Lock()
		l.hears = backend.Interest{Keys: have.Keys || what.Keys, Tags: have.Tags || what.Tags}
		l.tracks = tracks
		if tracks && l.told.IsZero() {
			l.told, h.hearing.vacant = time.Now(), time.Time{}
		}
		h.mu.Unlock()
		h.announce(false)
	}
	return ok, refused
}

// within reports whether fn ends well in time.
func within(ctx context.Context, limit time.Duration, fn func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return fn(ctx) == nil
}

// readAll reads the stamp of the tag "", which every reader needs.
func (l *link) readAll(ctx context.Context) error {
	h := l.hub
	h.mu.Lock()
	c := h.client // not the link's: the stamps may be on another node
	h.mu.Unlock()
	stamps, err := valkeylease.Stamps(ctx, c, h.layout, []string{""})
	if err == nil {
		h.mu.Lock()
		all := &h.hearing.all
		all.Removed, all.Expired = max(all.Removed, stamps[0].Removed), max(all.Expired, stamps[0].Expired)
		h.mu.Unlock()
	}
	return err
}
