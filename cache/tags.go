package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bellwethercache/bellwether/tier"
)

// DeleteTags removes all entries with one of tags, in all tiers and for all
// processes, in one round trip, whatever their number. A load that is under way
// gives its value to its callers, but what it stores is removed as well. Others
// notice within a second while they are connected; where the store does not tell
// of changes, and has no Bus, their memory keeps what it has until its time is
// over. When the shared tier could not be reached the error says so, and this
// process alone has removed them; with [tier.ErrQueued] in it the others do as soon
// as the tier answers. A store that keeps no stamps of its own (backend.Tagger) has
// them as entries.
func (c *Cache[K, V]) DeleteTags(ctx context.Context, tags ...string) error {
	return c.stampTags(ctx, tier.OpDelete, tags)
}

// ExpireTags makes all entries with one of tags stale: the next read of each
// loads, or returns what is stale and refreshes it, as Policy says. For the rest
// see DeleteTags.
func (c *Cache[K, V]) ExpireTags(ctx context.Context, tags ...string) error {
	return c.stampTags(ctx, tier.OpExpire, tags)
}

// Clear removes all entries of this cache, as DeleteTags does: of the namespace
// that its farthest tier's store keeps it in, and nothing else there.
func (c *Cache[K, V]) Clear(ctx context.Context) error {
	return c.stamp(ctx, tier.OpDelete, []string{""})
}

// ExpireAll makes all entries of this cache stale, as ExpireTags does.
func (c *Cache[K, V]) ExpireAll(ctx context.Context) error {
	return c.stamp(ctx, tier.OpExpire, []string{""})
}

// ErrTag says that a tag was empty. Clear and ExpireAll concern all entries.
var ErrTag = errors.New("cache: a tag must not be empty; Clear and ExpireAll concern all entries")

func (c *Cache[K, V]) stampTags(ctx context.Context, op tier.Op, tags []string) error {
	if slices.Contains(tags, "") {
		return ErrTag
	}
	return c.stamp(ctx, op, tags)
}

func (c *Cache[K, V]) stamp(ctx context.Context, op tier.Op, tags []string) (err error) {
	switch {
	case ctx == nil:
		return ErrNilContext
	case c.bad != nil:
		return c.bad
	case c.closed.Load():
		return ErrClosed
	case len(tags) == 0:
		return nil
	}
	hooks := &c.opts.Hooks
	if hooks.WriteStart != nil {
		ctx = hooks.WriteStart(ctx, WriteStart{Op: op, Tags: len(tags)})
	}
	if hooks.WriteDone != nil {
		defer func() { hooks.WriteDone(ctx, WriteDone{Op: op, Err: err}) }()
	}
	err = c.stack.StampTags(ctx, op == tier.OpExpire, tags...)
	c.part() // what was begun before is not for those who come now
	if err != nil {
		return fmt.Errorf("cache %q: %v by tag: %w", c.opts.Name, op, err)
	}
	return nil
}

// tagged adds what Options.Tags says of a key to an entry's.
func (c *core[K, V]) tagged(key K, m *tier.Meta) *tier.Meta {
	if c.opts.Tags == nil {
		return m
	}
	more := c.opts.Tags(key)
	if len(more) == 0 {
		return m
	}
	var all tier.Meta
	if m != nil {
		all = *m
	}
	tags := slices.Clone(all.Tags)
	for _, tag := range more {
		if tag != "" && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	all.Tags = tags
	return &all
}

// Prefixes returns the prefixes of key that end with sep, for Options.Tags:
// "eu:de:berlin" has "eu:" and "eu:de:".
func Prefixes(key, sep string) []string {
	var all []string
	for at := 0; sep != ""; {
		n := strings.Index(key[at:], sep)
		if n < 0 {
			break
		}
		at += n + len(sep)
		all = append(all, key[:at])
	}
	return all
}
