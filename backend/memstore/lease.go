package memstore

import (
	"bytes"
	"context"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// lease is a key's lease or, after a failed load, its cool-down.
type lease struct {
	backend.LeaseRequest
	fence        uint64
	since, until time.Time
	watched      bool // somebody is to be told of its end

	cooling *backend.Cooling
}

// name is the token of this lease alone.
func (l lease) name() string { return backend.NameLease(l.Token, l.fence) }

// row is how many loads of a key have failed since the last that did not.
type row struct {
	failures int
	until    time.Time
}

const (
	rowTTL      = time.Hour
	maxPush     = 1 << 10 // the largest value that a notice carries
	maxFailures = 9999
)

var (
	_ backend.Leaser      = (*Store)(nil)
	_ backend.MultiLeaser = (*Store)(nil)
	_ backend.Notifier    = (*Store)(nil)
)

// held returns key's lease or cool-down if there is one.
func (s *Store) held(key string, now time.Time) (lease, bool) {
	l, ok := s.leases[key]
	if ok && !now.Before(l.until) {
		delete(s.leases, key)
		ok = false
	}
	return l, ok
}

func (s *Store) owns(key, token string, now time.Time) bool {
	l, ok := s.held(key, now)
	return ok && l.cooling == nil && (token == l.Token || token == l.name())
}

// revoke is end by somebody who is not the holder: that is told as well, if it
// asked to be.
func (s *Store) revoke(key string, n backend.Notice) wakes {
	if l, ok := s.leases[key]; ok && l.Watch {
		l.watched = true
		s.leases[key] = l
	}
	return s.end(key, n)
}

// end drops key's lease or cool-down and returns those to wake. The mutex is
// held.
func (s *Store) end(key string, n backend.Notice) (w wakes) {
	if s.leases[key].watched {
		for x := range s.watches[key] {
			w = append(w, waking{wake: x.wake, notice: n})
		}
	}
	delete(s.leases, key)
	return w
}

// Lease implements backend.Leaser.
func (s *Store) Lease(ctx context.Context, key string, req backend.LeaseRequest) (r backend.LeaseReply, err error) {
	err = s.do(ctx, func(now time.Time) { r = s.lease(key, req, now) })
	return r, err
}

func (s *Store) lease(key string, req backend.LeaseRequest, now time.Time) (r backend.LeaseReply) {
	data, ok := s.live(key, now)
	if ok && (req.Rejected == nil || !bytes.HasPrefix(data, req.Rejected)) {
		r.Value = append([]byte{}, data...)
		return r
	}
	l, held := s.held(key, now)
	switch {
	case held && l.cooling != nil:
		c := *l.cooling
		c.RetryAfter = l.until.Sub(now)
		r.Cooling = &c
		return r
	case held && l.Token != req.Token:
		if req.Watch {
			l.watched = true
			s.leases[key] = l
		}
		r.Owner, r.Tag, r.Usual, r.Pushed = l.Owner, l.Tag, l.Usual, req.Watch
		r.Since, r.Remaining = now.Sub(l.since), l.until.Sub(now)
		return r
	case !held:
		l = lease{LeaseRequest: req, fence: s.next(now), since: now}
	}
	l.until = now.Add(req.TTL)
	s.leases[key] = l
	r.Won, r.Fence, r.Token = true, l.fence, l.name()
	return r
}

// Commit implements backend.Leaser.
func (s *Store) Commit(ctx context.Context, key, token string, data []byte, ttl time.Duration) (ok bool, err error) {
	var wakes wakes
	defer func() { wakes.do() }() // without the mutex: a wake may call its stop
	err = s.do(ctx, func(now time.Time) {
		if s.owns(key, token, now) {
			_, replaced := s.live(key, now)
			s.put(key, data, now.Add(ttl))
			delete(s.rows, key)
			wakes, ok = s.end(key, small(data)), true
			if replaced { // else nobody has anything older
				wakes = append(wakes, s.changed(key, data)...)
			}
			return
		}
		there, found := s.live(key, now)
		ok = found && bytes.Equal(there, data) // a repetition
	})
	return ok, err
}

// Renew implements backend.Leaser.
func (s *Store) Renew(ctx context.Context, key, token string, ttl time.Duration) (ok bool, err error) {
	err = s.do(ctx, func(now time.Time) {
		if ok = s.owns(key, token, now); ok {
			l := s.leases[key]
			l.until = now.Add(ttl)
			s.leases[key] = l
		}
	})
	return ok, err
}

// Release implements backend.Leaser.
func (s *Store) Release(ctx context.Context, key, token string, f backend.Failure) (ok bool, err error) {
	var wakes wakes
	defer func() { wakes.do() }() // without the mutex: a wake may call its stop
	err = s.do(ctx, func(now time.Time) {
		if ok = s.owns(key, token, now); !ok {
			return
		}
		if f.CoolDown <= 0 {
			wakes = s.end(key, backend.Notice{})
			return
		}
		c := s.fail(key, f, now)
		wakes = s.end(key, backend.Notice{Cooling: c})
		s.leases[key] = lease{until: now.Add(c.RetryAfter), cooling: c}
	})
	return ok, err
}

// fail counts a failure and returns the cool-down after it.
func (s *Store) fail(key string, f backend.Failure, now time.Time) *backend.Cooling {
	n := 1
	if r := s.rows[key]; now.Before(r.until) {
		n = min(r.failures+1, maxFailures)
	}
	s.rows[key] = row{n, now.Add(rowTTL)}
	longest, cool := max(f.CoolDown, f.CoolDownMax), f.CoolDown
	for range n - 1 {
		if cool >= longest/2 {
			cool = longest
			break
		}
		cool *= 2
	}
	return &backend.Cooling{Failures: n, RetryAfter: cool, Text: f.Text}
}

// LeaseMulti implements backend.MultiLeaser.
func (s *Store) LeaseMulti(ctx context.Context, asks []backend.LeaseAsk) []backend.LeaseAnswer {
	answers := make([]backend.LeaseAnswer, len(asks))
	for i, a := range asks {
		answers[i].LeaseReply, answers[i].Err = s.Lease(ctx, a.Key, a.LeaseRequest)
	}
	return answers
}

// CommitMulti implements backend.MultiLeaser.
func (s *Store) CommitMulti(ctx context.Context, asks []backend.CommitAsk) []backend.CommitAnswer {
	answers := make([]backend.CommitAnswer, len(asks))
	for i, a := range asks {
		answers[i].OK, answers[i].Err = s.Commit(ctx, a.Key, a.Token, a.Value, a.TTL)
	}
	return answers
}
