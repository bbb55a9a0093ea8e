package cache

import (
	"context"
	"fmt"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/lock"
)

// The five figures to watch, of counts that Sub has cut to the time of interest.
// Each is 0 if there is nothing to go by.

// APICallReduction is the share of reads that cost no load of their own: 1 less
// loads by reads. Aim above 0.95. It is negative if there were more loads than
// reads.
func (s *Stats) APICallReduction() float64 {
	if s.Gets() == 0 {
		return 0
	}
	return 1 - ratio(s.Loads, s.Gets())
}

// HitRate is the share of reads that a tier answered: fresh, stale or known to
// be absent. A read that waited for another's load is no hit. Aim above 0.9.
func (s *Stats) HitRate() float64 {
	return ratio(s.Hits+s.RemoteHits+s.Stale+s.Negative, s.Gets())
}

// LockWaitRate is the number of waits, for this process's or another's loads, by
// reads. Aim below 0.1.
func (s *Stats) LockWaitRate() float64 { return ratio(s.Waits, s.Gets()) }

// AverageWait is the time that a wait took. Aim below 500 ms.
func (s *Stats) AverageWait() time.Duration {
	if s.Waits == 0 {
		return 0
	}
	return s.WaitTime / time.Duration(s.Waits)
}

// TimeoutRate is the share of waits that ended without an answer: too long, or
// longer than their caller stayed. Aim below 0.01.
func (s *Stats) TimeoutRate() float64 { return ratio(s.WaitTimeouts, s.Waits) }

func ratio(part, of uint64) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}

// Advice codes, beyond those of package lock.
const (
	// WarnFallback: a store lacks an ability, and the cache does with less. It is
	// said once, by New.
	WarnFallback lock.WarningCode = "fallback"
	// WarnLoadTooLong: loads take more than half of the lease's TTL and it is
	// not renewed, or come near Policy.LoadTimeout.
	WarnLoadTooLong lock.WarningCode = "load-too-long"
	// WarnHitRate: reads seldom find an entry.
	WarnHitRate lock.WarningCode = "hit-rate"
	// WarnLongWaits: callers wait long for others' loads.
	WarnLongWaits lock.WarningCode = "long-waits"
	// WarnWaitTimeouts: waits end without an answer.
	WarnWaitTimeouts lock.WarningCode = "wait-timeouts"
	// WarnUnprotected: many loads run without the lease.
	WarnUnprotected lock.WarningCode = "unprotected"
	// WarnLeasesLost: results are thrown away because their lease was lost.
	WarnLeasesLost lock.WarningCode = "leases-lost"
	// WarnNotStored: many results are not stored in the shared tier, so that
	// each process loads for itself.
	WarnNotStored lock.WarningCode = "not-stored"
	// WarnFailing: many loads fail.
	WarnFailing lock.WarningCode = "failing"
	// WarnPolling: the shared store cannot push, so waiters poll.
	WarnPolling lock.WarningCode = "polling"
	// WarnForeign: entries of another shape, or no entries, are found under
	// this cache's keys.
	WarnForeign lock.WarningCode = "foreign"
)

// enoughReads and enoughLoads are how many there must be for a share of them to
// mean something.
const (
	enoughReads = 1000
	enoughLoads = 20
)

// Advise says, in words, what to change, going by the counts since an earlier
// Stats; its zero value means since New. With nothing to say it returns nil.
// Ask after some time of usual work.
func (c *Cache[K, V]) Advise(since Stats) []lock.Warning {
	now := c.Stats()
	s := now.Sub(&since)
	a := advisor{name: c.opts.Name}
	if c.locker != nil {
		a.ttl(c.policy.TTL, c.locker.TTL())
	}
	a.loads(&s, &c.policy, c.locker, c.opts.Lease.RenewEvery >= 0)
	a.reads(&s)
	a.tiers(&s)
	return a.said
}

type advisor struct {
	name string
	said []lock.Warning
}

func (a *advisor) say(code lock.WarningCode, format string, args ...any) {
	a.said = append(a.said, lock.Warning{Code: code, Message: fmt.Sprintf("cache %q: "+format, append([]any{a.name}, args...)...)})
}

func (a *advisor) ttl(ttl, lease time.Duration) {
	if ttl <= lease {
		a.say(lock.WarnEntryTTL, "Policy.TTL (%v) is not above Options.Lease.TTL (%v): "+
			"entries may expire while waiters still look for them; make TTL several times the lease's", ttl, lease)
	}
}

func (a *advisor) loads(s *Stats, p *Policy, locker *lock.Locker, renews bool) {
	usual, longest := s.UsualLoad.Round(time.Millisecond), s.LongestLoad.Round(time.Millisecond)
	if locker != nil && !renews && s.LongestLoad > locker.TTL()/2 {
		a.say(WarnLoadTooLong, "a load took %v (usually %v), and Options.Lease.TTL is %v without renewal: "+
			"set it to about %v, or turn renewal on", longest, usual, locker.TTL(), 5*max(usual, longest/5))
	}
	if p.LoadTimeout > 0 && s.LongestLoad > p.LoadTimeout*3/4 {
		a.say(WarnLoadTooLong, "a load took %v, and Policy.LoadTimeout is %v: raise it, or make the source quicker",
			longest, p.LoadTimeout)
	}
	if s.Loads < enoughLoads {
		return
	}
	if share := ratio(s.LoadErrors, s.Loads); share > 0.1 {
		a.say(WarnFailing, "%.0f %% of loads fail: set Policy.StaleIfError to serve stale values meanwhile, "+
			"or raise Policy.CoolDown to spare the source", 100*share)
	}
	if share := ratio(s.Unprotected, s.Loads); share > 0.05 {
		a.say(WarnUnprotected, "%.0f %% of loads ran without a lease: the shared tier is often away or slow "+
			"(see RemoteOptions.Budget), or loads outlast Options.Lease.MaxWait", 100*share)
	}
	if share := ratio(s.NotStored, s.Loads); share > 0.05 {
		a.say(WarnNotStored, "%.0f %% of loads could not be stored in the shared tier, so each process loads for itself: it is away, "+
			"or values are too large for it (valkeystore.Options.MaxValue) or cannot be encoded; Hooks.Tier.OpDone has the errors", 100*share)
	}
	if share := ratio(s.LeasesLost, s.Loads); share > 0.05 {
		a.say(WarnLeasesLost, "%.0f %% of loads had lost their lease when they were done: keys are set or deleted while they are loaded, "+
			"or leases expire because this process is starved; then raise Options.Lease.TTL", 100*share)
	}
}

func (a *advisor) reads(s *Stats) {
	if s.Gets() < enoughReads {
		return
	}
	if rate := s.HitRate(); rate < 0.9 && ratio(s.Loads, s.Gets()) > 0.05 {
		a.say(WarnHitRate, "%.0f %% of reads find an entry, aim above 90 %%: raise Policy.TTL, give the in-process store more room, "+
			"or set Policy.AbsentTTL if callers ask for what does not exist", 100*rate)
	}
	if wait := s.AverageWait(); wait > 500*time.Millisecond && s.LockWaitRate() > 0.01 {
		a.say(WarnLongWaits, "a wait for another's load takes %v on average, aim below 500ms: set Policy.StaleWhileRevalidate or "+
			"RefreshAhead, with which nobody waits for a key in use", wait.Round(time.Millisecond))
	}
	if rate := s.TimeoutRate(); rate > 0.01 && s.Waits > enoughLoads {
		a.say(WarnWaitTimeouts, "%.1f %% of waits end without an answer, aim below 1 %%: loads usually take %v; give callers longer deadlines, "+
			"or let them have stale values", 100*rate, s.UsualLoad.Round(time.Millisecond))
	}
}

func (a *advisor) tiers(s *Stats) {
	for i, t := range s.Tiers {
		if t.WakeMode == backend.WakePoll && s.Waits > 0 {
			a.say(WarnPolling, "the shared store of tier %d from behind memory does not push, so waiters poll: allow its user "+
				"PUBLISH, SUBSCRIBE and PUBSUB on the namespace's channels", i+1)
		}
		if bad := t.Corrupt + t.Foreign; bad > 0 && ratio(bad, t.Hits+t.Misses) > 0.01 {
			a.say(WarnForeign, "%.0f %% of lookups in tier %d from behind memory find what is no entry of this cache: "+
				"give each cache a namespace of its own, and see Options.Schema for when its values change their shape", 100*ratio(bad, t.Hits+t.Misses), i+1)
		}
	}
}

// warnOfLacks says what the cache does without, because of what its stores are
// not able to do.
func (c *core[K, V]) warnOfLacks() {
	h := c.opts.Hooks.Warn
	if h == nil {
		return
	}
	for _, text := range c.stack.Lacks() {
		h(context.Background(), lock.Warning{Code: WarnFallback, Message: fmt.Sprintf("cache %q: %s", c.opts.Name, text)})
	}
}

// warnOfTTL warns of options that work but defeat their purpose.
func (c *core[K, V]) warnOfTTL() {
	a := advisor{name: c.opts.Name}
	a.ttl(c.opts.Policy.TTL, c.locker.TTL())
	for _, w := range a.said {
		if h := c.opts.Hooks.Warn; h != nil {
			h(context.Background(), w)
		}
	}
}

// Sub returns the counts since an earlier Stats of the same cache. What is not
// a count stays as it is.
func (s *Stats) Sub(since *Stats) Stats {
	d := *s
	for _, f := range []struct{ of, less *uint64 }{
		{&d.Hits, &since.Hits}, {&d.RemoteHits, &since.RemoteHits}, {&d.Stale, &since.Stale},
		{&d.Negative, &since.Negative}, {&d.Shared, &since.Shared}, {&d.Filled, &since.Filled},
		{&d.Loaded, &since.Loaded}, {&d.Errors, &since.Errors}, {&d.Loads, &since.Loads},
		{&d.LoadErrors, &since.LoadErrors}, {&d.Unprotected, &since.Unprotected}, {&d.Waits, &since.Waits},
		{&d.WaitTimeouts, &since.WaitTimeouts}, {&d.LeasesLost, &since.LeasesLost}, {&d.NotStored, &since.NotStored}, {&d.Takeovers, &since.Takeovers},
		{&d.StaleIfError, &since.StaleIfError}, {&d.Cooled, &since.Cooled}, {&d.HardTimeouts, &since.HardTimeouts},
		{&d.Overloads, &since.Overloads}, {&d.LoadTimeouts, &since.LoadTimeouts},
		{&d.RemoteWaits, &since.RemoteWaits}, {&d.RemoteTimeouts, &since.RemoteTimeouts},
	} {
		*f.of -= *f.less
	}
	d.LoadTime -= since.LoadTime
	d.WaitTime -= since.WaitTime
	for i := range d.Acquisitions {
		d.Acquisitions[i] -= since.Acquisitions[i]
	}
	d.Memory = append(d.Memory[:0:0], s.Memory...)
	for i := range since.Memory {
		if i < len(d.Memory) {
			d.Memory[i].Evicted -= since.Memory[i].Evicted
		}
	}
	d.Tiers = append(d.Tiers[:0:0], s.Tiers...)
	for i := range since.Tiers {
		if i < len(d.Tiers) {
			d.Tiers[i] = d.Tiers[i].Sub(&since.Tiers[i])
		}
	}
	return d
}
