// Package memlock keeps leases in this process: for tests, for programs of one
// process, and as the reference that lock/locktest is written against.
package memlock

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/lock"
)

// Driver is a lock.Driver in memory. The zero value is ready to use. Expired
// leases are dropped when their key is next asked for.
type Driver struct {
	mu     sync.Mutex
	leases map[string]lease
	watch  map[string]map[*func()]struct{}
	fence  uint64 // of all keys: rising for each is all that is promised
}

type lease struct {
	lock.Request
	fence uint64
	since time.Time
	until time.Time
	told  bool // somebody is to be told of its end
}

var (
	_ lock.Driver   = (*Driver)(nil)
	_ lock.Notifier = (*Driver)(nil)
)

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
		if req.Watch {
			cur.told = true
			d.leases[key] = cur
		}
		return lock.Grant{Status: lock.Held, Pushed: req.Watch, Holder: lock.Holder{
			Owner: cur.Owner, Tag: cur.Tag, Since: now.Sub(cur.since), Remaining: cur.until.Sub(now), Usual: cur.Usual,
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
	return lock.Grant{Status: lock.Won, Fence: cur.fence, Token: cur.name()}, nil
}

// name is the token of this lease alone.
func (l lease) name() string { return fmt.Sprintf("%s|%d", l.Token, l.fence) }

func (l lease) heldBy(token string) bool { return token == l.Token || token == l.name() }

// Renew implements lock.Driver.
func (d *Driver) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	cur, ok := d.leases[key]
	if !ok || !cur.heldBy(token) || !time.Now().Before(cur.until) {
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
	ok, wakes := d.release(key, token)
	for _, wake := range wakes { // without the mutex: a wake may call its stop
		wake()
	}
	return ok, nil
}

func (d *Driver) release(key, token string) (ok bool, wakes []func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cur, ok := d.leases[key]
	if !ok || !cur.heldBy(token) {
		return false, nil
	}
	delete(d.leases, key)
	if cur.told {
		for wake := range d.watch[key] {
			wakes = append(wakes, *wake)
		}
	}
	return time.Now().Before(cur.until), wakes
}

// Watch implements lock.Notifier. Whoever releases the lease calls wake.
func (d *Driver) Watch(key string, wake func()) (stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watch == nil {
		d.watch = make(map[string]map[*func()]struct{})
	}
	if d.watch[key] == nil {
		d.watch[key] = make(map[*func()]struct{}, 1)
	}
	d.watch[key][&wake] = struct{}{}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watch[key], &wake)
		if len(d.watch[key]) == 0 {
			delete(d.watch, key)
		}
	}
}
