package valkeypush

import (
	"context"
	"errors"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
)

var errNoTracking = errors.New("valkeypush: the server is not to track, or cannot")

// track has the server tell of changes of keys by itself: of all that begin like
// values on this connection, or of those that the client has read on its others.
// Where that fails they are heard of by messages, which scripts publish whatever
// the mode: processes of different modes may share a namespace.
func (l *link) track(ctx context.Context, conn valkey.DedicatedClient) error {
	h := l.hub
	switch h.cfg.Coherence {
	case backend.CoherenceKeys:
		if h.cfg.Tracked() {
			return nil
		}
	case backend.CoherencePrefix:
		if l.bcast { // and the subscription was refused then
			return nil
		}
		// Without RESP3 the server would agree, and tell nothing.
		hello, err := conn.Do(ctx, conn.B().Arbitrary("HELLO").Build()).AsMap()
		if err != nil {
			return err
		}
		proto := hello["proto"]
		if n, err := proto.AsInt64(); err != nil || n < 3 {
			return errNoTracking
		}
		err = conn.Do(ctx, conn.B().Arbitrary("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", h.layout.Values()).Build()).Error()
		l.bcast = err == nil
		return err
	}
	return errNoTracking
}

// vacancy is how long a dead master's successor may take to be heard of, once the
// client leaves the dead one out: it looks each five seconds.
const vacancy = 10 * time.Second

// vacate notes that a node is gone before its successor tells of changes. The mutex
// is held.
func (h *Hub) vacate(gone *link) {
	if !gone.tracks || gone.replica || gone.lost.IsZero() {
		return
	}
	for _, l := range h.links {
		if l.told.After(gone.lost) {
			return
		}
	}
	h.hearing.vacant = time.Now()
}

// Untracked says that what the client reads is not tracked any more. Each link
// begins anew, and so does hearing: with what was read before, all is dropped that
// was read until the changes are heard of by messages.
func (h *Hub) Untracked() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.hearing.untracked:
	default:
		close(h.hearing.untracked)
	}
}

// tracking is closed when the tracking that the link relies on has ended; nil if
// it relies on none.
func (l *link) tracking() <-chan struct{} {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cfg.Coherence != backend.CoherenceKeys || !l.tracks {
		return nil
	}
	return h.hearing.untracked
}

// Invalidated hands out what the server's tracking tells. Whose change it is is
// not known, nor what the keys hold now. It runs in the client's reader. nil means
// that what was tracked is not any more, or that all keys are gone: hearing begins
// anew. Keys of which only the hash is known are told of by messages.
func (h *Hub) Invalidated(keys []valkey.ValkeyMessage) {
	if keys == nil {
		h.announce(true)
		return
	}
	for _, k := range keys {
		name, err := k.ToString()
		if err != nil {
			continue
		}
		if key, ok := h.layout.KeyOf(name); ok {
			h.hand(backend.Invalidation{Kind: backend.KeyChanged, Key: key, Unsure: true})
		}
	}
}
