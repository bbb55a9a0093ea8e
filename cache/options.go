package cache

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"reflect"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/lock"
)

// Options configure a [Cache]. The zero value, and nil, mean the defaults. New
// keeps a copy.
type Options[K comparable, V any] struct {
	// Name tells this cache from others in errors, spans and metrics.
	// Defaults to "cache".
	Name string

	// Policy is what the cache does about freshness, failure and waiting.
	Policy Policy

	// LoadMany loads many keys at once, for GetMany. Defaults to the loader
	// given to New, called for each key.
	LoadMany LoadManyFunc[K, V]

	// Key turns a key into the string under which other processes find its
	// entry. Two different keys must give two different strings. Strings and
	// integers need none; any other K does.
	Key func(K) string

	// Codec turns values into bytes for tiers outside of this process.
	// Defaults to codec.JSON.
	Codec codec.Codec[V]

	// Schema names the shape of V in shared entries. Change it when V changes
	// so that old bytes would decode into a wrong value: entries of another
	// schema are misses. Defaults to a hash of V's name with its package, which
	// tells apart caches of different types that share a namespace by mistake.
	Schema uint32

	// Lease is the policy of the lease that guards a load between processes.
	// Its Hooks and Usual are not used: set Hooks.Lock; how long a load
	// usually takes is measured.
	Lease lock.Options

	// MaxLoads bounds the loads that run at once in this process; more of
	// them queue. Defaults to 1000.
	MaxLoads int

	// MaxWaiters bounds the callers of this process that memory could not
	// serve at once. Beyond it they get what is stale, or ErrOverloaded.
	// Defaults to 100,000.
	MaxWaiters int

	// FailureText is what callers in other processes are told of a load's
	// failure, through the shared tier. An error's message may quote what
	// should not be there. Defaults to nothing.
	FailureText func(error) string

	// Hooks observe the cache.
	Hooks Hooks
}

// LoadManyFunc loads the values of keys from the source. What it leaves out of
// its result is not found, unless it returns an error as well: then those keys
// have failed, and those in the result have not. Its context is as for a
// [LoadFunc]; see [LoadFor].
type LoadManyFunc[K comparable, V any] func(ctx context.Context, keys []K) (map[K]V, error)

func (o *Options[K, V]) withDefaults() Options[K, V] {
	var v Options[K, V]
	if o != nil {
		v = *o
	}
	v.Name = cmp.Or(v.Name, "cache")
	v.Policy = v.Policy.withDefaults()
	v.Schema = cmp.Or(v.Schema, schemaOf(reflect.TypeFor[V]()))
	v.MaxLoads = cmp.Or(v.MaxLoads, 1000)
	v.MaxWaiters = cmp.Or(v.MaxWaiters, 100_000)
	if v.Codec == nil {
		v.Codec = codec.JSON[V]()
	}
	v.Lease.Usual = 0
	v.Lease.Hooks = v.Hooks.Lock
	v.Lease.Hooks.Warn = v.Hooks.Warn
	return v
}

// schemaOf hashes (FNV-1a) the name of a type.
func schemaOf(t reflect.Type) uint32 {
	h := fnv.New32a()
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice && t.Name() == "" {
		_, _ = h.Write([]byte(t.Kind().String()))
		t = t.Elem()
	}
	_, _ = h.Write([]byte(t.PkgPath() + "." + t.String()))
	return h.Sum32()
}

func (o *Options[K, V]) validate() error {
	switch {
	case o.MaxLoads < 0:
		return fmt.Errorf("cache: Options.MaxLoads: must not be negative, is %d", o.MaxLoads)
	case o.MaxWaiters < 0:
		return fmt.Errorf("cache: Options.MaxWaiters: must not be negative, is %d", o.MaxWaiters)
	}
	return o.Policy.validate()
}
