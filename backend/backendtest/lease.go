package backendtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// leasing is a store that leases, and two contenders for it.
type leasing struct {
	backend.Store
	backend.Leaser
	t *kit.T
	h StoreHarness
}

func newLeasing(t *kit.T, h StoreHarness) *leasing {
	s := h.New(t.TB)
	l, ok := s.(backend.Leaser)
	if !ok {
		t.Fatalf("the store does not implement backend.Leaser")
	}
	return &leasing{Store: s, Leaser: l, t: t, h: h}
}

func token(n int) string { return fmt.Sprintf("%032x", n) }

// ask asks for the lease of "k" for token n.
func (l *leasing) ask(n int, rejected ...byte) backend.LeaseReply {
	l.t.Helper()
	r, err := l.Lease(l.t.Context(), "k", backend.LeaseRequest{
		Token: token(n), Owner: fmt.Sprint("owner-", n), Tag: fmt.Sprint("tag|", n), TTL: l.h.lifetime(), Rejected: rejected,
	})
	l.t.Must(err)
	return r
}

func (l *leasing) win(n int) backend.LeaseReply {
	l.t.Helper()
	r := l.ask(n)
	if !r.Won || r.Value != nil || r.Fence == 0 {
		l.t.Fatalf("Lease = %+v, want it won, with a fence", r)
	}
	return r
}

func (l *leasing) lose(n int) backend.LeaseReply {
	l.t.Helper()
	r := l.ask(n)
	if r.Won || r.Value != nil || r.Cooling != nil {
		l.t.Fatalf("Lease = %+v, want it held by another", r)
	}
	return r
}

func (l *leasing) commit(n int, value string, want bool) {
	l.t.Helper()
	ok, err := l.Commit(l.t.Context(), "k", token(n), []byte(value), long)
	l.want("Commit", ok, err, want)
}

func (l *leasing) renew(n int, want bool) {
	l.t.Helper()
	ok, err := l.Renew(l.t.Context(), "k", token(n), l.h.lifetime())
	l.want("Renew", ok, err, want)
}

func (l *leasing) release(n int, want bool) {
	l.t.Helper()
	ok, err := l.Release(l.t.Context(), "k", token(n), backend.Failure{})
	l.want("Release", ok, err, want)
}

func (l *leasing) want(what string, ok bool, err error, want bool) {
	l.t.Helper()
	if err != nil || ok != want {
		l.t.Errorf("%s = %t, %v, want %t, nil", what, ok, err, want)
	}
}

// leaseCase makes a case of a func on a leasing store.
// leaseCase is a case that waits for nothing to end: nothing is to end because the
// machine is busy.
func leaseCase(name, rule string, run func(t *kit.T, l *leasing)) kit.Case[StoreHarness] {
	c := timedLeaseCase(name, rule, run)
	return kit.Case[StoreHarness]{Name: c.Name, Rule: c.Rule, Run: func(t *kit.T, h StoreHarness) {
		h.unhurried = true
		c.Run(t, h)
	}}
}

// timedLeaseCase is a case that waits until a lease or a cool-down ends.
func timedLeaseCase(name, rule string, run func(t *kit.T, l *leasing)) kit.Case[StoreHarness] {
	return kit.Case[StoreHarness]{Name: "lease/" + name, Rule: rule, Run: func(t *kit.T, h StoreHarness) {
		run(t, newLeasing(t, h))
	}}
}

var leaseCases = kit.Rules(
	leaseCase("exclusive", "one token at a time has a key's lease, and the others are told who, since when and until when",
		func(t *kit.T, l *leasing) {
			l.win(1)
			r := l.lose(2)
			if r.Owner != "owner-1" || r.Tag != "tag|1" || r.Remaining <= 0 || r.Remaining > l.h.lifetime() || r.Since < 0 || r.Since > l.h.lifetime() {
				t.Errorf("Lease = %+v, want owner-1, tag|1, what remains and since when", r)
			}
		}),
	leaseCase("usual", "those who lose are told how long such a load takes, as its holder said",
		func(t *kit.T, l *leasing) {
			_, err := l.Lease(t.Context(), "k", backend.LeaseRequest{Token: token(1), TTL: l.h.lifetime(), Usual: 1500 * time.Microsecond})
			t.Must(err)
			if r := l.lose(2); r.Usual != 1500*time.Microsecond {
				t.Errorf("Usual = %v, want 1.5ms", r.Usual)
			}
		}),
	leaseCase("fields", "an owner or tag that the store cannot keep is dropped, and harms no other field",
		func(t *kit.T, l *leasing) {
			for i, odd := range []string{"a|b", "a\nb", "\n", "|||"} {
				key := fmt.Sprint("odd", i)
				_, err := l.Lease(t.Context(), key, backend.LeaseRequest{Token: token(1), Owner: odd, Tag: odd, TTL: l.h.lifetime(), Usual: time.Second})
				t.Must(err)
				r, err := l.Lease(t.Context(), key, backend.LeaseRequest{Token: token(2), TTL: l.h.lifetime()})
				t.Must(err)
				if r.Won || r.Usual != time.Second || r.Owner != "" && r.Owner != odd || r.Tag != "" && r.Tag != odd {
					t.Errorf("Lease = %+v, want it held, with the owner and tag %q or none", r, odd)
				}
				ok, err := l.Commit(t.Context(), key, token(1), []byte("v"), long)
				l.want("Commit", ok, err, true)
			}
		}),
	leaseCase("idempotent", "the same token wins again, with the same fence: its first reply may have been lost",
		func(t *kit.T, l *leasing) {
			first := l.win(1)
			if again := l.win(1); again.Fence != first.Fence {
				t.Errorf("fence = %d, and then %d", first.Fence, again.Fence)
			}
		}),
	leaseCase("found", "a value that is there is returned, and no lease is taken",
		func(t *kit.T, l *leasing) {
			set(t, l.Store, "k", "v")
			if r := l.ask(1); string(r.Value) != "v" || r.Won {
				t.Errorf("Lease = %+v, want the value", r)
			}
			set(t, l.Store, "k", "")
			if r := l.ask(1); r.Value == nil || r.Won {
				t.Errorf("Lease = %+v, want the value, which is empty but there", r)
			}
			l.commit(1, "w", false)
		}),
	leaseCase("rejected", "a value that begins with Rejected counts as none, any other is returned",
		func(t *kit.T, l *leasing) {
			set(t, l.Store, "k", "stale-1")
			if r := l.ask(1, []byte("fresh")...); string(r.Value) != "stale-1" {
				t.Errorf("Lease = %+v, want the value: it is not the rejected one", r)
			}
			if r := l.ask(1, []byte("stale")...); !r.Won {
				t.Errorf("Lease = %+v, want it won over the rejected value", r)
			}
			l.commit(1, "new", true)
			get(t, l.Store, "k", "new")
		}),
	leaseCase("fence", "fences of a key only rise",
		func(t *kit.T, l *leasing) {
			last := uint64(0)
			for n := range 20 {
				r := l.win(n)
				if r.Fence <= last {
					t.Errorf("fence %d after %d", r.Fence, last)
				}
				last = r.Fence
				l.release(n, true)
			}
		}),
	leaseCase("commit", "Commit writes the value and ends the lease; repeated after a lost reply it still reports true",
		func(t *kit.T, l *leasing) {
			l.win(1)
			l.commit(1, "v", true)
			get(t, l.Store, "k", "v")
			l.commit(1, "v", true)
			l.renew(1, false)
			t.Must(l.Delete(t.Context(), "k"))
			l.win(2)
		}),
	leaseCase("commit-foreign", "Commit without the lease writes nothing and reports false",
		func(t *kit.T, l *leasing) {
			l.commit(1, "v", false)
			miss(t, l.Store, "k")
			l.win(1)
			l.commit(2, "v", false)
			miss(t, l.Store, "k")
			l.commit(1, "mine", true)
		}),
	leaseCase("set-wins", "Set during a load ends its lease: the load's Commit writes nothing",
		func(t *kit.T, l *leasing) {
			l.win(1)
			set(t, l.Store, "k", "set")
			l.commit(1, "loaded", false)
			get(t, l.Store, "k", "set")
		}),
	leaseCase("delete-wins", "Delete during a load ends its lease: the load's Commit writes nothing",
		func(t *kit.T, l *leasing) {
			l.win(1)
			t.Must(l.Delete(t.Context(), "k"))
			l.commit(1, "loaded", false)
			miss(t, l.Store, "k")
		}),
	timedLeaseCase("renew", "Renew lets the lease live for a whole ttl from now; only its holder can, and none is created",
		func(t *kit.T, l *leasing) {
			l.renew(1, false)
			l.win(1)
			l.renew(2, false)
			for range 2 {
				l.h.pass(l.h.lifetime() / 2)
				l.renew(1, true)
			}
			l.h.pass(l.h.lifetime() / 2)
			l.lose(2)
		}),
	leaseCase("release", "Release ends the lease; only its holder can",
		func(t *kit.T, l *leasing) {
			l.win(1)
			l.release(2, false)
			l.lose(2)
			l.release(1, true)
			l.release(1, false)
			l.win(2)
		}),
	timedLeaseCase("expire", "a lease that is not renewed ends, and its holder can do nothing any more",
		func(t *kit.T, l *leasing) {
			l.win(1)
			l.h.pass(l.h.lifetime() + 10*time.Millisecond)
			l.renew(1, false)
			l.win(2)
			l.commit(1, "late", false)
			l.release(1, false)
			miss(t, l.Store, "k")
			l.lose(3)
		}),
	leaseCase("late-request", "the token of a reply names its lease alone: what was won by a late copy of the request is not held by it",
		func(t *kit.T, l *leasing) {
			first := l.win(1)
			t.Must(l.Delete(t.Context(), "k"))
			second := l.win(1) // a copy of the request, delivered after the Delete
			if first.Token == "" || first.Token == second.Token {
				t.Fatalf("the tokens of two leases are %q and %q", first.Token, second.Token)
			}
			ok, err := l.Commit(t.Context(), "k", first.Token, []byte("old"), long)
			l.want("Commit", ok, err, false)
			ok, err = l.Renew(t.Context(), "k", first.Token, l.h.lifetime())
			l.want("Renew", ok, err, false)
			ok, err = l.Release(t.Context(), "k", first.Token, backend.Failure{})
			l.want("Release", ok, err, false)
			miss(t, l.Store, "k")
			ok, err = l.Renew(t.Context(), "k", second.Token, l.h.lifetime())
			l.want("Renew", ok, err, true)
			ok, err = l.Commit(t.Context(), "k", second.Token, []byte("new"), long)
			l.want("Commit", ok, err, true)
			get(t, l.Store, "k", "new")
		}),
	leaseCase("keys", "the leases of two keys have nothing to do with each other, nor with values of similar keys",
		func(t *kit.T, l *leasing) {
			for i, key := range []string{"", "a", "a:l", "l:a", "}", "{a}", strings.Repeat("k", 2000)} {
				r, err := l.Lease(t.Context(), key, backend.LeaseRequest{Token: token(i), TTL: l.h.lifetime()})
				t.Must(err)
				if !r.Won {
					t.Errorf("Lease(%.20q) = %+v, want it won", key, r)
				}
				miss(t, l.Store, key)
			}
		}),
)
