package sqlstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/internal/clock"
)

// serverTime estimates the database's clock as this process's monotonic clock
// plus an offset, taken from rows that were read. Entries are stamped and aged
// with it.
type serverTime struct {
	offset atomic.Int64 // database µs - monotonic µs
	taken  atomic.Int64 // monotonic ns of the last sample; 0: none yet
}

const timeSampleEvery = int64(10 * time.Second)

func now() int64 { return clock.Now() }

// set records that the database's clock stood at server (µs) at some moment
// between the monotonic times began and ended, unless that was recorded a
// moment ago.
func (t *serverTime) set(began, ended, server int64) {
	if taken := t.taken.Load(); taken != 0 && ended-taken < timeSampleEvery {
		return
	}
	t.offset.Store(server - (began+(ended-began)/2)/1000) // began+ended would overflow
	t.taken.Store(ended)
}

// Now implements backend.Clock.
func (s *Store) Now(ctx context.Context) (int64, error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	if s.time.taken.Load() == 0 {
		var server int64
		began := now()
		if err := s.query(ctx, s.sql.now, nil, &server); err != nil {
			return 0, err
		}
		s.time.set(began, now(), server)
	}
	return now()/1000 + s.time.offset.Load(), nil
}
