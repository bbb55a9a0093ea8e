package valkeyconn

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/valkey-io/valkey-go"
)

// Tracking asks servers to track, key by key, what the client reads.
type Tracking struct {
	// Invalidated is told what has changed of that; nil stands for anything. It
	// must not block.
	Invalidated func([]valkey.ValkeyMessage)

	// Untracked is called when nothing is tracked any more, for good. It must not
	// block.
	Untracked func()
}

// options has each connection tracked.
func (t *Tracking) options(opt valkey.ClientOption) valkey.ClientOption {
	opt.DisableCache, opt.OnInvalidations = false, t.Invalidated
	opt.ClientTrackingOptions = []string{"NOLOOP"} // what it changes itself is not told on the same connection
	opt.PipelineMultiplex = -1                     // one to each node: by several the same key would be told of several times
	return opt
}

// untracked undoes it.
func untracked(opt valkey.ClientOption) valkey.ClientOption {
	opt.DisableCache, opt.OnInvalidations, opt.ClientTrackingOptions, opt.PipelineMultiplex = true, nil, nil, 0
	return opt
}

// tracked is a client whose connections are tracked, until a server refuses that
// of a new one: its rights were taken, or it is another behind the same address.
// The client has no way to do without, and would fail every call from then on, so
// another one takes its place. It is not tracked anywhere: who reads by it could
// not tell which of its keys he is told of.
type tracked struct {
	valkey.Client // the first: its builder serves for the second as well
	conn          *Conn
	opt           valkey.ClientOption // of the second

	current atomic.Pointer[valkey.Client]

	mu       sync.Mutex
	changing chan struct{} // closed when an attempt to change over has ended; nil: none is under way
	closed   bool
	wg       sync.WaitGroup
}

func newTracked(conn *Conn, c valkey.Client, opt valkey.ClientOption) *tracked {
	t := &tracked{Client: c, conn: conn, opt: untracked(opt)}
	t.current.Store(&c)
	return t
}

// Do does it again with the second client if it cannot have reached a server.
func (t *tracked) Do(ctx context.Context, cmd valkey.Completed) valkey.ValkeyResult {
	c := t.current.Load()
	r := (*c).Do(ctx, cmd)
	if t.again(ctx, c, r) {
		r = (*t.current.Load()).Do(ctx, cmd)
	}
	return r
}

// DoMulti does again what cannot have reached a server.
func (t *tracked) DoMulti(ctx context.Context, cmds ...valkey.Completed) []valkey.ValkeyResult {
	c := t.current.Load()
	results := (*c).DoMulti(ctx, cmds...)
	var which []int
	var again []valkey.Completed
	for i, r := range results {
		if t.again(ctx, c, r) {
			which, again = append(which, i), append(again, cmds[i])
		}
	}
	if len(again) > 0 {
		for i, r := range (*t.current.Load()).DoMulti(ctx, again...) {
			results[which[i]] = r
		}
	}
	return results
}

func (t *tracked) Nodes() map[string]valkey.Client { return (*t.current.Load()).Nodes() }

// again reports whether r failed for want of tracking, or because c was closed
// for that, and there is another client by now.
func (t *tracked) again(ctx context.Context, c *valkey.Client, r valkey.ValkeyResult) bool {
	err := r.NonValkeyError()
	if err == nil {
		return false
	}
	if errors.Is(err, valkey.ErrNoCache) && t.current.Load() == c {
		select {
		case <-t.change():
		case <-ctx.Done():
		}
	}
	return t.current.Load() != c && (errors.Is(err, valkey.ErrNoCache) || errors.Is(err, valkey.ErrClosing))
}

// change begins to change over, if that is not under way, and returns a channel
// that is closed when the attempt has ended.
func (t *tracked) change() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changing != nil {
		return t.changing
	}
	done := make(chan struct{})
	if t.closed || !t.conn.tracked.Load() {
		close(done)
		return done
	}
	t.changing = done
	t.wg.Go(func() { // ends within the client's own limits; Close waits for it
		t.second()
		t.mu.Lock()
		t.changing = nil
		t.mu.Unlock()
		close(done)
	})
	return done
}

// second puts the second client in the first one's place. With a cluster whose
// nodes are all away there is none yet: the next call tries again.
func (t *tracked) second() {
	c, _ := valkey.NewClient(t.opt)
	if c == nil { // who called gets the first one's error
		return
	}
	t.conn.tracked.Store(false) // before it can be used
	old := t.current.Swap(&c)
	t.conn.untracked()
	(*old).Close()
}

func (t *tracked) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.wg.Wait()
	(*t.current.Load()).Close()
}
