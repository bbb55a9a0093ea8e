package valkeystore

import (
	"context"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

var (
	_ backend.Invalidator = (*Store)(nil)
	_ backend.Tagger      = (*Store)(nil)
)

// Invalidations implements backend.Invalidator.
func (s *Store) Invalidations(what backend.Interest, on func(backend.Invalidation)) (stop func()) {
	return s.hub.Hear(what, func(inv backend.Invalidation) {
		s.time.hear(max(inv.Stamp.Removed, inv.Stamp.Expired))
		on(inv)
	})
}

// CoherenceMode implements backend.Invalidator. A server that does not let itself
// be asked for Options.Coherence leaves CoherencePublish.
func (s *Store) CoherenceMode() backend.CoherenceMode {
	return s.hub.Coherence()
}

// StampTags implements backend.Tagger. In a cluster it asks every primary for its
// time first: their clocks may differ, and an entry's fence is its own primary's.
func (s *Store) StampTags(ctx context.Context, expire bool, tags ...string) (uint64, error) {
	c, err := s.client(ctx)
	if err != nil {
		return 0, err
	}
	floor := uint64(0)
	if c.Mode() == valkey.ClientModeCluster {
		floor = latest(ctx, c)
	}
	stamp, err := valkeylease.Stamp(ctx, c, s.layout, expire, floor, s.hub.Process(), tags)
	s.time.hear(stamp)
	return stamp, err
}

// latest is the time of the node whose clock is ahead of the others'. A node that
// does not answer is left out.
func latest(ctx context.Context, c valkey.Client) (last uint64) {
	for _, node := range c.Nodes() {
		if now, err := parseTime(node.Do(ctx, node.B().Time().Build())); err == nil {
			last = max(last, uint64(max(now, 0)))
		}
	}
	return last
}

// TagStamps implements backend.Tagger.
func (s *Store) TagStamps(ctx context.Context, tags ...string) ([]backend.TagStamp, error) {
	c, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	stamps, err := valkeylease.Stamps(ctx, c, s.layout, tags)
	for _, x := range stamps {
		s.time.hear(max(x.Removed, x.Expired))
	}
	return stamps, err
}

// AsOf implements backend.Tagger.
func (s *Store) AsOf(ctx context.Context) (uint64, error) {
	if _, err := s.Now(ctx); err != nil { // takes a first sample
		return 0, err
	}
	return s.time.floor(), nil
}
