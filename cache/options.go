package cache

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
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

	// ParseKey is the inverse of Key; false says that a string is no key's.
	// Save and Restore need it where Key is set, and nothing else does. It is
	// given strings that nobody vouches for.
	ParseKey func(string) (K, bool)

	// Codec turns values into bytes for tiers outside of this process.
	// Defaults to codec.JSON.
	Codec codec.Codec[V]

	// Schema names the shape of V in shared entries. Entries of another schema,
	// or another codec, are misses unless Migrations read them; they are never
	// errors and need no flush. Defaults to [SchemaOf] V, which tells apart
	// caches of different types that share a namespace by mistake, but not two
	// shapes of one type.
	//
	// V may change while processes of before and after share a store:
	//
	//  1. Is what the codec makes of old bytes right, and what the old program
	//     makes of new ones? A new field that may be zero in JSON, CBOR or
	//     protobuf is an example. Then there is nothing to do.
	//  2. Else give the new program another Schema, and a Migration for the old
	//     one. It then reads what old processes store, and leaves it as it is; old
	//     ones miss what it stores, load, and store it again in the old
	//     shape. So an entry costs one load more, at most, each time that it
	//     expires or is set, not one at each read. Without a Migration
	//     the two take turns at reloading what both read.
	//  3. Once the old processes are gone and the longest lifetime is over,
	//     Stats.Tiers[i].Migrated rises no more: drop the Migration.
	//
	// A change of Codec takes the steps 2 and 3; the schema may stay.
	Schema uint32

	// Migrations read entries of former schemas and codecs as values of this
	// one, from tiers outside of this process:
	//
	//	Schema: 2,
	//	Migrations: []tier.Migration[User]{
	//		tier.MigrateFrom(1, codec.JSON[userV1](), userV1.split), // func(userV1) (User, error)
	//	},
	//
	// Defaults to none.
	Migrations []tier.Migration[V]

	// Tags gives the tags of a key's entry, on top of those that its load says:
	// its tenant, or its prefixes ([Prefixes]), so that all entries of one can be
	// removed or expired at once. It is called with each load and Set, and must
	// always say the same of a key.
	Tags func(K) []string

	// Clone copies a value, deeply. Without it, values in memory are shared
	// between all who get them, and must not be changed. With it each caller
	// gets a copy of his own, and what is stored is a copy of what was loaded
	// or set; a hit then costs a copy. Values that hold no pointers, slices or
	// maps need none.
	Clone func(V) V

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
	v.Schema = cmp.Or(v.Schema, SchemaOf[V]())
	v.Migrations = slices.Clone(v.Migrations)
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

// SchemaOf is what Options.Schema defaults to: a hash of V's name with its
// package. A Migration names with it what was stored before there was a Schema:
// V is then as it was called in the program that stored it.
func SchemaOf[V any]() uint32 { return schemaOf(reflect.TypeFor[V]()) }

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
