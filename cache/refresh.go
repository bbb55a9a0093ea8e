package cache

import (
	"context"
	"time"

	"github.com/bellwethercache/bellwether/tier"
)

// refresh has key loaded in the background, unless somebody in this process
// sees to that already. e is the entry to be refreshed.
func (c *Cache[K, V]) refresh(ctx context.Context, key K, load LoadFunc[K, V], e *tier.Entry[V]) {
	if !c.tiers.Claim(key, claimFor(e.Cost)) {
		return
	}
	// A refresh is a goroutine; callers are served without it.
	if c.refreshing.Add(1) > int64(c.opts.MaxLoads) {
		c.refreshing.Add(-1)
		return
	}
	f := &fill[K, V]{cache: c, key: key, skey: c.key(key), load: load, background: true, stale: e}
	if !c.flights.Start(ctx, f.skey, &f.call, f) {
		c.refreshing.Add(-1)
	}
}

// claimFor is for how long nobody else in this process tries a refresh: long
// enough for the load to end, short enough to try again if nobody has done it.
func claimFor(cost time.Duration) time.Duration {
	return min(max(2*cost, 100*time.Millisecond), 10*time.Second)
}
