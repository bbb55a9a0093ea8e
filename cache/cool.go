package cache

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
)

// cooler remembers the failures of this process's loads: to cool down where
// there is no shared tier to keep the cool-down, and to know the error behind
// it where there is. The zero value is ready to use.
type cooler struct {
	size atomic.Int64 // of keys, for a look without the mutex
	mu   sync.Mutex
	keys map[string]failed
}

type failed struct {
	failures int
	until    int64 // clock.Now
	err      error
}

// maxFailed bounds the memory. Beyond it failures are not remembered: a source
// that fails for so many keys is not helped by cooling down each.
const maxFailed = 10_000

// forgetAfter is how long after its cool-down a failure still counts as one of
// a row.
const forgetAfter = int64(time.Minute)

// note remembers a failure, and returns for how long the key now cools down.
func (c *cooler) note(key string, p *Policy, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := clock.Now()
	f := c.keys[key]
	if now > f.until+forgetAfter {
		f.failures = 0
	}
	f.failures++
	f.err = err
	f.until = now + int64(coolFor(p, f.failures))
	if c.keys == nil {
		c.keys = make(map[string]failed)
	}
	if len(c.keys) >= maxFailed {
		c.sweep(now)
	}
	if len(c.keys) < maxFailed {
		c.keys[key] = f
	}
	c.size.Store(int64(len(c.keys)))
}

func (c *cooler) sweep(now int64) {
	for key, f := range c.keys {
		if now > f.until+forgetAfter {
			delete(c.keys, key)
		}
	}
}

// forget ends the row of a key.
func (c *cooler) forget(key string) {
	if c.size.Load() == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keys, key)
	c.size.Store(int64(len(c.keys)))
}

// look returns what is known of a key that cools down or has done so lately.
func (c *cooler) look(key string) (cooling backend.Cooling, err error) {
	if c.size.Load() == 0 {
		return cooling, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.keys[key]
	return backend.Cooling{Failures: f.failures, RetryAfter: time.Duration(f.until - clock.Now())}, f.err
}

// coolFor is Policy.CoolDown after so many failures in a row.
func coolFor(p *Policy, failures int) time.Duration {
	d := p.CoolDownMax
	if n := failures - 1; n < 32 && p.CoolDown<<n > 0 { // else it overflows
		d = min(d, p.CoolDown<<n)
	}
	return jitter(d)
}

// jitter takes up to a quarter off, so that keys that failed together are not
// tried together.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Float64()*float64(d)/4)
}
