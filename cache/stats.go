package cache

import (
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/internal/striped"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// Stats are a cache's counts since New. Each Get is counted in exactly one of
// Hits to Errors.
type Stats struct {
	Hits       uint64 // the in-process tier had it fresh
	RemoteHits uint64 // another tier had it fresh
	Stale      uint64 // served stale
	Negative   uint64 // known to be absent from the source
	Shared     uint64 // joined another caller's flight in this process
	Filled     uint64 // another process loaded it meanwhile
	Loaded     uint64 // loaded it
	Errors     uint64 // returned an error

	Loads       uint64        // calls of a loader
	LoadErrors  uint64        // of them, those that failed; not found is no failure
	LoadTime    time.Duration // in loaders
	Unprotected uint64        // loads without the lease: an outage, or a wait that was too long

	Waits          uint64        // for another's load, in this process or elsewhere
	WaitTime       time.Duration // spent in them
	WaitTimeouts   uint64        // that gave up, or whose caller left
	RemoteWaits    uint64        // of Waits: for another process
	RemoteTimeouts uint64        // of WaitTimeouts: for another process
	LeasesLost     uint64        // results not written, because the lease was gone
	NotStored      uint64        // results that the shared tier did not take: it was away, or they are too large or cannot be encoded
	Takeovers      uint64        // leases won from a holder whose process had died

	StaleIfError uint64        // of Stale: because nothing fresher was to be had
	Cooled       uint64        // of Errors: told that the load has failed lately
	HardTimeouts uint64        // of Errors: Policy.HardTimeout
	Overloads    uint64        // of Errors: Options.MaxWaiters
	LoadTimeouts uint64        // of LoadErrors: Policy.LoadTimeout
	LongestLoad  time.Duration // of all loads
	UsualLoad    time.Duration // of recent loads that succeeded: a weighted mean

	Waiting int // right now: callers that memory could not serve, those that load or only look included
	Loading int // right now: loads

	Acquisitions lock.Outcomes // of leases: how often each outcome came of one

	Memory []tier.LocalStats // of the tiers in this process, nearest first
	Tiers  []tier.Stats      // of the tiers outside of it, nearest first
}

// Gets is the number of Gets.
func (s *Stats) Gets() uint64 {
	return s.Hits + s.RemoteHits + s.Stale + s.Negative + s.Shared + s.Filled + s.Loaded + s.Errors
}

type counters struct {
	hits    striped.Counter
	results [len(resultNames)]striped.Counter // by Result; of ResultHit, the remote ones

	loads, loadErrors, unprotected  atomic.Uint64
	waits, waitTimeouts, leasesLost atomic.Uint64
	remoteWaits, remoteTimeouts     atomic.Uint64
	acquisitions                    [len(lock.Outcomes{})]atomic.Uint64
	takeovers, staleIfError, cooled atomic.Uint64
	notStored                       atomic.Uint64
	hardTimeouts, overloads         atomic.Uint64
	loadTimeouts                    atomic.Uint64
	loadTime, waitTime, longestLoad atomic.Int64
}

func (n *counters) longest(d time.Duration) {
	for {
		old := n.longestLoad.Load()
		if int64(d) <= old || n.longestLoad.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

func (n *counters) outcomes() (all lock.Outcomes) {
	for i := range all {
		all[i] = n.acquisitions[i].Load()
	}
	return all
}

// waiting is how many callers are in flights, of whatever route.
func (c *core[K, V]) waiting() int {
	n := c.flights.Callers()
	c.routes.each(func(g *flight.Group[outcome[V]]) { n += g.Callers() })
	return n
}

// Stats returns the counts so far. It takes locks of the memory's store, and the
// first call after a Clear goes through what that holds: call it to look, not for
// each read.
func (c *Cache[K, V]) Stats() Stats {
	n := &c.count
	return Stats{
		Hits:           n.hits.Load(),
		RemoteHits:     n.results[ResultHit].Load(),
		Stale:          n.results[ResultStale].Load(),
		Negative:       n.results[ResultNegative].Load(),
		Shared:         n.results[ResultShared].Load(),
		Filled:         n.results[ResultFilled].Load(),
		Loaded:         n.results[ResultLoaded].Load(),
		Errors:         n.results[ResultError].Load(),
		Loads:          n.loads.Load(),
		LoadErrors:     n.loadErrors.Load(),
		LoadTime:       time.Duration(n.loadTime.Load()),
		Unprotected:    n.unprotected.Load(),
		Waits:          n.waits.Load(),
		WaitTime:       time.Duration(n.waitTime.Load()),
		WaitTimeouts:   n.waitTimeouts.Load(),
		LeasesLost:     n.leasesLost.Load(),
		NotStored:      n.notStored.Load(),
		Takeovers:      n.takeovers.Load(),
		StaleIfError:   n.staleIfError.Load(),
		Cooled:         n.cooled.Load(),
		HardTimeouts:   n.hardTimeouts.Load(),
		Overloads:      n.overloads.Load(),
		LoadTimeouts:   n.loadTimeouts.Load(),
		LongestLoad:    time.Duration(n.longestLoad.Load()),
		UsualLoad:      c.usual.get(),
		RemoteWaits:    n.remoteWaits.Load(),
		RemoteTimeouts: n.remoteTimeouts.Load(),
		Acquisitions:   n.outcomes(),
		Waiting:        c.waiting(),
		Loading:        len(c.slots),
		Memory:         c.stack.LocalStats(),
		Tiers:          c.stack.Stats(),
	}
}
