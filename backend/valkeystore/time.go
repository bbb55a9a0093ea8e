package valkeystore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

// serverTime estimates the server's clock as this process's monotonic clock
// plus an offset, taken from replies that carry the time. Entries are stamped
// and aged with it, so nodes whose clocks disagree agree on an entry's age to
// within a round trip.
type serverTime struct {
	offset atomic.Int64  // server µs - monotonic µs
	taken  atomic.Int64  // monotonic ns of the sample that it is of; 0: none yet
	error  atomic.Int64  // µs by which the estimate may have been off when it was taken
	asked  atomic.Int64  // monotonic ns of the last sample, if it was not better
	heard  atomic.Uint64 // the greatest stamp of the server's that is known of
}

const timeSampleEvery = int64(10 * time.Second)

// due reports whether the estimate wants a new sample.
func (t *serverTime) due() bool {
	return clock.Now()-t.asked.Load() > timeSampleEvery // the first time too: Now is large
}

// claim is due, said to one caller at a time.
func (t *serverTime) claim() bool {
	asked, now := t.asked.Load(), clock.Now()
	return t.taken.Load() == 0 || now-asked > timeSampleEvery && t.asked.CompareAndSwap(asked, now)
}

// set records that the server's clock stood at now (µs) at some moment between
// the monotonic times began and ended. A reply that was long on its way tells less
// than is known, unless it does not agree with that: then the server's clock was set, or
// the server is another.
func (t *serverTime) set(began, ended, now int64) {
	if now <= 0 {
		return
	}
	t.asked.Store(ended)
	offset, taken := now-(began+(ended-began)/2)/1000, t.taken.Load() // began+ended would overflow
	wide, known := (ended-began)/2/1000+1, t.error.Load()+(ended-taken)/1000/drift
	if by := offset - t.offset.Load(); taken != 0 && wide > known && max(by, -by) <= wide+known {
		return
	}
	t.offset.Store(offset)
	t.error.Store(wide)
	t.taken.Store(ended)
}

// Now implements backend.Clock.
func (s *Store) Now(ctx context.Context) (int64, error) {
	if s.time.taken.Load() == 0 {
		c, err := s.client(ctx)
		if err != nil {
			return 0, err
		}
		if err := s.sampleTime(ctx, c); err != nil {
			return 0, err
		}
	}
	return clock.Now()/1000 + s.time.offset.Load(), nil
}

// drift is by how much two clocks may come apart: 200 ppm, twice what a poor
// crystal does.
const drift = 5000

// floor is an instant of the server's clock that has passed already, unless that
// was set back: what is stamped with it is never taken for younger than it is.
func (t *serverTime) floor() uint64 {
	now := clock.Now()
	since := (now - t.taken.Load()) / 1000
	floor := now/1000 + t.offset.Load() - t.error.Load() - since/drift
	return max(uint64(max(floor, 0)), t.heard.Load()+1)
}

// hear notes a stamp that the server has given: its clock is beyond that.
func (t *serverTime) hear(stamp uint64) {
	for {
		old := t.heard.Load()
		if stamp <= old || t.heard.CompareAndSwap(old, stamp) {
			return
		}
	}
}

func (s *Store) sampleTime(ctx context.Context, c valkey.Client) error {
	began := clock.Now()
	now, err := parseTime(c.Do(ctx, c.B().Time().Build()))
	if err != nil {
		return err
	}
	s.time.set(began, clock.Now(), now)
	return nil
}

func parseTime(r valkey.ValkeyResult) (int64, error) {
	parts, err := r.AsIntSlice()
	if err != nil || len(parts) != 2 {
		return 0, valkeylease.Wrap(err)
	}
	return parts[0]*1e6 + parts[1], nil
}
