package backendtest

import (
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// cool is a cool-down that can be waited for.
func (l *leasing) cool() time.Duration { return l.h.lifetime() / 2 }

// fail wins the lease for token n and gives it up as failed.
func (l *leasing) fail(n int) {
	l.t.Helper()
	l.win(n)
	l.giveUp(n, true)
}

func (l *leasing) giveUp(n int, want bool) {
	l.t.Helper()
	ok, err := l.Release(l.t.Context(), "k", token(n), backend.Failure{
		CoolDown: l.cool(), CoolDownMax: 3 * l.cool(), Text: "no|such\nthing",
	})
	l.want("Release", ok, err, want)
}

// cooling asks, and wants to be told of that many failures and to come again
// after some part of d.
func (l *leasing) cooling(n, failures int, d time.Duration) {
	l.t.Helper()
	r := l.ask(n)
	if c := r.Cooling; r.Won || r.Value != nil || c == nil ||
		c.Failures != failures || c.RetryAfter <= d/2 || c.RetryAfter > d || c.Text != "no|such\nthing" {
		l.t.Fatalf("Lease = %+v, cooling %+v, want %d failures, to come again within %v, and why", r, r.Cooling, failures, d)
	}
}

var failureCases = kit.Rules(
	leaseCase("failure-cools", "after a failed load nobody gets the lease, and who asks is told how often, until when and why",
		func(_ *kit.T, l *leasing) {
			l.fail(1)
			l.cooling(1, 1, l.cool())
			l.cooling(2, 1, l.cool())
			l.renew(1, false)
			l.commit(1, "v", false)
		}),
	timedLeaseCase("failure-ends", "a cool-down ends after its time",
		func(_ *kit.T, l *leasing) {
			l.fail(1)
			l.h.pass(l.cool() + 10*time.Millisecond)
			l.win(2)
		}),
	timedLeaseCase("failure-doubles", "each failure in a row doubles the cool-down, up to its maximum",
		func(_ *kit.T, l *leasing) {
			for i, d := range []time.Duration{l.cool(), 2 * l.cool(), 3 * l.cool(), 3 * l.cool()} {
				l.fail(i)
				l.cooling(9, i+1, d)
				l.h.pass(d + 10*time.Millisecond)
			}
		}),
	leaseCase("failure-once", "a repeated Release, whose first reply was lost, counts once; a Release by others does not count",
		func(_ *kit.T, l *leasing) {
			l.win(1)
			l.giveUp(2, false)
			l.giveUp(1, true)
			l.giveUp(1, false)
			l.cooling(2, 1, l.cool())
		}),
	timedLeaseCase("failure-row", "a Commit ends a row of failures; a Release without a failure does not",
		func(t *kit.T, l *leasing) {
			l.fail(1)
			l.h.pass(l.cool() + 10*time.Millisecond)
			l.win(2)
			l.release(2, true)
			l.fail(3)
			l.cooling(9, 2, 2*l.cool())
			l.h.pass(2*l.cool() + 10*time.Millisecond)
			l.win(4)
			l.commit(4, "v", true)
			t.Must(l.Delete(t.Context(), "k"))
			l.fail(5)
			l.cooling(9, 1, l.cool())
		}),
	leaseCase("failure-set", "Set ends a cool-down",
		func(t *kit.T, l *leasing) {
			l.fail(1)
			set(t, l.Store, "k", "stale")
			if r := l.ask(2); string(r.Value) != "stale" {
				t.Errorf("Lease = %+v, want what was set", r)
			}
			if r := l.ask(2, []byte("stale")...); !r.Won {
				t.Errorf("Lease = %+v, want it won", r)
			}
		}),
	leaseCase("failure-delete", "Delete ends a cool-down",
		func(t *kit.T, l *leasing) {
			l.fail(1)
			t.Must(l.Delete(t.Context(), "k"))
			l.win(2)
		}),
)
