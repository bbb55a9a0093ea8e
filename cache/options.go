package cache

import (
	"cmp"
	"fmt"
	"time"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/lock"
)

// Options configure a [Cache]. The zero value, and nil, mean the defaults. New
// keeps a copy.
type Options[K comparable, V any] struct {
	// Name tells this cache from others in errors, spans and metrics.
	// Defaults to "cache".
	Name string

	// TTL is how long an entry is fresh. Defaults to 5 min.
	TTL time.Duration

	// StaleFor is how long beyond TTL an entry is kept as stale, for the
	// ServeStale policy. Defaults to 0: not kept.
	StaleFor time.Duration

	// AbsentTTL is how long the answer of a loader that returned ErrNotFound
	// is kept. Defaults to 0: not kept, the next Get asks again.
	AbsentTTL time.Duration

	// Key turns a key into the string under which other processes find its
	// entry. Two different keys must give two different strings. Strings and
	// integers need none; any other K does.
	Key func(K) string

	// Codec turns values into bytes for tiers outside of this process.
	// Defaults to codec.JSON.
	Codec codec.Codec[V]

	// Schema names the shape of V in shared entries. Change it when V changes
	// so that old bytes would decode into a wrong value: entries of another
	// schema are misses. Defaults to 0.
	Schema uint32

	// Lease is the policy of the lease that guards a load between processes.
	// Its Hooks are not used: set Hooks.Lock.
	Lease lock.Options

	// Wait is what a caller does when another process still loads the key
	// after Lease.MaxWait (or Lease.Retries). Defaults to LoadAnyway.
	Wait WaitPolicy

	// Hooks observe the cache.
	Hooks Hooks
}

// WaitPolicy says what follows when another process holds the lease for longer
// than a caller may wait.
type WaitPolicy uint8

const (
	// LoadAnyway loads without the lease. The value is kept in this process
	// only: the holder's, or a Set, must not be overwritten.
	LoadAnyway WaitPolicy = iota

	// FailFast returns ErrInProgress.
	FailFast

	// ServeStale returns the stale value, at once if there is one, without
	// waiting at all. Without one it waits and then loads anyway. It needs
	// StaleFor.
	ServeStale
)

func (o *Options[K, V]) withDefaults() Options[K, V] {
	var v Options[K, V]
	if o != nil {
		v = *o
	}
	v.Name = cmp.Or(v.Name, "cache")
	v.TTL = cmp.Or(v.TTL, 5*time.Minute)
	if v.Codec == nil {
		v.Codec = codec.JSON[V]()
	}
	v.Lease.Hooks = v.Hooks.Lock
	v.Lease.Hooks.Warn = v.Hooks.Warn
	return v
}

func (o *Options[K, V]) validate() error {
	bad := func(field, rule string, is any) error {
		return fmt.Errorf("cache: Options.%s: %s, is %v", field, rule, is)
	}
	switch {
	case o.TTL < 0:
		return bad("TTL", "must not be negative", o.TTL)
	case o.StaleFor < 0:
		return bad("StaleFor", "must not be negative", o.StaleFor)
	case o.AbsentTTL < 0:
		return bad("AbsentTTL", "must not be negative", o.AbsentTTL)
	case o.Wait > ServeStale:
		return bad("Wait", "must be LoadAnyway, FailFast or ServeStale", o.Wait)
	case o.Wait == ServeStale && o.StaleFor == 0:
		return bad("StaleFor", "must be positive for Wait: ServeStale", o.StaleFor)
	}
	return nil
}
