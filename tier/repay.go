package tier

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/internal/wire"
)

// repay makes up for what could not be told to r. It stops when r is away, and
// reports whether anything was paid.
func (s *shared[K, V]) repay(ctx context.Context, r *remote[V]) (paid bool) {
	before := r.backlog.replayed.Load()
	keys, tags, news := r.backlog.waiting()
	away := false
	for expire, list := range tags {
		for part := range slices.Chunk(list, 64) {
			away = away || s.repayTags(ctx, r, part, expire)
		}
	}
	for t, w := range news { // the Bus alone was away
		if r.publish(ctx, stampNews(t.tag.name, t.expire, w.stamp)) != nil {
			break
		}
		r.backlog.doneTags([]*tag{t.tag}, t.expire, w.at, true)
	}
	// One alone finds out whether the store is there.
	for n := 1; len(keys) > 0 && !away && ctx.Err() == nil; n = 64 {
		now := keys[:min(n, len(keys))]
		keys = keys[len(now):]
		errs := make([]error, len(now))
		each(len(now), func(i int) { errs[i] = s.repayKey(ctx, r, now[i]) })
		for _, err := range errs {
			away = away || errors.Is(err, backend.ErrUnavailable) && !untold(err)
		}
	}
	return r.backlog.replayed.Load() > before
}

// repayTags reports whether the store is away.
func (s *shared[K, V]) repayTags(ctx context.Context, r *remote[V], list []*tag, expire bool) (away bool) {
	names := make([]string, len(list))
	for i, g := range list {
		names[i] = g.name
	}
	then := s.tags.moment()
	stamp, err := s.stampFar(ctx, expire, names)
	if stamp == 0 {
		r.backlog.triedTags(list, expire, then, 0, !unreached(err))
		return unreached(err)
	}
	for _, g := range list {
		s.tags.mark(g, expire, stamp)
	}
	if err == nil {
		r.backlog.doneTags(list, expire, then, true)
	} else {
		r.backlog.triedTags(list, expire, then, stamp, false)
	}
	return false
}

// graves is for how long a Delete that was made up for leaves a mark.
const graves = time.Minute

// bury deletes key, and leaves a mark that says since when: an entry whose life is
// over. Another process may be about to repeat a Set that came before.
func (r *remote[V]) bury(ctx context.Context, key string, asOf uint64) error {
	if asOf == 0 || r != r.far || r.own {
		return r.delete(ctx, key)
	}
	now, err := r.now(ctx)
	if err != nil {
		return err
	}
	h := wire.Header{Absent: true, Codec: r.codec.ID(), Schema: r.schema, AsOf: asOf, LivesFor: 1, Created: now - graves.Microseconds()}
	b, err := wire.Append(nil, key, &h, nil)
	if err != nil {
		return errors.Join(err, r.delete(ctx, key))
	}
	_, err = lease(ctx, r, OpDelete, func(ctx context.Context) (struct{}, error) { return struct{}{}, r.store.Set(ctx, key, b, graves) })
	if err != nil && !unreached(err) { // a store that is full refuses the mark
		return r.delete(ctx, key)
	}
	return told(err, r.publish(ctx, backend.Invalidation{Key: key, Head: b[:min(len(b), backend.HeadLen)]}))
}

// repayFirst makes up for the change of a key that is about to be read, so that who has
// set a value finds it rather than loads it. An error says that r is away.
func (s *shared[K, V]) repayFirst(ctx context.Context, r *remote[V], key string) error {
	if d := r.backlog.find(key); d == nil || d.next > clock.Now() { // or it was just refused
		return nil
	}
	own, cancel := context.WithTimeout(ctx, r.opts.Budget)
	defer cancel()
	err := s.repayKey(own, r, key)
	switch {
	case !unreached(err):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case own.Err() != nil:
		return unavailable(ErrBudget)
	}
	return err
}

// repayKey makes up for the change of one key, while nobody else here writes it.
func (s *shared[K, V]) repayKey(ctx context.Context, r *remote[V], key string) error {
	if s.lock != nil {
		unlock, err := s.lock(ctx, key)
		if err != nil {
			return err
		}
		defer unlock()
	}
	d := r.backlog.next(key)
	if d == nil {
		return nil
	}
	var err error
	switch {
	case d.told:
		err = told(nil, r.publish(ctx, backend.Invalidation{Key: key})) // that it holds nothing drops whatever others hold
	case d.op == OpSet:
		err = r.repeat(ctx, key, d)
	case d.op == OpExpire:
		err = r.expire(ctx, key)
	default:
		err = r.bury(ctx, key, d.asOf)
	}
	switch {
	case err == nil:
		r.backlog.done(key, d)
		s.drop(key, 0) // what was loaded here meanwhile is not what the others get
	case untold(err):
		r.backlog.told(key, d)
	case !unreached(err) && !errors.Is(err, errLater):
		r.backlog.refused(key, d)
	}
	return err
}
