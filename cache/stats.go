package cache

import (
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/internal/striped"
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

	Waits        uint64        // for another's load, in this process or elsewhere
	WaitTime     time.Duration // spent in them
	WaitTimeouts uint64        // that gave up, or whose caller left
	LeasesLost   uint64        // results not written, because the lease was gone

	Tiers []tier.Stats // of the tiers outside of this process, nearest first
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
	loadTime, waitTime              atomic.Int64
}

// Stats returns the counts so far.
func (c *Cache[K, V]) Stats() Stats {
	n := &c.count
	return Stats{
		Hits:         n.hits.Load(),
		RemoteHits:   n.results[ResultHit].Load(),
		Stale:        n.results[ResultStale].Load(),
		Negative:     n.results[ResultNegative].Load(),
		Shared:       n.results[ResultShared].Load(),
		Filled:       n.results[ResultFilled].Load(),
		Loaded:       n.results[ResultLoaded].Load(),
		Errors:       n.results[ResultError].Load(),
		Loads:        n.loads.Load(),
		LoadErrors:   n.loadErrors.Load(),
		LoadTime:     time.Duration(n.loadTime.Load()),
		Unprotected:  n.unprotected.Load(),
		Waits:        n.waits.Load(),
		WaitTime:     time.Duration(n.waitTime.Load()),
		WaitTimeouts: n.waitTimeouts.Load(),
		LeasesLost:   n.leasesLost.Load(),
		Tiers:        c.tiers.Stats(),
	}
}
