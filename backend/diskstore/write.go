package diskstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/bellwethercache/bellwether/backend"
)

// op is a write that waits for its transaction. What it holds is its own: its
// caller may have left.
type op struct {
	size  int // bytes that it adds
	apply func(t *tables) error
	done  chan error
}

const maxBatch = 256

// do hands a write to the writer and waits for it.
func (s *Store) do(ctx context.Context, size int, apply func(t *tables) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	o := &op{size: size, apply: apply, done: make(chan error, 1)}
	select {
	case <-s.stop:
		return backend.ErrClosed
	default:
	}
	select {
	case s.ops <- o:
	case <-s.stop:
		return backend.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.done:
		select {
		case err := <-o.done:
			return err
		default:
			return backend.ErrClosed
		}
	}
}

// writeAll is the only writer. It puts all that waits into one transaction:
// what a commit costs is shared.
func (s *Store) writeAll() {
	defer close(s.done)
	for {
		select {
		case <-s.stop:
			return
		case o := <-s.ops:
			s.commit(s.gather(o))
		}
	}
}

func (s *Store) gather(first *op) []*op {
	batch, size := []*op{first}, first.size
	for len(batch) < maxBatch && int64(size) < s.opts.MaxBytes/entryShare {
		select {
		case o := <-s.ops:
			batch = append(batch, o)
			size += o.size
		default:
			return batch
		}
	}
	return batch
}

func (s *Store) commit(batch []*op) {
	err := s.try(batch)
	if errors.Is(err, errHealed) {
		err = s.try(batch)
	}
	for _, o := range batch {
		o.done <- err
	}
}

var errHealed = errors.New("diskstore: begun anew")

func (s *Store) try(batch []*op) error {
	s.mu.RLock()
	db, err := s.current()
	if err == nil {
		err = safely(func() error {
			return db.Update(func(tx *bbolt.Tx) error { return s.applyAll(newTables(tx), batch) })
		})
	}
	s.mu.RUnlock()
	if errors.Is(err, ErrDamaged) {
		if err := s.heal(db, err); err != nil {
			return err
		}
		return errHealed
	}
	if err != nil && !errors.Is(err, backend.ErrClosed) {
		return fmt.Errorf("diskstore: %w", err)
	}
	return err
}

func (s *Store) applyAll(t *tables, batch []*op) error {
	size := 0
	for _, o := range batch {
		size += o.size
	}
	if err := s.evict(t, size); err != nil {
		return err
	}
	for _, o := range batch {
		if err := o.apply(t); err != nil {
			return err
		}
	}
	return nil
}

// evict drops the oldest entries when room for size bytes is short: twice as
// much, because pages are given back only when they are empty.
func (s *Store) evict(t *tables, size int) error {
	// A transaction writes its pages anew before the old ones are free, and an
	// entry needs pages that lie side by side.
	eighth := s.opts.MaxBytes / 8
	limit := s.opts.MaxBytes - eighth - min(eighth, 1<<20)
	if size == 0 || t.used()+int64(size) <= limit {
		return nil
	}
	var olds []found
	c := t.data.Cursor()
	for k, v := c.First(); k != nil && size > -evictMore; k, v = c.Next() {
		o := found{at: newPlace(binary.BigEndian.Uint64(k), 0)}
		if e, ok := parse(v); ok {
			o = found{indexKey(string(e.key)), newPlace(binary.BigEndian.Uint64(k), e.until)}
		}
		olds = append(olds, o)
		size -= (len(k) + len(v)) / 2
	}
	for _, o := range olds {
		if o.indexed != nil {
			if err := t.drop(o.indexed, o.at); err != nil {
				return err
			}
		}
		if err := t.data.Delete(o.at[:8]); err != nil { // also one that no key leads to
			return err
		}
	}
	return nil
}

// evictMore is evicted beyond need, so that not every write evicts.
const evictMore = 16 << 10

// Set implements backend.Store. It returns when the entry would survive the end
// of this process, not that of the machine.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	rec, err := s.record(key, value, ttl)
	if err != nil {
		return err
	}
	return s.do(ctx, len(rec), func(t *tables) error { return t.put(key, rec) })
}

func (s *Store) record(key string, value []byte, ttl time.Duration) ([]byte, error) {
	if size, limit := int64(headSize+len(key)+len(value)), s.opts.MaxBytes/entryShare; size > limit {
		return nil, fmt.Errorf("%w: %d bytes, with Options.MaxBytes at %d it may have %d", ErrTooLarge, size, s.opts.MaxBytes, limit)
	}
	return record(key, value, s.now(), ttl), nil
}

// Delete implements backend.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	keys = append([]string{}, keys...)
	return s.do(ctx, 0, func(t *tables) error {
		for _, key := range keys {
			if err := t.drop(indexKey(key), place{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Swap implements backend.Swapper.
func (s *Store) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	rec, err := s.record(key, value, ttl)
	if err != nil {
		return false, err
	}
	old, value = append([]byte{}, old...), rec[headSize+len(key):]
	swapped := false
	err = s.do(ctx, len(rec), func(t *tables) error {
		e, found, _ := t.get(key)
		switch {
		case !found || !e.live(s.now()):
			swapped = false
		case bytes.HasPrefix(e.value, old):
			swapped = true
			return t.put(key, rec)
		default:
			swapped = bytes.Equal(e.value, value) // a repetition
		}
		return nil
	})
	if err != nil {
		return false, err // swapped may still be the writer's
	}
	return swapped, nil
}
