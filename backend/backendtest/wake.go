package backendtest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// bell is a watch and what it has heard.
type bell struct {
	l    *leasing
	key  string
	rung chan backend.Notice
	stop func()
}

// watch begins a watch of key.
func (l *leasing) watch(key string) *bell {
	l.t.Helper()
	n, ok := l.Store.(backend.Notifier)
	if !ok {
		l.t.Fatalf("the store does not implement backend.Notifier")
	}
	b := &bell{l: l, key: key, rung: make(chan backend.Notice, 100)}
	b.stop = n.Watch(key, func(n backend.Notice) {
		select {
		case b.rung <- n:
		default:
		}
	})
	l.t.Cleanup(b.stop)
	return b
}

// wait asks for the lease as one who wants to be told of its end.
func (b *bell) wait(n int) *bell {
	b.l.t.Helper()
	r, err := b.l.Lease(b.l.t.Context(), b.key, backend.LeaseRequest{Token: token(n), TTL: b.l.h.lifetime(), Watch: true})
	b.l.t.Must(err)
	if r.Won || r.Value != nil || r.Cooling != nil || !r.Pushed {
		b.l.t.Fatalf("Lease = %+v, want it held by another, its end to be told", r)
	}
	return b
}

// heard waits for a wake-up.
func (b *bell) heard() backend.Notice {
	b.l.t.Helper()
	select {
	case n := <-b.rung:
		return n
	case <-time.After(5 * time.Second):
		b.l.t.Fatalf("no wake-up within 5s")
		return backend.Notice{}
	}
}

// again waits for a wake-up that says no more than to look again.
func (b *bell) again() {
	b.l.t.Helper()
	if n := b.heard(); n.Value != nil || n.Cooling != nil {
		b.l.t.Errorf("woken with %+v, want the zero Notice", n)
	}
}

// silent wants no wake-up.
func (b *bell) silent(why string) {
	b.l.t.Helper()
	patience := b.l.h.Patience
	if patience == 0 {
		patience = 100 * time.Millisecond
	}
	select {
	case n := <-b.rung:
		b.l.t.Errorf("woken %s, with %+v", why, n)
	case <-time.After(patience):
	}
}

func wakeCase(name, rule string, run func(t *kit.T, l *leasing)) kit.Case[StoreHarness] {
	return kit.Case[StoreHarness]{Name: "wake/" + name, Rule: rule, Run: func(t *kit.T, h StoreHarness) {
		run(t, newLeasing(t, h))
	}}
}

var wakeCases = kit.Rules(
	wakeCase("commit", "Commit wakes those who wait, with the value if it is small",
		func(t *kit.T, l *leasing) {
			for _, v := range []string{"value", "", "a:b|c\n\x00"} {
				l.win(1)
				a, b := l.watch("k").wait(2), l.watch("k").wait(3)
				l.commit(1, v, true)
				for _, n := range []backend.Notice{a.heard(), b.heard()} {
					if n.Value == nil || string(n.Value) != v || n.Cooling != nil {
						t.Errorf("woken with %+v, want the value %q", n, v)
					}
					clear(n.Value)
				}
				t.Must(l.Delete(t.Context(), "k"))
				a.stop()
				b.stop()
			}
		}),
	wakeCase("commit-large", "a large value is not sent along",
		func(_ *kit.T, l *leasing) {
			l.win(1)
			b := l.watch("k").wait(2)
			l.commit(1, strings.Repeat("x", 512<<10), true)
			b.again()
		}),
	wakeCase("release", "Release wakes those who wait",
		func(_ *kit.T, l *leasing) {
			l.win(1)
			b := l.watch("k").wait(2)
			l.release(1, true)
			b.again()
			l.win(2)
		}),
	wakeCase("failure", "Release after a failed load wakes those who wait, with the cool-down",
		func(t *kit.T, l *leasing) {
			l.win(1)
			b := l.watch("k").wait(2)
			l.giveUp(1, true)
			if c := b.heard().Cooling; c == nil || c.Failures != 1 || c.RetryAfter != l.cool() || c.Text != "no|such\nthing" {
				t.Errorf("woken with %+v, want one failure, %v and why", c, l.cool())
			}
		}),
	wakeCase("set", "Set during a load wakes those who wait, with the value if it is small",
		func(t *kit.T, l *leasing) {
			l.win(1)
			b := l.watch("k").wait(2)
			set(t, l.Store, "k", "set")
			if n := b.heard(); string(n.Value) != "set" {
				t.Errorf("woken with %+v, want what was set", n)
			}
		}),
	wakeCase("delete", "Delete during a load wakes those who wait: its value will not come",
		func(t *kit.T, l *leasing) {
			l.win(1)
			b := l.watch("k").wait(2)
			t.Must(l.Delete(t.Context(), "k"))
			b.again()
		}),
	wakeCase("revoked", "a holder that asked to be told is woken when a Set or Delete ends its lease, and not by its own Commit",
		func(t *kit.T, l *leasing) {
			hold := func(key string, n int) *bell {
				b := l.watch(key)
				r, err := l.Lease(t.Context(), key, backend.LeaseRequest{Token: token(n), TTL: l.h.lifetime(), Watch: true})
				t.Must(err)
				if !r.Won {
					t.Fatalf("Lease = %+v, want it won", r)
				}
				return b
			}
			b := hold("deleted", 1)
			t.Must(l.Delete(t.Context(), "deleted"))
			b.heard()
			b = hold("set", 2)
			set(t, l.Store, "set", "set")
			b.heard()
			b = hold("k", 3)
			l.commit(3, "v", true)
			b.silent("by its own commit")
		}),
	wakeCase("own-key", "those who wait for another key, or have not asked to be told, are not woken",
		func(_ *kit.T, l *leasing) {
			l.win(1)
			other := l.watch("k2")
			unasked := l.watch("k")
			l.lose(2)
			l.commit(1, "v", true)
			other.silent("for another key")
			unasked.silent("unasked")
		}),
	wakeCase("foreign", "what ends no lease wakes nobody: a Commit or Release by others, a Renew",
		func(_ *kit.T, l *leasing) {
			l.win(1)
			b := l.watch("k").wait(2)
			l.commit(3, "v", false)
			l.release(3, false)
			l.renew(1, true)
			b.silent("though the lease goes on")
			l.release(1, true)
			b.again()
		}),
	wakeCase("once", "asking again while waiting is fine, and one end wakes once",
		func(_ *kit.T, l *leasing) {
			l.win(1)
			b := l.watch("k").wait(2).wait(2).wait(3)
			l.release(1, true)
			b.again()
			b.silent("twice")
		}),
	wakeCase("stopped", "a stopped watch is not woken any more; stop may be called twice, and by wake itself",
		func(_ *kit.T, l *leasing) {
			l.win(1)
			b, c := l.watch("k").wait(2), l.watch("k")
			b.stop()
			b.stop()
			for len(b.rung) > 0 { // what came before, or while stop ran
				<-b.rung
			}
			self := make(chan func(), 1)
			woken := make(chan struct{})
			self <- l.Store.(backend.Notifier).Watch("k", func(backend.Notice) { //nolint:forcetypeassert // watch has checked it
				(<-self)()
				close(woken)
			})
			l.release(1, true)
			c.again()
			<-woken
			b.silent("after stop")
		}),
	wakeCase("keys", "every string is a key that can be watched",
		func(t *kit.T, l *leasing) {
			for i, key := range []string{"", "a", "a:b", "a\nb", "1:x", "{", "}", "\x00\xff", strings.Repeat("k", 2000)} {
				_, err := l.Lease(t.Context(), key, backend.LeaseRequest{Token: token(i), TTL: l.h.lifetime()})
				t.Must(err)
				b := l.watch(key).wait(99)
				ok, err := l.Commit(t.Context(), key, token(i), []byte("v"), long)
				l.want("Commit", ok, err, true)
				if n := b.heard(); string(n.Value) != "v" {
					t.Errorf("%.20q: woken with %+v", key, n)
				}
			}
		}),
	wakeCase("race", "a watch that began before the request is woken, however the end of the lease races with it", wakeRace),
	wakeCase("mode", "WakeMode says that waiters are told",
		func(t *kit.T, l *leasing) {
			l.watch("k")
			if m := l.Store.(backend.Notifier).WakeMode(); m != backend.WakePush && m != backend.WakeLive { //nolint:forcetypeassert // watch has checked it
				t.Errorf("WakeMode = %q, want push", m)
			}
		}),
)

func wakeRace(t *kit.T, l *leasing) {
	for i := range 100 {
		key := fmt.Sprint("k", i)
		if r, err := l.Lease(t.Context(), key, backend.LeaseRequest{Token: token(1), TTL: l.h.lifetime()}); err != nil || !r.Won {
			t.Fatalf("Lease = %+v, %v, want it won", r, err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if i%2 == 0 {
				_, _ = l.Commit(t.Context(), key, token(1), []byte("v"), long)
			} else {
				_, _ = l.Release(t.Context(), key, token(1), backend.Failure{})
			}
		})
		b := l.watch(key)
		r, err := l.Lease(t.Context(), key, backend.LeaseRequest{Token: token(2), TTL: l.h.lifetime(), Watch: true})
		wg.Wait()
		t.Must(err)
		if !r.Won && r.Value == nil {
			b.heard()
		}
		b.stop()
	}
}
