package cache

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/bellwethercache/bellwether/tier"
)

// Policy is what a cache does about freshness, failure and waiting. The zero
// value means the defaults: a TTL and nothing stale, ever. All of it works
// together, and with the lease. [Cache.With] gives a cache another one.
//
//	value is    fresh                     stale                        stale
//	            |---------- TTL ----------|-- StaleWhileRevalidate --|---- StaleIfError from TTL on ----|
//	a read      returns it                returns it,                loads, and returns it if that
//	            (RefreshAhead, XFetch:    refreshes in the           fails, or takes longer than
//	            may refresh as well)      background                 SoftTimeout
//
// Whoever holds a usable stale value never waits for anybody else's load.
type Policy struct {
	// TTL is how long an entry is fresh. Take the longest age that you can
	// explain to a user. Defaults to 5 min.
	TTL time.Duration

	// Jitter shortens each TTL by a random part of itself, up to this share
	// (0.1: by 0 to 10 %). Use it where many entries are made at once, so that
	// they do not expire at once. Below 1. Defaults to 0.
	Jitter float64

	// StaleWhileRevalidate is for how long after TTL a stale value is returned
	// at once while one process refreshes it in the background (RFC 5861). Use
	// it wherever an answer that is a little old beats one that is late: with
	// it no caller waits for a key that is in use. Beyond it a read loads
	// before it returns, so that a key that is seldom read is not always one
	// update behind. Defaults to 0.
	StaleWhileRevalidate time.Duration

	// StaleIfError is for how long after TTL a stale value is returned when
	// the loader fails, is cooling down, is too slow (SoftTimeout), or is
	// another's to run (RFC 5861). Use it to ride out failures of the source.
	// Ask Cache.GetEntry whether a value is stale, and why. Defaults to 0.
	StaleIfError time.Duration

	// AbsentTTL is how long the answer of a loader that returned ErrNotFound
	// is kept. Use it against callers that ask for what does not exist, and
	// keep it short: it hides what has just been made. Defaults to 0: not
	// kept, the next Get asks again.
	AbsentTTL time.Duration

	// RefreshAhead is the share of the TTL after which a read refreshes the
	// entry in the background, though it is fresh: 0.8 for the last fifth. Use
	// it for keys that are read all the time and must not be stale. Below 1.
	// Defaults to 0: off.
	RefreshAhead float64

	// XFetch refreshes in the background with a probability that rises towards
	// the end of the TTL, and the sooner the longer the load takes (Vattani,
	// Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede
	// Prevention, VLDB 2015; this is its β). Use 1 where load times differ
	// from key to key, so that no share of the TTL fits all. The time that the
	// load took travels with the entry. Defaults to 0: off.
	XFetch float64

	// SoftTimeout is how long a caller waits for a load while a stale value is
	// usable; then it returns that, and the load goes on in the background.
	// Use it with StaleIfError, at what a caller will stand. Defaults to 0: it
	// waits.
	SoftTimeout time.Duration

	// HardTimeout is how long a caller waits for a load at all; then it
	// returns ErrTimeout, and the load goes on in the background for those who
	// come later. Use it where the caller has a substitute of its own.
	// Defaults to 0: as long as its context allows.
	HardTimeout time.Duration

	// LoadTimeout ends a load, whoever waits for it: its context is cancelled,
	// its key is free again, and its callers get ErrLoadTimeout, also if it
	// ignores its context. Set it to what no sound load ever takes. Negative:
	// never. Defaults to 1 min.
	LoadTimeout time.Duration

	// CoolDown is for how long nobody tries a load again that has failed; all
	// callers, in all processes, share the failure (ErrCooling), or get what
	// is stale. It doubles with each failure in a row up to CoolDownMax, less
	// up to a quarter at random. Use it to spare a source that is down.
	// Negative: off. Defaults to 100 ms.
	CoolDown time.Duration

	// CoolDownMax: see CoolDown. Defaults to 5 s, or CoolDown if that is more.
	CoolDownMax time.Duration

	// SkipReads are tiers that are not looked at, and SkipWrites tiers in which
	// nothing is stored that was loaded or set: tier.Nth(1) is the nearest.
	// Use them with With, for calls that must see what a farther tier has, or
	// must not fill up memory. A tier that is not written does not say who
	// loads; with one that is not read, a load that is under way elsewhere is
	// waited for as ever. Delete, Expire and tags concern all tiers all the
	// same, and a Set removes the key from tiers that it passes by, if they are
	// nearer than one that it writes. A place that no tier has is refused. Default to none.
	SkipReads, SkipWrites tier.Tiers

	// Wait is what a caller without a stale value does when another process
	// still loads the key after Lease.MaxWait (or Lease.Retries). Defaults to
	// LoadAnyway.
	Wait WaitPolicy
}

// WaitPolicy says what follows when another process holds the lease for longer
// than a caller may wait.
type WaitPolicy uint8

const (
	// LoadAnyway loads without the lease. The value is kept in this process
	// only: the holder's, or a Set, must not be overwritten. Use it where an
	// answer matters more than one load too many.
	LoadAnyway WaitPolicy = iota

	// FailFast returns ErrInProgress. Use it where the source must not be
	// asked twice: it is billed, or not idempotent.
	FailFast
)

func (p Policy) withDefaults() Policy {
	p.TTL = cmp.Or(p.TTL, 5*time.Minute)
	p.LoadTimeout = cmp.Or(p.LoadTimeout, time.Minute)
	p.CoolDown = cmp.Or(p.CoolDown, 100*time.Millisecond)
	p.CoolDownMax = cmp.Or(p.CoolDownMax, max(5*time.Second, p.CoolDown))
	return p
}

func (p *Policy) validate() error {
	bad := func(field, rule string, is any) error {
		return fmt.Errorf("cache: Policy.%s: %s, is %v", field, rule, is)
	}
	for _, d := range []struct {
		field string
		is    time.Duration
	}{
		{"TTL", p.TTL},
		{"StaleWhileRevalidate", p.StaleWhileRevalidate},
		{"StaleIfError", p.StaleIfError},
		{"AbsentTTL", p.AbsentTTL},
		{"SoftTimeout", p.SoftTimeout},
		{"HardTimeout", p.HardTimeout},
		{"CoolDownMax", p.CoolDownMax},
	} {
		if d.is < 0 {
			return bad(d.field, "must not be negative", d.is)
		}
	}
	share := func(f float64) bool { return f >= 0 && f < 1 } // false for NaN
	switch {
	case !share(p.Jitter):
		return bad("Jitter", "must be at least 0 and below 1", p.Jitter)
	case !share(p.RefreshAhead):
		return bad("RefreshAhead", "must be at least 0 and below 1", p.RefreshAhead)
	case !(p.XFetch >= 0) || math.IsInf(p.XFetch, 0):
		return bad("XFetch", "must be at least 0 and finite", p.XFetch)
	case p.SoftTimeout > 0 && p.staleFor() == 0:
		return bad("SoftTimeout", "needs StaleIfError or StaleWhileRevalidate, or there is nothing to return", p.SoftTimeout)
	case p.HardTimeout > 0 && p.HardTimeout < p.SoftTimeout:
		return bad("HardTimeout", "must not be below SoftTimeout", p.HardTimeout)
	case p.CoolDownMax < p.CoolDown:
		return bad("CoolDownMax", "must not be below CoolDown", p.CoolDownMax)
	case p.Wait > FailFast:
		return bad("Wait", "must be LoadAnyway or FailFast", p.Wait)
	}
	return nil
}

// validateTiers refuses places that a cache of n tiers has not.
func (p *Policy) validateTiers(n int) error {
	for _, f := range []struct {
		field string
		is    tier.Tiers
	}{{"SkipReads", p.SkipReads}, {"SkipWrites", p.SkipWrites}} {
		if !f.is.Within(n) {
			return fmt.Errorf("cache: Policy.%s: names a place that no tier has; tier.Nth takes 1, the nearest, to %d here", f.field, n)
		}
	}
	return nil
}

// staleFor is how long beyond its TTL an entry is kept.
func (p *Policy) staleFor() time.Duration { return max(p.StaleWhileRevalidate, p.StaleIfError) }

// lifetime returns how long an entry of such a TTL is fresh and lives.
func (p *Policy) lifetime(ttl, staleFor time.Duration) (fresh, lives time.Duration) {
	if p.Jitter > 0 {
		ttl -= time.Duration(rand.Float64() * p.Jitter * float64(ttl))
	}
	fresh = max(ttl, 1)
	if lives = fresh + staleFor; lives < fresh { // overflow
		lives = math.MaxInt64
	}
	return fresh, lives
}

// revalidates reports whether e is stale and to be returned at once.
func revalidates[V any](p *Policy, e *tier.Entry[V]) bool {
	return !e.Absent && !e.Fresh() && -e.FreshFor < p.StaleWhileRevalidate
}

// covers reports whether e is stale and may be returned instead of an error.
func covers[V any](p *Policy, e *tier.Entry[V]) bool {
	return !e.Absent && !e.Fresh() && -e.FreshFor < p.staleFor()
}

// xfetchReach is how many times β·δ before its end an entry may become due: a
// read further away would draw less than e⁻²⁰.
const xfetchReach = 20

// dueIn is how long from now a read of e, which is fresh, should look whether to
// refresh it.
func dueIn[V any](p *Policy, e *tier.Entry[V]) time.Duration {
	due := e.FreshFor
	if p.RefreshAhead > 0 {
		due = min(due, time.Duration(p.RefreshAhead*float64(e.Age+e.FreshFor))-e.Age)
	}
	if p.XFetch > 0 && e.Cost > 0 {
		due = min(due, e.FreshFor-time.Duration(xfetchReach*p.XFetch*float64(e.Cost)))
	}
	return max(due, 1)
}

// due reports whether a read of e, which is fresh, is to refresh it.
func due[V any](p *Policy, e *tier.Entry[V]) bool {
	if p.RefreshAhead > 0 && float64(e.Age) >= p.RefreshAhead*float64(e.Age+e.FreshFor) {
		return true
	}
	// -ln of a uniform number is exponential with mean 1.
	return p.XFetch > 0 && rand.ExpFloat64()*p.XFetch*float64(e.Cost) >= float64(e.FreshFor)
}
