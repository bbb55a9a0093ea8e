package backend

import (
	"context"
	"time"
)

// Invalidator is an optional ability of a [Store]: to tell this process what
// others change in it, so that tiers nearer than the store do not go on serving
// what is no longer true. Without it they do until their entries' time is over,
// or take a [Bus].
type Invalidator interface {
	// Invalidations calls on for each change by another process, and whenever
	// changes may have been missed, until stop has returned. What this Store
	// has changed itself is not told, or told as Unsure. Changes of a key need not
	// be told that it has neither read nor written since the last. Calls of on do not
	// overlap, and the first may come before Invalidations has returned; on must
	// not block, nor call the store. A change may be told again, and after a later
	// one. Until the first Heard, changes may be
	// missed. Invalidations does no I/O; stop is idempotent.
	Invalidations(what Interest, on func(Invalidation)) (stop func())

	// CoherenceMode says how changes are told, and whether they are at the
	// moment.
	CoherenceMode() CoherenceMode
}

// Interest is what an [Invalidator] is asked to tell of.
type Interest struct {
	Keys bool // changes of keys
	Tags bool // stamps of tags
}

// Invalidation is what an [Invalidator] tells.
type Invalidation struct {
	Kind InvalidationKind

	// Of KeyChanged. Head is how the value begins that the key holds now, at
	// least HeadLen bytes of it if it has so many; nil if it holds none.
	// With Unsure nothing is known of it: it may be this process's own
	// change, or no change at all.
	Key    string
	Head   []byte
	Unsure bool

	// Of TagStamped. Of Heard, if the store is a Tagger: the stamp of the tag ""
	// as it is now.
	Tag   string
	Stamp TagStamp
}

// HeadLen is by how many of its first bytes a cache tells one value of a key
// from another.
const HeadLen = 70

// InvalidationKind is what has happened.
type InvalidationKind uint8

const (
	KeyChanged InvalidationKind = iota // set, deleted, made stale, or replaced by a load
	TagStamped                         // removed or expired by tag

	// Heard begins, and begins again, the time in which all changes are told.
	// What has changed before is not known.
	Heard
	// Deaf ends it: the connection is gone, or silent for too long.
	Deaf
)

// CoherenceMode is how changes by other processes are learned of.
type CoherenceMode string

const (
	CoherenceOff     CoherenceMode = "off"     // they are not, nor will they be
	CoherenceDeaf    CoherenceMode = "deaf"    // they will be, once there is a connection again
	CoherencePublish CoherenceMode = "publish" // who changes a key publishes a message
	CoherenceKeys    CoherenceMode = "keys"    // the server remembers who has read which key (RESP3 tracking)
	CoherencePrefix  CoherenceMode = "prefix"  // the server tells of all keys of the namespace (RESP3 tracking, BCAST)
)

// Bus carries invalidations between the processes of a cache over a store that
// is no [Invalidator]. It is verified by backendtest.RunBus. All methods may be
// called concurrently.
type Bus interface {
	Invalidator

	// Publish tells every other process. It returns when the message is on its
	// way; nothing is sent again.
	Publish(ctx context.Context, inv Invalidation) error

	// Close releases what the bus itself opened. It is idempotent.
	Close() error
}

// TagStamp is the last time at which entries with a tag were removed, and the
// last at which they were made stale: microseconds of the store's time, 0 for
// never. It concerns entries whose data are as of that time or before.
type TagStamp struct{ Removed, Expired uint64 }

// Tagger is an optional ability of a [Store]: to remove or expire at once, and
// in a time that does not depend on their number, all entries with a tag. It
// only keeps stamps; the tier above compares them with the entries it reads.
type Tagger interface {
	// StampTags notes that all entries with one of tags are removed, or with
	// expire that they are stale. The tag "" is every entry's. The stamp is
	// greater than every AsOf and every fence that was given before for entries
	// that are in the store, as far as its clock does not go back.
	StampTags(ctx context.Context, expire bool, tags ...string) (stamp uint64, err error)

	// TagStamps returns the stamps of tags, in their order.
	TagStamps(ctx context.Context, tags ...string) ([]TagStamp, error)

	// AsOf returns a stamp for data that are about to be written without a
	// lease: no later than any that StampTags returns from now on.
	AsOf(ctx context.Context) (uint64, error)
}

// MaxTagged is for how long an entry with tags lives at most: for so long, at
// least, a [Tagger] keeps stamps, unless it lets entries of that age go.
const MaxTagged = 30 * 24 * time.Hour
