package valkeystore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

// reads sends the Gets of the same moment together once there are many of them:
// while a batch is under way the next one gathers. Under load a GET costs a
// fraction of its own system calls and wake-ups (1.5 times the operations of
// one GET each at 64 and at 512 goroutines, measured on two cores); a few at a
// time are quicker on their own (0.55 times at 8).
type reads struct {
	direct    atomic.Int64 // GETs under way on their callers' goroutines
	gathering atomic.Bool  // a batch is under way; written under mu

	mu    sync.Mutex
	queue []*read
	wg    sync.WaitGroup
	pool  sync.Pool // of *read
}

const (
	maxDirect  = 12
	maxBatch   = 128
	batchLimit = time.Second
)

// read is one Get. Its fields belong to the batch until done is sent to.
type read struct {
	key  string // the server's
	val  []byte
	err  error
	done chan struct{} // of 1: the batch never waits for a caller that has left
}

func (s *Store) get(ctx context.Context, c valkey.Client, key string) ([]byte, error) {
	if ctx.Err() != nil { // else a batch might still answer
		return nil, context.Cause(ctx)
	}
	q := &s.reads
	if q.gathering.Load() {
		return s.getBatched(ctx, c, key)
	}
	if q.direct.Add(1) > maxDirect {
		q.direct.Add(-1)
		return s.getBatched(ctx, c, key)
	}
	defer q.direct.Add(-1)
	if s.time.due() {
		return s.getBatched(ctx, c, key) // a batch takes the time along
	}
	build := func() valkey.Completed { return c.B().Get().Key(s.layout.Value(key)).Build() }
	r := c.Do(ctx, build())
	if valkeylease.Again(ctx, r) {
		r = c.Do(ctx, build())
	}
	return s.value(r)
}

// getBatched queues a GET and waits for it on a channel: the caller leaves when
// its context ends, whatever the client is doing.
func (s *Store) getBatched(ctx context.Context, c valkey.Client, key string) ([]byte, error) {
	q := &s.reads
	r, _ := q.pool.Get().(*read)
	if r == nil {
		r = &read{done: make(chan struct{}, 1)}
	}
	r.key = s.layout.Value(key)

	q.mu.Lock()
	if s.closed.Load() { // under the mutex, or Close might not wait for our batch
		q.mu.Unlock()
		return nil, backend.ErrClosed
	}
	q.queue = append(q.queue, r)
	if !q.gathering.Load() { // one at a time: more would only make each smaller
		q.gathering.Store(true)
		q.wg.Add(1)
		go s.read(c) // ends when the queue is empty; Close waits for it
	}
	q.mu.Unlock()

	select {
	case <-r.done:
		val, err := r.val, r.err
		r.key, r.val, r.err = "", nil, nil
		q.pool.Put(r)
		return val, err
	case <-ctx.Done(): // r stays the batch's
		return nil, context.Cause(ctx)
	}
}

// read sends batch after batch until nobody asks.
func (s *Store) read(c valkey.Client) {
	defer s.reads.wg.Done()
	var batch []*read
	var cmds []valkey.Completed
	for {
		if batch = s.reads.next(batch[:0]); len(batch) == 0 {
			return
		}
		cmds = cmds[:0]
		for _, r := range batch {
			cmds = append(cmds, c.B().Get().Key(r.key).Build())
		}
		if !s.send(c, batch, cmds) {
			cmds = nil // the client may still be reading it
		}
	}
}

// wait waits for the batch under way. The store is closed: none follows.
func (q *reads) wait() {
	q.mu.Lock()
	q.mu.Unlock() //nolint:staticcheck // whoever saw the store open has added itself
	q.wg.Wait()
}

// next moves what is queued, up to a batch, to dst. With nothing queued the
// batch is over.
func (q *reads) next(dst []*read) []*read {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.queue), maxBatch)
	if n == 0 {
		q.gathering.Store(false)
		return dst
	}
	dst = append(dst, q.queue[:n]...)
	rest := copy(q.queue, q.queue[n:])
	clear(q.queue[rest:])
	q.queue = q.queue[:rest]
	return dst
}

// send runs a batch. Once in ten seconds the server's time rides along. It
// reports whether the client is through with cmds.
func (s *Store) send(c valkey.Client, batch []*read, cmds []valkey.Completed) (through bool) {
	ctx, cancel := context.WithTimeout(context.Background(), batchLimit)
	defer cancel()
	sample := s.time.claim()
	if sample && c.Mode() == valkey.ClientModeCluster { // its client panics on a batch with and without slots
		_ = s.sampleTime(ctx, c) // the next batch tries again
		sample = false
	}
	if sample {
		cmds = append(cmds, c.B().Time().Build())
	}
	began := clock.Now()
	replies := c.DoMulti(ctx, cmds...)
	if sample {
		if now, err := parseTime(replies[len(batch)]); err == nil {
			s.time.set(began, clock.Now(), now)
		}
	}
	for i, r := range batch {
		reply := replies[i]
		if valkeylease.Again(ctx, reply) {
			reply = c.Do(ctx, c.B().Get().Key(r.key).Build())
		}
		r.val, r.err = s.value(reply)
		r.done <- struct{}{}
	}
	return ctx.Err() == nil
}

func (s *Store) value(r valkey.ValkeyResult) ([]byte, error) {
	v, err := r.AsBytes()
	switch {
	case err == nil:
		return s.cut(v), nil
	case valkey.IsValkeyNil(err):
		return nil, backend.ErrMiss
	}
	return nil, valkeylease.Wrap(err)
}

// cut shortens what is larger than any entry that Set would have written: it is
// not one, and will be found out to be none.
func (s *Store) cut(v []byte) []byte { return v[:min(len(v), s.max)] }
