// Package locktest is the law for implementations of lock.Driver: run it from a
// test of your driver. A failure quotes the rule that was broken.
package locktest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/internal/kit"
	"github.com/bellwethercache/bellwether/lock"
)

// Harness tells the kit about a driver.
type Harness struct {
	// New returns a driver that holds no leases, to be closed with
	// tb.Cleanup. Required.
	New func(tb testing.TB) lock.Driver

	// Bubble runs each case in a testing/synctest bubble, in which time costs
	// nothing. Not for drivers that use a network.
	Bubble bool

	// Wakes says that the driver implements lock.Notifier, and is ready to
	// wake when New returns.
	Wakes bool

	// Patience is for how long the kit listens for a wake-up that must not
	// come. Where wake-ups take real time, give them more than that. Defaults
	// to 100 ms.
	Patience time.Duration

	// Advance lets d pass for the driver: a fake server's clock, say. Defaults
	// to waiting for it, in a bubble's time or in the real one.
	Advance func(d time.Duration)
}

// Run runs the kit.
func Run(t *testing.T, h Harness) {
	t.Helper()
	kit.Run(t, h, h.Bubble, h.cases())
}

func (h Harness) cases() []kit.Case[Harness] {
	if h.Wakes {
		return append(append([]kit.Case[Harness]{}, cases...), wakeCases...)
	}
	return cases
}

// probe is a driver and what the cases do with it.
type probe struct {
	lock.Driver
	t *kit.T
	h Harness
}

// ttl is safe from a slow machine and short enough to wait for where time is
// real.
func (p *probe) ttl() time.Duration {
	if p.h.Bubble || p.h.Advance != nil {
		return time.Minute
	}
	return 500 * time.Millisecond
}

func (p *probe) pass(d time.Duration) {
	if p.h.Advance != nil {
		p.h.Advance(d)
		return
	}
	<-time.After(d)
}

func token(n int) string { return fmt.Sprintf("%032x", n) }

func (p *probe) acquire(key string, n int) lock.Grant {
	p.t.Helper()
	g, err := p.Acquire(p.t.Context(), key, lock.Request{
		Token: token(n), Owner: fmt.Sprint("owner-", n), Tag: fmt.Sprint("tag|", n), TTL: p.ttl(), Usual: 1500 * time.Microsecond,
	})
	p.t.Must(err)
	return g
}

func (p *probe) win(key string, n int) lock.Grant {
	p.t.Helper()
	g := p.acquire(key, n)
	if g.Status != lock.Won || g.Fence == 0 {
		p.t.Fatalf("Acquire = %+v, want it won, with a fence", g)
	}
	return g
}

func (p *probe) lose(key string, n int) lock.Grant {
	p.t.Helper()
	g := p.acquire(key, n)
	if g.Status != lock.Held {
		p.t.Fatalf("Acquire = %+v, want it held", g)
	}
	return g
}

func (p *probe) renew(key string, n int, want bool) {
	p.t.Helper()
	if ok, err := p.Renew(p.t.Context(), key, token(n), p.ttl()); err != nil || ok != want {
		p.t.Errorf("Renew = %t, %v, want %t, nil", ok, err, want)
	}
}

func (p *probe) release(key string, n int, want bool) {
	p.t.Helper()
	if ok, err := p.Release(p.t.Context(), key, token(n)); err != nil || ok != want {
		p.t.Errorf("Release = %t, %v, want %t, nil", ok, err, want)
	}
}

func rule(name, rule string, run func(t *kit.T, p *probe)) kit.Case[Harness] {
	return kit.Case[Harness]{Name: name, Rule: rule, Run: func(t *kit.T, h Harness) {
		run(t, &probe{Driver: h.New(t.TB), t: t, h: h})
	}}
}

var cases = kit.Rules(
	rule("exclusive", "one token at a time has a key's lease, and the others are told who, since when and until when",
		func(t *kit.T, p *probe) {
			p.win("k", 1)
			h := p.lose("k", 2).Holder
			if h.Owner != "owner-1" || h.Tag != "tag|1" || h.Remaining <= 0 || h.Remaining > p.ttl() || h.Since < 0 || h.Since > p.ttl() || h.Usual != 1500*time.Microsecond {
				t.Errorf("Holder = %+v, want owner-1, tag|1, what remains, since when and what is usual", h)
			}
		}),
	rule("idempotent", "the same token wins again, with the same fence: its first reply may have been lost",
		func(t *kit.T, p *probe) {
			first := p.win("k", 1)
			if again := p.win("k", 1); again.Fence != first.Fence {
				t.Errorf("fence = %d, and then %d", first.Fence, again.Fence)
			}
		}),
	rule("fence", "fences of a key only rise",
		func(t *kit.T, p *probe) {
			last := uint64(0)
			for n := range 20 {
				g := p.win("k", n)
				if g.Fence <= last {
					t.Errorf("fence %d after %d", g.Fence, last)
				}
				last = g.Fence
				p.release("k", n, true)
			}
		}),
	rule("renew", "Renew lets the lease live for a whole ttl from now; only its holder can, and none is created",
		func(_ *kit.T, p *probe) {
			p.renew("k", 1, false)
			p.win("k", 1)
			p.renew("k", 2, false)
			for range 2 {
				p.pass(p.ttl() / 2)
				p.renew("k", 1, true)
			}
			p.pass(p.ttl() / 2)
			p.lose("k", 2)
		}),
	rule("release", "Release ends the lease; only its holder can",
		func(_ *kit.T, p *probe) {
			p.win("k", 1)
			p.release("k", 2, false)
			p.lose("k", 2)
			p.release("k", 1, true)
			p.release("k", 1, false)
			p.win("k", 2)
		}),
	rule("expire", "a lease that is not renewed ends, and its holder can do nothing any more",
		func(_ *kit.T, p *probe) {
			p.win("k", 1)
			p.pass(p.ttl() + 10*time.Millisecond)
			p.renew("k", 1, false)
			p.win("k", 2)
			p.release("k", 1, false)
			p.lose("k", 3)
		}),
	rule("tiny-ttl", "a ttl below the server's unit is rounded up to one: no error, and no eternal lease",
		func(t *kit.T, p *probe) {
			g, err := p.Acquire(t.Context(), "k", lock.Request{Token: token(1), TTL: time.Nanosecond})
			t.Must(err)
			if g.Status != lock.Won {
				t.Errorf("Acquire = %+v, want it won", g)
			}
			p.pass(p.ttl())
			p.win("k", 2)
		}),
	rule("late-request", "the token of a grant names its lease alone: what was won by a late copy of the request is not held by it",
		func(t *kit.T, p *probe) {
			first := p.win("k", 1)
			p.release("k", 1, true)
			second := p.win("k", 1) // a copy of the request, delivered after the Release
			if first.Token == "" || first.Token == second.Token {
				t.Fatalf("the tokens of two leases are %q and %q", first.Token, second.Token)
			}
			for token, want := range map[string]bool{first.Token: false, second.Token: true} {
				if ok, err := p.Renew(t.Context(), "k", token, p.ttl()); err != nil || ok != want {
					t.Errorf("Renew = %t, %v, want %t, nil", ok, err, want)
				}
			}
			if ok, err := p.Release(t.Context(), "k", first.Token); err != nil || ok {
				t.Errorf("Release = %t, %v, want false, nil", ok, err)
			}
			if ok, err := p.Release(t.Context(), "k", second.Token); err != nil || !ok {
				t.Errorf("Release = %t, %v, want true, nil", ok, err)
			}
		}),
	rule("keys", "every string is a key, and no two share a lease",
		func(_ *kit.T, p *probe) {
			for i, key := range []string{"", "a", "A", "a b", "a:b", "{", "}", "{a}", "*", "a\nb", "é", "\xff",
				strings.Repeat("k", 2000) + "1", strings.Repeat("k", 2000) + "2"} {
				p.win(key, i)
			}
		}),
	rule("race", "of many that ask at once, one wins", race),
	rule("context", "a call whose context has ended returns an error",
		func(t *kit.T, p *probe) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := p.Acquire(ctx, "k", lock.Request{Token: token(1), TTL: p.ttl()}); err == nil {
				t.Errorf("Acquire = nil")
			}
			if _, err := p.Renew(ctx, "k", token(1), p.ttl()); err == nil {
				t.Errorf("Renew = nil")
			}
			if _, err := p.Release(ctx, "k", token(1)); err == nil {
				t.Errorf("Release = nil")
			}
		}),
)

func race(t *kit.T, p *probe) {
	for round := range 5 {
		key := fmt.Sprint("k", round)
		var won atomic.Int32
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() {
				g, err := p.Acquire(t.Context(), key, lock.Request{Token: token(n), TTL: p.ttl()})
				if err != nil {
					t.Errorf("Acquire = %v", err)
				}
				if g.Status == lock.Won {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d of 20 won", won.Load())
		}
	}
}
