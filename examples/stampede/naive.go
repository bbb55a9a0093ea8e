package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/valkey-io/valkey-go"
	"go.opentelemetry.io/otel/trace"

	"github.com/bellwethercache/bellwether/internal/valkeyconn"
	"github.com/bellwethercache/bellwether/lock"
)

// opTimeout bounds one command of the two protections that are not ours, as
// the library bounds its own.
const opTimeout = 100 * time.Millisecond

// none is cache-aside as everybody writes it first: read, or else load and
// write. Nothing stops a herd.
type none struct {
	client valkey.Client
	source *source
	tracer trace.Tracer
	prefix string
}

func openNone(s *setup, src *source, tracer trace.Tracer) (*none, error) {
	client, err := connect(s.Valkey)
	if err != nil {
		return nil, err
	}
	return &none{client: client, source: src, tracer: tracer, prefix: namespace + ":" + s.Protection + ":"}, nil
}

// connect returns a client also when the server is away: it heals by itself.
func connect(url string) (valkey.Client, error) {
	opt, err := valkeyconn.Options(url)
	if err != nil {
		return nil, err
	}
	client, err := valkey.NewClient(opt)
	if client == nil {
		return nil, fmt.Errorf("valkey: %w", err)
	}
	return client, nil
}

func (n *none) close() error {
	n.client.Close()
	return nil
}

func (n *none) get(ctx context.Context, c city) (weather, error) {
	if w, ok := n.read(ctx, c); ok {
		return w, nil
	}
	st := n.tell(ctx)
	defer st.end()
	return n.load(st.ctx, c, roleUnprotected)
}

// read takes a server that does not answer for one that has nothing.
func (n *none) read(ctx context.Context, c city) (w weather, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	data, err := n.client.Do(ctx, n.client.B().Get().Key(n.prefix+c.key()).Build()).AsBytes()
	if err != nil || json.Unmarshal(data, &w) != nil {
		return w, false
	}
	tracked(ctx).set(func(t *track) { t.remote = true })
	return w, true
}

func (n *none) load(ctx context.Context, c city, role string) (weather, error) {
	w, err := n.traced(ctx, c, role)
	if err != nil {
		return w, err
	}
	data, err := json.Marshal(w)
	if err != nil {
		return w, err
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	_ = n.client.Do(ctx, n.client.B().Set().Key(n.prefix+c.key()).Value(string(data)).Px(entryTTL).Build()).Error() // the caller has its value
	return w, nil
}

// naive is the textbook's lock before the load: SET NX PX with a fixed TTL, five
// retries with backoff and jitter, at each a read and another try, a plain DEL
// at the end.
//
// What is wrong with it, when the load takes longer than the lock:
//
//	1 A locks for 100 ms and loads for 300 ms
//	2 at 100 ms the lock is gone
//	3 B wakes, reads nothing, gets the lock, loads a second time
//	4 A ends, and its DEL removes B's lock
//	5 C gets the lock ...
type naive struct {
	none
	lockTTL time.Duration
	backoff lock.Backoff
}

// naiveRetries is how often the textbook's waiter tries again.
const naiveRetries = 5

func openNaive(s *setup, src *source, tracer trace.Tracer) (*naive, error) {
	plain, err := openNone(s, src, tracer)
	if err != nil {
		return nil, err
	}
	return &naive{none: *plain, lockTTL: s.LockTTL, backoff: lock.DefaultBackoff()}, nil
}

func (n *naive) get(ctx context.Context, c city) (weather, error) {
	t := tracked(ctx)
	if w, ok := n.read(ctx, c); ok {
		return w, nil
	}
	st := n.tell(ctx)
	defer st.end()
	for retry := 0; ; retry++ {
		if retry > 0 {
			if w, ok := n.read(ctx, c); ok {
				t.waited(st.waited(outcomeFilled))
				return w, nil
			}
		}
		won, err := n.lock(ctx, c)
		if won || err != nil { // no server, no lock
			if retry > 0 {
				t.waited(st.waited(outcomeAcquired))
			}
			return n.loadLocked(st.ctx, c, won)
		}
		if retry == 0 {
			st.contended()
		}
		t.set(func(t *track) { t.rec.Lock = lockHeld })
		if retry == naiveRetries {
			t.waited(st.waited(outcomeTimeout))
			t.set(func(t *track) { t.rec.TimedOut = true })
			return n.load(st.ctx, c, roleUnprotected)
		}
		t.set(func(t *track) { t.rec.Retries++ })
		st.retry(retry + 1)
		if err := wait(ctx, n.backoff(retry)); err != nil {
			st.waited(outcomeCanceled)
			return weather{}, err
		}
	}
}

func (n *naive) lockKey(c city) string { return n.prefix + c.key() + ":lock" }

func (n *naive) lock(ctx context.Context, c city) (won bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	err = n.client.Do(ctx, n.client.B().Set().Key(n.lockKey(c)).Value(fmt.Sprint(os.Getpid())).Nx().Px(n.lockTTL).Build()).Error()
	if valkey.IsValkeyNil(err) {
		return false, nil
	}
	return err == nil, err
}

func (n *naive) loadLocked(ctx context.Context, c city, won bool) (weather, error) {
	if !won {
		return n.load(ctx, c, roleUnprotected)
	}
	tracked(ctx).set(func(t *track) { t.rec.Lock = lockAcquired })
	w, err := n.load(ctx, c, roleHolder)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
	defer cancel()
	_ = n.client.Do(ctx, n.client.B().Del().Key(n.lockKey(c)).Build()).Error() // it ends by itself
	return w, err
}
