package tier

import (
	"context"
	"errors"

	"github.com/bellwethercache/bellwether/backend"
)

// repay makes up for what could not be told to r. It stops when r is away, and
// reports whether anything was paid.
func (s *shared[K, V]) repay(ctx context.Context, r *remote[V]) (paid bool) {
	before := r.backlog.replayed.Load()
	keys, tags := r.backlog.waiting()
	away := false
	for expire, list := range tags {
		if err := s.repayTags(ctx, r, list, expire); err != nil {
			away = true
		}
	}
	// One alone finds out whether the store is there.
	for n := 1; len(keys) > 0 && !away && ctx.Err() == nil; n = 64 {
		now := keys[:min(n, len(keys))]
		keys = keys[len(now):]
		errs := make([]error, len(now))
		each(len(now), func(i int) { errs[i] = s.repayKey(ctx, r, now[i]) })
		for _, err := range errs {
			away = away || errors.Is(err, backend.ErrUnavailable)
		}
	}
	return r.backlog.replayed.Load() > before
}

func (s *shared[K, V]) repayTags(ctx context.Context, r *remote[V], list []*tag, expire bool) error {
	names := make([]string, len(list))
	for i, g := range list {
		names[i] = g.name
	}
	then := s.tags.moment()
	stamp, err := s.stampFar(ctx, expire, names)
	if stamp == 0 {
		return err
	}
	for _, g := range list {
		s.tags.mark(g, expire, stamp)
	}
	if err == nil {
		r.backlog.doneTags(list, expire, then, true)
	}
	return err
}

// repayFirst makes up for the change of a key that is about to be read, so that who has
// set a value finds it rather than loads it. An error says that r is away.
func (s *shared[K, V]) repayFirst(ctx context.Context, r *remote[V], key string) error {
	if r.backlog.find(key) == nil {
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
		err = r.publish(ctx, backend.Invalidation{Key: key}) // that it holds nothing drops whatever others hold
	case d.op == OpSet:
		err = r.repeat(ctx, key, d)
	case d.op == OpExpire:
		err = r.expire(ctx, key)
	default:
		err = r.delete(ctx, key)
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
