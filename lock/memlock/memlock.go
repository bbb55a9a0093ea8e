// Package memlock keeps leases in this process: for tests, for programs of one
// process, and as the reference that lock/locktest is written against.
package memlock

import (
	"context"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/lock"
)

// Driver is a lock.Driver in memory. The zero value is ready to use. Expired
// leases are dropped when their key is next asked for.
type Driver struct {
	mu     sync.Mutex
	leases map[string]lease
	fence  uint64 // of all keys: rising for each is all that is promised
}

type lease struct {
	lock.Request
	fence uint64
	since time.Time
	until time.Time
}

var _ lock.Driver = (*Driver)(nil)

// Acquire implements lock.Driver.
func (d *Driver) Acquire(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
	if err := context.Cause(ctx); err != nil {
		return lock.Grant{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	cur, held := d.leases[key]
	held = held && now.Before(cur.until)
	switch {
	case held && cur.Token != req.Token:
		return lock.Grant{Status: lock.Held, Holder: lock.Holder{
			Owner: cur.Owner, Tag: cur.Tag, Since: now.Sub(cur.since), Remaining: cur.until.Sub(now),
		}}, nil
	case !held:
		d.fence++
		cur = lease{Request: req, fence: d.fence, since: now}
	}
	cur.until = now.Add(req.TTL)
	if d.leases == nil {
		d.leases = make(map[string]lease)
	}
	d.leases[key] = cur
	return lock.Grant{Status: lock.Won, Fence: cur.fence}, nil
}

// Renew implements lock.Driver.
func (d *Driver) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	cur, ok := d.leases[key]
	if !ok || cur.Token != token || !time.Now().Before(cur.until) {
		return false, nil
	}
	cur.until = time.Now().Add(ttl)
	d.leases[key] = cur
	return true, nil
}

// Release implements lock.Driver.
func (d *Driver) Release(ctx context.Context, key, token string) (bool, error) {
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	cur, ok := d.leases[key]
	if !ok || cur.Token != token {
		return false, nil
	}
	delete(d.leases, key)
	return time.Now().Before(cur.until), nil
}
