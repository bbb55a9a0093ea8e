package valkeypush

import (
	"context"
	"errors"

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
		// Without RESP3 the server would agree, and tell nothing.
		hello, err := conn.Do(ctx, conn.B().Arbitrary("HELLO").Build()).AsMap()
		if err != nil {
			return err
		}
		proto := hello["proto"]
		if n, err := proto.AsInt64(); err != nil || n < 3 {
			return errNoTracking
		}
		return conn.Do(ctx, conn.B().Arbitrary("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", h.layout.Values()).Build()).Error()
	}
	return errNoTracking
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
