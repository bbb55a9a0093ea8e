package valkeystore

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

var (
	_ backend.Leaser      = (*Store)(nil)
	_ backend.MultiLeaser = (*Store)(nil)
	_ backend.Notifier    = (*Store)(nil)
)

func (s *Store) ask(key string, req backend.LeaseRequest) valkeylease.Ask {
	return valkeylease.Ask{
		Keys: s.layout.Keys(key), LeaseRequest: req, Self: s.hub.Self(req.Watch), Guard: true, Time: s.time.due(),
	}
}

// Lease implements backend.Leaser.
func (s *Store) Lease(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	c, err := s.client(ctx)
	if err != nil {
		return backend.LeaseReply{}, err
	}
	a, began := s.ask(key, req), clock.Now()
	r, err := valkeylease.Acquire(ctx, c, a)
	if err != nil {
		return s.readMoving(ctx, c, key, req, err)
	}
	s.time.set(began, clock.Now(), r.Now)
	s.hub.Saw(c, a, r)
	r.Value = s.cut(r.Value)
	return r.LeaseReply, nil
}

// readMoving reads what cannot be leased because its slot is moving from one node
// of a cluster to another: no script runs while one node has the value and
// neither has the lease. Whatever else went wrong stays wrong.
func (s *Store) readMoving(ctx context.Context, c valkey.Client, key string, req backend.LeaseRequest, why error) (backend.LeaseReply, error) {
	var e *valkeylease.ServerError
	if !errors.As(why, &e) || e.Code != "TRYAGAIN" {
		return backend.LeaseReply{}, why
	}
	v, err := s.get(ctx, c, key)
	if err != nil || req.Rejected != nil && bytes.HasPrefix(v, req.Rejected) {
		return backend.LeaseReply{}, why
	}
	return backend.LeaseReply{Value: v}, nil
}

// LeaseMulti implements backend.MultiLeaser.
func (s *Store) LeaseMulti(ctx context.Context, asks []backend.LeaseAsk) []backend.LeaseAnswer {
	answers := make([]backend.LeaseAnswer, len(asks))
	c, err := s.client(ctx)
	if err != nil {
		for i := range answers {
			answers[i].Err = err
		}
		return answers
	}
	all := make([]valkeylease.Ask, len(asks))
	for i, a := range asks {
		all[i] = s.ask(a.Key, a.LeaseRequest)
		all[i].Time = false // of a batch it would be a poor estimate
	}
	replies, errs := valkeylease.AcquireMany(ctx, c, all)
	for i, r := range replies {
		if errs[i] != nil {
			answers[i].LeaseReply, answers[i].Err = s.readMoving(ctx, c, asks[i].Key, asks[i].LeaseRequest, errs[i])
			continue
		}
		s.hub.Saw(c, all[i], r)
		r.Value = s.cut(r.Value)
		answers[i].LeaseReply = r.LeaseReply
	}
	return answers
}

func (s *Store) fill(key, token string, value []byte, ttl time.Duration) valkeylease.Fill {
	return valkeylease.Fill{Keys: s.layout.Keys(key), Token: token, Value: value, TTL: ttl, Push: s.push, By: s.hub.Process()}
}

// Commit implements backend.Leaser.
func (s *Store) Commit(ctx context.Context, key, token string, value []byte, ttl time.Duration) (bool, error) {
	c, err := s.writable(ctx, value)
	if err != nil {
		return false, err
	}
	return valkeylease.Commit(ctx, c, s.fill(key, token, value, ttl))
}

// CommitMulti implements backend.MultiLeaser. An entry that is too large fails
// alone.
func (s *Store) CommitMulti(ctx context.Context, asks []backend.CommitAsk) []backend.CommitAnswer {
	answers := make([]backend.CommitAnswer, len(asks))
	c, err := s.client(ctx)
	var fills []valkeylease.Fill
	var places []int
	for i, a := range asks {
		switch {
		case err != nil:
			answers[i].Err = err
		case len(a.Value) > s.max:
			answers[i].Err = ErrTooLarge
		default:
			fills, places = append(fills, s.fill(a.Key, a.Token, a.Value, a.TTL)), append(places, i)
		}
	}
	if len(fills) == 0 {
		return answers
	}
	oks, errs := valkeylease.CommitMany(ctx, c, fills)
	for i, place := range places {
		answers[place] = backend.CommitAnswer{OK: oks[i], Err: errs[i]}
	}
	return answers
}

// Renew implements backend.Leaser.
func (s *Store) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	c, err := s.client(ctx)
	if err != nil {
		return false, err
	}
	return valkeylease.Renew(ctx, c, s.layout.Keys(key), token, ttl, s.hub.Self(false).Holder)
}

// Release implements backend.Leaser.
func (s *Store) Release(ctx context.Context, key, token string, f backend.Failure) (bool, error) {
	c, err := s.client(ctx)
	if err != nil {
		return false, err
	}
	return valkeylease.Release(ctx, c, s.layout.Keys(key), token, f)
}

// Watch implements backend.Notifier.
func (s *Store) Watch(key string, wake func(backend.Notice)) (stop func()) {
	return s.hub.Watch(s.layout.Lease(key), func(n backend.Notice) {
		if s.tracked && s.conn.Tracked() {
			n.Value = nil // to be read, or the server would not tell of its next change
		}
		n.Value = s.cut(n.Value)
		wake(n)
	})
}

// WakeMode implements backend.Notifier.
func (s *Store) WakeMode() backend.WakeMode { return s.hub.Mode() }

// Listen waits until the subscription that New or Open began has worked out or
// failed, or ctx has ended, and says what came of it. Until then a holder is not
// seen to live, and waiters poll; nothing needs to wait for it but tests.
func (s *Store) Listen(ctx context.Context) backend.WakeMode {
	if c, err := s.client(ctx); err == nil {
		s.hub.Start(c)
		s.hub.Settled(ctx)
	}
	return s.hub.Mode()
}
