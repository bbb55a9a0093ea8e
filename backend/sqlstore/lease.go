package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

var _ backend.Leaser = (*Store)(nil)

const maxWords = 1024 // of an owner, a tag or the text of a failure

// row is what the table holds of a key. Times are the database's, in
// microseconds.
type row struct {
	now                      int64
	value                    []byte
	valueUntil               int64
	token                    string
	since, leaseUntil, usual int64
	owner, tag               []byte
	failures                 int
	coolUntil                int64
	why                      []byte
}

func (r *row) fresh() bool { return r.value != nil && r.now < r.valueUntil }

// read returns the row of key, or an empty one. An entry that is too large is
// none, and stays where it is.
func (s *Store) read(ctx context.Context, key string) (row, error) {
	var r row
	began := now()
	err := s.query(ctx, s.sql.read, []any{column(key), s.max},
		&r.now, &r.value, &r.valueUntil, &r.token, &r.since, &r.leaseUntil, &r.usual, &r.owner, &r.tag, &r.failures, &r.coolUntil, &r.why)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return row{}, nil
	case err != nil:
		return row{}, err
	}
	s.time.set(began, now(), r.now)
	return r, nil
}

// Lease implements backend.Leaser. It looks first, which locks nothing and is
// all that most need, and takes the lease in one statement that looks again.
func (s *Store) Lease(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	for {
		r, err := s.read(ctx, key)
		if err != nil {
			return backend.LeaseReply{}, err
		}
		if reply, ok := r.answer(req); ok {
			return reply, nil
		}
		var fence int64
		err = s.query(ctx, s.sql.take, []any{
			column(key), req.Token, micros(req.TTL), max(0, req.Usual.Microseconds()),
			short(req.Owner), short(req.Tag), orNull(req.Rejected), s.max,
		}, &fence)
		switch {
		case err == nil:
			return backend.LeaseReply{
				Won: true, Fence: uint64(fence), Token: backend.NameLease(req.Token, uint64(fence)),
			}, nil
		case !errors.Is(err, sql.ErrNoRows):
			return backend.LeaseReply{}, err
		}
		// Somebody was quicker: there is something to see now.
	}
}

// answer says what r says to req, unless that is: try and take it.
func (r *row) answer(req backend.LeaseRequest) (backend.LeaseReply, bool) {
	switch {
	case r.fresh() && (req.Rejected == nil || !bytes.HasPrefix(r.value, req.Rejected)):
		return backend.LeaseReply{Value: r.value}, true
	case r.now < r.coolUntil:
		return backend.LeaseReply{Cooling: &backend.Cooling{
			Failures: r.failures, RetryAfter: us(r.coolUntil - r.now), Text: string(r.why),
		}}, true
	case r.now < r.leaseUntil && r.token != req.Token:
		return backend.LeaseReply{
			Owner: string(r.owner), Tag: string(r.tag), Usual: us(r.usual),
			Since: us(max(0, r.now-r.since)), Remaining: us(r.leaseUntil - r.now),
		}, true
	}
	return backend.LeaseReply{}, false
}

func us(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// short drops what is too long to be kept.
func short(s string) []byte {
	if len(s) > maxWords {
		return nil
	}
	return []byte(s)
}

// orNull is NULL, which equals nothing, for nil.
func orNull(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// Commit implements backend.Leaser.
func (s *Store) Commit(ctx context.Context, key, token string, value []byte, ttl time.Duration) (bool, error) {
	if len(value) > s.max {
		return false, ErrTooLarge
	}
	n, err := s.exec(ctx, s.sql.commit, column(key), token, some(value), micros(ttl))
	if err != nil || n > 0 {
		return err == nil, err
	}
	return s.holds(ctx, key, value)
}

// holds reports whether key holds value: so it does if this is a repetition
// after a lost reply.
func (s *Store) holds(ctx context.Context, key string, value []byte) (bool, error) {
	var one int
	err := s.query(ctx, s.sql.holds, []any{column(key), some(value)}, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Renew implements backend.Leaser.
func (s *Store) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	n, err := s.exec(ctx, s.sql.renew, column(key), token, micros(ttl))
	return n > 0, err
}

// Release implements backend.Leaser.
func (s *Store) Release(ctx context.Context, key, token string, f backend.Failure) (bool, error) {
	if f.CoolDown <= 0 {
		n, err := s.exec(ctx, s.sql.release, column(key), token)
		return n > 0, err
	}
	n, err := s.exec(ctx, s.sql.fail, column(key), token,
		micros(f.CoolDown), micros(max(f.CoolDown, f.CoolDownMax)), []byte(f.Text[:min(len(f.Text), maxWords)]))
	return n > 0, err
}
