package tier

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bellwethercache/bellwether/backend"
)

// tagger keeps stamps of tags as entries of a store that is no backend.Tagger. They
// are lost with such an entry, if the store evicts, and are of the machines' own clocks if it
// has none; New warns of both.
type tagger struct {
	store backend.Store
	clock backend.Clock // nil: this machine's

	mu   sync.Mutex
	last uint64 // stamp that was given, or seen
}

// No key of a cache should begin so.
const tagPrefix = "\x00bellwether-tag\x00"

func tagKeys(tag string) [2]string { return [2]string{tagPrefix + "r" + tag, tagPrefix + "e" + tag} }

// now returns the store's time, and no less than min.
func (g *tagger) now(ctx context.Context, min uint64) (uint64, error) {
	us := time.Now().UnixMicro()
	if g.clock != nil {
		var err error
		if us, err = g.clock.Now(ctx); err != nil {
			return 0, err
		}
	}
	return max(uint64(max(us, 0)), min), nil
}

func (g *tagger) seen(stamp uint64) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = max(g.last, stamp)
	return g.last
}

// StampTags implements backend.Tagger.
func (g *tagger) StampTags(ctx context.Context, expire bool, tags ...string) (uint64, error) {
	stamp, err := g.now(ctx, g.seen(0)+1)
	if err != nil {
		return 0, err
	}
	g.seen(stamp)
	kind := 0
	if expire {
		kind = 1
	}
	value := binary.BigEndian.AppendUint64(nil, stamp)
	var all errgroup.Group
	all.SetLimit(16)
	for _, tag := range tags {
		all.Go(func() error { return g.store.Set(ctx, tagKeys(tag)[kind], value, backend.MaxTagged) })
	}
	if err := all.Wait(); err != nil {
		return 0, err // some may have been taken
	}
	return stamp, nil
}

// TagStamps implements backend.Tagger.
func (g *tagger) TagStamps(ctx context.Context, tags ...string) ([]backend.TagStamp, error) {
	stamps := make([]backend.TagStamp, len(tags))
	var all errgroup.Group
	all.SetLimit(16)
	for i, tag := range tags {
		for kind, key := range tagKeys(tag) {
			to := &stamps[i].Removed
			if kind == 1 {
				to = &stamps[i].Expired
			}
			all.Go(func() error {
				b, err := g.store.Get(ctx, key)
				switch {
				case errors.Is(err, backend.ErrMiss):
					return nil
				case err != nil:
					return err
				case len(b) == 8: // what is longer is not ours
					*to = binary.BigEndian.Uint64(b)
				}
				return nil
			})
		}
	}
	err := all.Wait()
	for _, s := range stamps {
		g.seen(max(s.Removed, s.Expired))
	}
	return stamps, err
}

// AsOf implements backend.Tagger.
func (g *tagger) AsOf(ctx context.Context) (uint64, error) { return g.now(ctx, g.seen(0)+1) }
