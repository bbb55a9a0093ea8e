package cache

import (
	"context"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/tier"
)

// refresh has key loaded in the background, unless somebody in this process
// sees to that already. e is the entry to be refreshed.
func (c *Cache[K, V]) refresh(ctx context.Context, key K, load LoadFunc[K, V], e *tier.Entry[V]) {
	if !c.claim(key, claimFor(e.Cost)) {
		return
	}
	// A refresh is a goroutine; callers are served without it.
	if c.refreshing.Add(1) > int64(c.opts.MaxLoads) {
		c.refreshing.Add(-1)
		return
	}
	f := &fill[K, V]{cache: c, key: key, skey: c.key(key), load: load, began: c.stack.Instant(), background: true, stale: e}
	if !c.flown.Start(ctx, f.skey, &f.call, f) {
		c.refreshing.Add(-1)
	}
}

// claim makes the caller the one that sees to the refresh of key, unless another
// in this process did less than d ago. The nearest tier keeps claims with its
// entries; without one in this process they are kept here.
func (c *Cache[K, V]) claim(key K, d time.Duration) bool {
	if c.tiers.Near() {
		return c.tiers.Claim(key, d)
	}
	return c.claims.take(c.key(key), d)
}

// claims are kept until their time is over. The zero value is ready to use.
type claims struct {
	mu    sync.Mutex
	until map[string]int64 // clock.Now
}

// maxClaims bounds the memory. Beyond it nobody is held back.
const maxClaims = 10_000

func (c *claims) take(key string, d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := clock.Now()
	if now < c.until[key] {
		return false
	}
	if len(c.until) >= maxClaims {
		for k, until := range c.until {
			if now >= until {
				delete(c.until, k)
			}
		}
	}
	if c.until == nil {
		c.until = make(map[string]int64)
	}
	if len(c.until) < maxClaims {
		c.until[key] = now + int64(d)
	}
	return true
}

// claimFor is for how long nobody else in this process tries a refresh: long
// enough for the load to end, short enough to try again if nobody has done it.
func claimFor(cost time.Duration) time.Duration {
	return min(max(2*cost, 100*time.Millisecond), 10*time.Second)
}
