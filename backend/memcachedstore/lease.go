package memcachedstore

import (
	"bytes"
	"context"
	"math"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

var (
	_ backend.Leaser      = (*Store)(nil)
	_ backend.MultiLeaser = (*Store)(nil)
)

const (
	maxFailures = 9999
	maxWords    = 1024 // of an owner, a tag or the text of a failure
)

// Lease implements backend.Leaser.
func (s *Store) Lease(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	var r backend.LeaseReply
	if err := s.update(ctx, key, leasing(req, &r)); err != nil {
		return backend.LeaseReply{}, err
	}
	return r, nil
}

// leasing answers req into r.
func leasing(req backend.LeaseRequest, r *backend.LeaseReply) func(it *item, now int64) bool {
	return func(it *item, now int64) bool {
		*r = backend.LeaseReply{}
		if it.fresh(now) && (req.Rejected == nil || !bytes.HasPrefix(it.value, req.Rejected)) {
			r.Value = it.value
			return false
		}
		switch {
		case it.cooling(now):
			r.Cooling = &backend.Cooling{Failures: int(it.failures), RetryAfter: us(it.coolUntil - now), Text: it.text}
			return false
		case it.held(now) && it.token != req.Token:
			r.Owner, r.Tag, r.Usual = it.owner, it.tag, us(it.usual)
			r.Since, r.Remaining = us(max(0, now-it.since)), us(it.until-now)
			return false
		case !it.held(now):
			it.end()
			it.fence = max(it.fence+1, uint64(now))
			it.token, it.since, it.usual = req.Token, now, max(0, req.Usual.Microseconds())
			it.owner, it.tag = short(req.Owner), short(req.Tag)
		}
		it.until = after(now, req.TTL)
		r.Won, r.Fence, r.Token = true, it.fence, backend.NameLease(it.token, it.fence)
		return true
	}
}

func us(n int64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/1000)) * time.Microsecond
}

// short drops what is too long to be kept.
func short(s string) string {
	if len(s) > maxWords {
		return ""
	}
	return s
}

// Commit implements backend.Leaser.
func (s *Store) Commit(ctx context.Context, key, token string, value []byte, ttl time.Duration) (ok bool, err error) {
	if len(value) > s.max {
		return false, ErrTooLarge
	}
	err = s.update(ctx, key, committing(token, value, ttl, &ok))
	return ok && err == nil, err
}

func committing(token string, value []byte, ttl time.Duration, ok *bool) func(it *item, now int64) bool {
	return func(it *item, now int64) bool {
		if it.owns(token, now) {
			it.put(value, now, ttl)
			it.failures, *ok = 0, true
			return true
		}
		*ok = it.fresh(now) && bytes.Equal(it.value, value) // a repetition
		return false
	}
}

// Renew implements backend.Leaser.
func (s *Store) Renew(ctx context.Context, key, token string, ttl time.Duration) (ok bool, err error) {
	err = s.update(ctx, key, func(it *item, now int64) bool {
		if ok = it.owns(token, now); ok {
			it.until = after(now, ttl)
		}
		return ok
	})
	return ok && err == nil, err
}

// Release implements backend.Leaser.
func (s *Store) Release(ctx context.Context, key, token string, f backend.Failure) (ok bool, err error) {
	err = s.update(ctx, key, func(it *item, now int64) bool {
		if ok = it.owns(token, now); ok {
			it.end()
			if f.CoolDown > 0 {
				it.fail(f, now)
			}
		}
		return ok
	})
	return ok && err == nil, err
}

// fail counts a failure and begins the cool-down after it.
func (it *item) fail(f backend.Failure, now int64) {
	if it.rowOver(now) {
		it.failures = 0
	}
	it.failures = min(it.failures+1, maxFailures)
	longest, cool := max(f.CoolDown, f.CoolDownMax), f.CoolDown
	for range it.failures - 1 {
		if cool >= longest/2 {
			cool = longest
			break
		}
		cool *= 2
	}
	it.coolUntil, it.text = after(now, cool), f.Text[:min(len(f.Text), maxWords)]
}

// LeaseMulti implements backend.MultiLeaser. It costs a round trip or two for
// each 64 keys on a server.
func (s *Store) LeaseMulti(ctx context.Context, asks []backend.LeaseAsk) []backend.LeaseAnswer {
	answers := make([]backend.LeaseAnswer, len(asks))
	changes := make([]*change, len(asks))
	for i, a := range asks {
		changes[i] = s.change(a.Key, leasing(a.LeaseRequest, &answers[i].LeaseReply))
	}
	s.applyEach(ctx, changes)
	for i, c := range changes {
		if c.err != nil {
			answers[i] = backend.LeaseAnswer{Err: c.err}
		}
	}
	return answers
}

// CommitMulti implements backend.MultiLeaser. An entry that is too large fails
// alone.
func (s *Store) CommitMulti(ctx context.Context, asks []backend.CommitAsk) []backend.CommitAnswer {
	answers := make([]backend.CommitAnswer, len(asks))
	var changes []*change
	var places []int
	for i, a := range asks {
		if len(a.Value) > s.max {
			answers[i].Err = ErrTooLarge
			continue
		}
		changes = append(changes, s.change(a.Key, committing(a.Token, a.Value, a.TTL, &answers[i].OK)))
		places = append(places, i)
	}
	s.applyEach(ctx, changes)
	for i, c := range changes {
		if c.err != nil {
			answers[places[i]] = backend.CommitAnswer{Err: c.err}
		}
	}
	return answers
}
