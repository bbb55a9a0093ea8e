package fleettest

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"strings"
	"time"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// trail follows a fill through its hooks, in its context.
type trail struct {
	fence  uint64
	role   cache.Role
	load   string // ID
	commit Moment // when the server had answered to it
}

type trailKey struct{}

func trailOf(ctx context.Context) *trail {
	t, _ := ctx.Value(trailKey{}).(*trail)
	if t == nil {
		t = new(trail)
	}
	return t
}

// hooks learn what a loader is not told. Those of one fill are called one
// after another.
func (c *child) hooks() cache.Hooks {
	return cache.Hooks{
		FillStart: func(ctx context.Context, _ cache.FillStart) context.Context {
			return context.WithValue(ctx, trailKey{}, new(trail))
		},
		LoadStart: func(ctx context.Context, info cache.LoadStart) context.Context {
			trailOf(ctx).role = info.Role
			return ctx
		},
		Lock: lock.Hooks{
			AcquireDone: func(ctx context.Context, info lock.AcquireDone) {
				trailOf(ctx).fence = info.Fence
			},
			Released: func(ctx context.Context, info lock.Released) {
				// Without a commit the load has failed.
				if t := trailOf(ctx); t.commit != 0 && info.Err == nil {
					_ = c.out.send(message{Event: &event{Kind: eventCommit, Load: t.load, At: t.commit, Lost: info.Lost}})
				}
			},
		},
		Tier: tier.Hooks{OpDone: func(ctx context.Context, info tier.OpDone) {
			if info.Op == tier.OpCommit {
				trailOf(ctx).commit = Now()
			}
		}},
	}
}

// load is the cache's loader.
func (c *child) load(ctx context.Context, key string) (string, error) {
	c.mu.Lock()
	l, ok := c.loaders[key]
	if !ok {
		l = c.loaders[""]
	}
	c.loads++
	id := fmt.Sprintf("%s.%d", c.setup.Process, c.loads)
	release := make(chan Outcome, 1)
	c.running[id] = release
	c.mu.Unlock()

	t := trailOf(ctx)
	t.load = id
	c.tell(&event{Kind: eventBegin, Load: id, Key: key, Fence: t.fence, Role: t.role.String()})
	out := c.await(ctx, l, release)
	value := out.Text
	if out.Kind == KindOwn {
		value = pad(id, l.Size)
		out = Value(short(value))
	}
	c.mu.Lock()
	delete(c.running, id)
	c.mu.Unlock()
	c.tell(&event{Kind: eventEnd, Load: id, Outcome: &out})
	switch out.Kind {
	case KindValue:
		return value, nil
	case KindNotFound:
		return "", cache.ErrNotFound
	case KindPanic:
		panic(out.Text)
	case KindGoexit:
		runtime.Goexit()
	case KindCanceled:
		return "", context.Cause(ctx)
	}
	return "", loadError(out.Text)
}

func (c *child) tell(e *event) {
	e.At = Now()
	_ = c.out.send(message{Event: e}) // the parent may be gone
}

// await waits as l says and returns what the load is to end with.
func (c *child) await(ctx context.Context, l Loader, release chan Outcome) Outcome {
	var after <-chan time.Time
	if !l.Block {
		after = time.After(l.Takes)
	}
	done := ctx.Done()
	if l.IgnoreCtx {
		done = nil
	}
	select {
	case out := <-release:
		if out == ends {
			return l.Then
		}
		return out
	case <-after:
		return l.Then
	case <-done:
		return Outcome{KindCanceled, context.Cause(ctx).Error()}
	case <-c.ctx.Done():
		return Error("process ends")
	}
}

// ends stands for the outcome that the Loader names.
var ends = Outcome{Kind: "loader"}

func (c *child) release(cmd *command) error {
	out := ends
	if cmd.Outcome != nil {
		out = *cmd.Outcome
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.running[cmd.Load] <- out: // nil if it has ended
		return nil
	default:
		return errors.New("fleettest: the load has ended or is about to")
	}
}

func pad(s string, size int) string {
	if n := size - len(s) - 1; n >= 0 {
		s += "|" + strings.Repeat("x", n)
	}
	return s
}

// short is what is told of a value: of a long one its head, length and
// checksum.
func short(v string) string {
	if len(v) <= 80 {
		return v
	}
	return fmt.Sprintf("%s... (%d bytes, crc %08x)", v[:32], len(v), crc32.ChecksumIEEE([]byte(v)))
}
