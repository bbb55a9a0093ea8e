package diskstore

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// Get implements backend.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	var value []byte
	sound := true
	err := s.view(ctx, func(t *tables) error {
		var e entry
		var found bool
		if e, found, sound = t.get(key); found && e.live(s.now()) {
			value = append([]byte{}, e.value...)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case !sound:
		s.dropUnsound(ctx, key)
	case value != nil:
		return value, nil
	}
	return nil, backend.ErrMiss
}

// dropUnsound removes an entry whose bytes have changed on the disk.
func (s *Store) dropUnsound(ctx context.Context, key string) {
	if s.opts.FailIfDamaged {
		return
	}
	dropped := false
	err := s.do(ctx, 0, func(t *tables) error {
		if _, _, sound := t.get(key); sound {
			return nil
		}
		dropped = true
		return t.drop(indexKey(key), place{})
	})
	if err == nil && dropped {
		s.opts.Warn(Warning{Err: fmt.Errorf("%w: an entry is not what was written", ErrDamaged)})
	}
}

// Lister is an ability of a store that can tell what it holds, so that a
// service that starts can fill its memory with what was there before it ended.
type Lister interface {
	// Entries goes over the live entries, newest write first. It takes no
	// snapshot: entries that are written meanwhile may be left out, and ones
	// that are deleted may be shown. It ends after the first error.
	Entries(ctx context.Context) iter.Seq2[Entry, error]
}

// Entry is what a [Lister] tells of an entry.
type Entry struct {
	Key       string
	Size      int           // of its value
	Age       time.Duration // since its write
	Remaining time.Duration // of its ttl
}

const slice = 256 // entries that are looked at in one transaction

// Entries implements Lister. Between two slices no transaction is open, so it
// may be left at any pace.
func (s *Store) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var before []byte // the oldest place seen
		for {
			entries, last, err := s.slice(ctx, before)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
			if last == nil {
				return
			}
			before = last
		}
	}
}

// slice returns the live ones of the entries written before a place, and the
// place to go on at, if there are more.
func (s *Store) slice(ctx context.Context, before []byte) (entries []Entry, last []byte, err error) {
	err = s.view(ctx, func(t *tables) error {
		entries, last = entries[:0], nil
		c, now := t.data.Cursor(), s.now()
		var k, v []byte
		if before == nil {
			k, v = c.Last()
		} else if k, _ = c.Seek(before); k == nil {
			k, v = c.Last() // it has been deleted, and was the newest
		} else {
			k, v = c.Prev()
		}
		for range slice {
			if k == nil {
				return nil
			}
			if e, ok := parse(v); ok && e.live(now) {
				entries = append(entries, Entry{
					Key: string(e.key), Size: len(e.value),
					Age: micros(now - e.written), Remaining: micros(e.until - now),
				})
			}
			last = append(last[:0], k...)
			k, v = c.Prev()
		}
		return nil
	})
	return entries, last, err
}

func micros(us int64) time.Duration {
	if d := time.Duration(us) * time.Microsecond; d/time.Microsecond == time.Duration(us) {
		return d
	}
	return 1<<63 - 1
}

// sweepAll removes expired entries, until Close.
func (s *Store) sweepAll() {
	t := time.NewTicker(s.opts.SweepEvery)
	defer t.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.sweep(ctx)
		}
	}
}

// sweep goes over the index once. What fails is left to the next sweep.
func (s *Store) sweep(ctx context.Context) {
	var from []byte
	for {
		ended, next, err := s.ended(ctx, from)
		if err != nil {
			return
		}
		if len(ended) > 0 {
			err = s.do(ctx, 0, func(t *tables) error {
				for _, x := range ended {
					if err := t.drop(x.indexed, x.at); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil || next == nil {
			return
		}
		from = next
	}
}

// found is an entry as the index knows it.
type found struct {
	indexed []byte
	at      place
}

// ended returns the expired ones of a slice of the index, and where to go on.
func (s *Store) ended(ctx context.Context, from []byte) (ended []found, next []byte, err error) {
	select {
	case <-s.stop:
		return nil, nil, backend.ErrClosed
	default:
	}
	err = s.view(ctx, func(t *tables) error {
		ended, next = nil, nil
		now, c := s.now(), t.index.Cursor()
		k, v := c.Seek(from)
		for range slice {
			if k == nil {
				return nil
			}
			var p place
			if copy(p[:], v) == placeSize && p.until() <= now {
				ended = append(ended, found{bytes.Clone(k), p})
			}
			k, v = c.Next()
		}
		next = bytes.Clone(k)
		return nil
	})
	return ended, next, err
}
