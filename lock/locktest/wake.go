package locktest

import (
	"fmt"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/internal/kit"
	"github.com/bellwethercache/bellwether/lock"
)

// bell is a watch and how often it has rung.
type bell struct {
	p    *probe
	key  string
	rung chan struct{}
	stop func()
}

func (p *probe) watch(key string) *bell {
	p.t.Helper()
	n, ok := p.Driver.(lock.Notifier)
	if !ok {
		p.t.Fatalf("the driver does not implement lock.Notifier")
	}
	b := &bell{p: p, key: key, rung: make(chan struct{}, 100)}
	b.stop = n.Watch(key, func() {
		select {
		case b.rung <- struct{}{}:
		default:
		}
	})
	p.t.Cleanup(b.stop)
	return b
}

// wait asks for the lease as one who wants to be told of its end.
func (b *bell) wait(n int) *bell {
	b.p.t.Helper()
	g, err := b.p.Acquire(b.p.t.Context(), b.key, lock.Request{Token: token(n), TTL: b.p.ttl(), Watch: true})
	b.p.t.Must(err)
	if g.Status != lock.Held || !g.Pushed {
		b.p.t.Fatalf("Acquire = %+v, want it held by another, its end to be told", g)
	}
	return b
}

func (b *bell) heard() {
	b.p.t.Helper()
	select {
	case <-b.rung:
	case <-time.After(5 * time.Second):
		b.p.t.Fatalf("no wake-up within 5s")
	}
}

func (b *bell) silent(why string) {
	b.p.t.Helper()
	patience := b.p.h.Patience
	if patience == 0 {
		patience = 100 * time.Millisecond
	}
	select {
	case <-b.rung:
		b.p.t.Errorf("woken %s", why)
	case <-time.After(patience):
	}
}

var wakeCases = kit.Rules(
	rule("wake-release", "Release wakes all who wait, once",
		func(_ *kit.T, p *probe) {
			p.win("k", 1)
			a, b := p.watch("k").wait(2).wait(2), p.watch("k").wait(3)
			p.release("k", 1, true)
			a.heard()
			b.heard()
			a.silent("twice")
		}),
	rule("wake-foreign", "nobody is woken for another key, unasked, or by what ends no lease",
		func(_ *kit.T, p *probe) {
			p.win("k", 1)
			p.win("k2", 1)
			unasked, b := p.watch("k2"), p.watch("k").wait(2)
			p.lose("k2", 2)
			p.release("k", 3, false)
			p.renew("k", 1, true)
			b.silent("though the lease goes on")
			p.release("k2", 1, true)
			unasked.silent("unasked")
			b.silent("for another key")
		}),
	rule("wake-stopped", "a stopped watch is not woken any more; stop may be called twice, and by wake itself",
		func(_ *kit.T, p *probe) {
			p.win("k", 1)
			b, c := p.watch("k").wait(2), p.watch("k")
			b.stop()
			b.stop()
			self, woken := make(chan func(), 1), make(chan struct{})
			self <- p.Driver.(lock.Notifier).Watch("k", func() { //nolint:forcetypeassert // watch has checked it
				(<-self)()
				close(woken)
			})
			p.release("k", 1, true)
			c.heard()
			<-woken
			b.silent("after stop")
		}),
	rule("wake-race", "a watch that began before the request is woken, however the end of the lease races with it", wakeRace),
)

func wakeRace(t *kit.T, p *probe) {
	for i := range 100 {
		key := fmt.Sprint("k", i)
		p.win(key, 1)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = p.Release(t.Context(), key, token(1)) })
		b := p.watch(key)
		g, err := p.Acquire(t.Context(), key, lock.Request{Token: token(2), TTL: p.ttl(), Watch: true})
		wg.Wait()
		t.Must(err)
		if g.Status == lock.Held {
			b.heard()
		}
		b.stop()
	}
}
