package fleettest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
)

// childEnv is set for a process that belongs to a fleet.
const childEnv = "BELLWETHER_FLEET_CHILD"

// RunIfChild must come first in TestMain: in a process of a fleet it does what
// the test says and does not return.
func RunIfChild() {
	if os.Getenv(childEnv) == "" {
		return
	}
	out := os.Stdout
	os.Stdout = os.Stderr // what prints must not disturb
	serve(os.Stdin, out)
	os.Exit(0)
}

// child is a process of a fleet, seen from within.
type child struct {
	ctx   context.Context // ends with the process
	out   *lines
	setup setup
	cache *cache.Cache[string, string]
	leaks goleak.Option // ignores what was there before the cache

	mu      sync.Mutex
	loaders map[string]Loader // "": the default
	running map[string]chan Outcome
	loads   int
}

// serve obeys the commands in in until it ends.
func serve(in io.Reader, out io.Writer) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &child{
		ctx: ctx, out: newLines(out),
		running: make(map[string]chan Outcome),
		leaks:   goleak.IgnoreCurrent(),
	}
	var wg sync.WaitGroup
	dec := json.NewDecoder(in)
	for {
		var cmd command
		if dec.Decode(&cmd) != nil {
			break
		}
		switch cmd.Op {
		case opOpen, opLoader, opRelease, opSync: // those that follow rely on it
			c.answer(&cmd)
		default:
			wg.Go(func() { c.answer(&cmd) }) // ends with ctx
		}
	}
	cancel()
	if c.cache != nil {
		_ = c.cache.Close()
	}
	wg.Wait()
}

func (c *child) answer(cmd *command) {
	result, err := c.do(cmd)
	if cmd.ID == 0 {
		return
	}
	m := message{ID: cmd.ID, Err: fail(err)}
	if result != nil {
		if m.Result, err = json.Marshal(result); err != nil {
			m.Err = fail(err)
		}
	}
	_ = c.out.send(m) // the parent may be gone
}

func (c *child) do(cmd *command) (any, error) {
	if c.cache == nil && cmd.Op != opOpen {
		return nil, errors.New("fleettest: not open")
	}
	switch cmd.Op {
	case opOpen:
		return nil, c.open(cmd.Setup)
	case opGet:
		return c.get(cmd), nil
	case opSet:
		return nil, c.cache.SetWith(c.ctx, cmd.Key, cmd.Value, cache.SetOptions{Tags: cmd.Keys})
	case opDelete:
		return nil, c.cache.Delete(c.ctx, cmd.Key)
	case opExpire:
		return nil, c.cache.Expire(c.ctx, cmd.Key)
	case opMany:
		return c.many(cmd)
	case opPeek:
		v, err := c.cache.Peek(c.ctx, cmd.Key)
		return short(v), err
	case opSee:
		return c.see(cmd)
	case opTags:
		if len(cmd.Keys) == 0 {
			return nil, c.cache.Clear(c.ctx)
		}
		return nil, c.cache.DeleteTags(c.ctx, cmd.Keys...)
	case opSave:
		return c.save(cmd)
	case opRestore:
		return c.restore(cmd)
	case opStats:
		return c.cache.Stats(), nil
	case opClose:
		return c.close()
	case opLoader:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.loaders[cmd.Key] = *cmd.Loader
		return nil, nil
	case opRelease:
		return nil, c.release(cmd)
	case opSync:
		return nil, nil
	}
	return nil, errors.New("fleettest: unknown command")
}

func (c *child) open(s *setup) (err error) {
	c.setup, c.loaders = *s, s.Loaders
	var far *valkeystore.Store
	if c.cache, far, err = s.Config.open(s.URL, c.load, c.hooks()); err != nil {
		return err
	}
	if !s.Config.Cold { // a server that is down is the test's business
		_, _ = c.cache.Peek(c.ctx, "fleettest-connect")
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		far.Listen(ctx)
	}
	return nil
}

// Closed is what came of a Close.
type Closed struct {
	Took  time.Duration
	Leaks string // the goroutines that are left; "": none
}

func (c *child) close() (r Closed, err error) {
	began := Now()
	err = c.cache.Close()
	r.Took = Now().Sub(began)
	if left := goleak.Find(c.leaks); left != nil {
		r.Leaks = left.Error()
	}
	return r, err
}

// get lines up callers and lets them go at once.
func (c *child) get(cmd *command) Got {
	var (
		got   = Got{Callers: cmd.Callers, Values: make(map[string]int), Errors: make(map[string]int)}
		mu    sync.Mutex
		wg    sync.WaitGroup
		start = make(chan struct{})
	)
	for range cmd.Callers {
		wg.Go(func() {
			<-start
			ctx, cancel := c.within(cmd.Timeout)
			defer cancel()
			began := Now()
			v, err := c.cache.Get(ctx, cmd.Key)
			ended := Now()
			mu.Lock()
			defer mu.Unlock()
			got.add(v, err, began, ended)
		})
	}
	c.until(cmd.At)
	got.Began = Now()
	close(start)
	wg.Wait()
	return got
}

// Seen is when a process saw another value of a key than before.
type Seen struct {
	Value string
	At    Moment // when the Get that gave it began
	Last  Moment // when the last Get that gave the old one ended
}

// see reads a key until its value is no longer what it was.
func (c *child) see(cmd *command) (s Seen, err error) {
	ctx, cancel := c.within(cmd.Timeout)
	defer cancel()
	for {
		began := Now()
		v, err := c.cache.Get(ctx, cmd.Key)
		if err != nil {
			return s, err
		}
		if s.Value = short(v); s.Value != cmd.Value {
			s.At = began
			return s, nil
		}
		s.Last = Now()
		select {
		case <-time.After(200 * time.Microsecond):
		case <-ctx.Done():
			return s, context.Cause(ctx)
		}
	}
}

// many is one caller's GetMany.
func (c *child) many(cmd *command) (map[string]string, error) {
	ctx, cancel := c.within(cmd.Timeout)
	defer cancel()
	c.until(cmd.At)
	found, err := c.cache.GetMany(ctx, cmd.Keys)
	for key, v := range found {
		found[key] = short(v)
	}
	return found, err
}

func (c *child) within(timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		return c.ctx, func() {}
	}
	return context.WithTimeout(c.ctx, timeout)
}

func (c *child) until(at Moment) {
	select {
	case <-time.After(at.Sub(Now())):
	case <-c.ctx.Done():
	}
}
