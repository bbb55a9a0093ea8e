// Package backend says what a place that holds cache entries must promise.
//
// There are two kinds of place, because two things are true of caches. A place
// in this process can keep a Go value as it is and answer in nanoseconds
// ([Memory]); a place outside of it keeps bytes and may be slow, full or gone
// ([Store]). Everything else, typing, codecs, lifetimes, stampede protection,
// is built above and is the same for every store.
//
// Applications do not call these interfaces. They open a store
// (backend/ristrettostore, backend/valkeystore, ...) and hand it to
// tier.Local or tier.Remote. Implementers run the conformance kit
// backend/backendtest, which is the law: what it does not check is not
// promised.
//
// # Errors
//
// A store returns [ErrMiss] bare when it holds nothing, and its own errors as
// they come. The tier above wraps, counts and budgets them; a store neither
// retries in the background nor hides an outage as a miss.
package backend

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"
)

var (
	// ErrMiss says that this place holds no live entry for the key. Stores
	// return it bare; match it with errors.Is.
	ErrMiss = errors.New("backend: miss")

	// ErrClosed says that the store was used after Close.
	ErrClosed = errors.New("backend: store is closed")

	// ErrUnavailable is what a store joins to a failure to reach its server,
	// so that callers can tell an outage from a refusal.
	ErrUnavailable = errors.New("backend: server is unavailable")
)

// Store holds bytes under string keys: a server, a file, a table. All methods
// may be called concurrently, honour ctx, and are verified by
// backendtest.RunStore.
type Store interface {
	// Get returns the value last Set for key, or ErrMiss when there is none,
	// it was deleted or its ttl has passed. The slice belongs to the caller.
	Get(ctx context.Context, key string) ([]byte, error)

	// Set stores value for ttl, which is positive and is rounded up where
	// the place counts in coarser units. It does not retain value. Where the
	// store also leases (Leaser), Set ends the key's lease in the same atomic
	// step, so that a load begun before cannot overwrite what was set.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// Delete removes the keys and ends their leases. Absent keys are fine.
	Delete(ctx context.Context, keys ...string) error

	// Close releases what the store itself opened, never a client it was
	// handed. It is idempotent.
	Close() error
}

// Memory holds Go values of this process under 64-bit hashes. It may drop any
// value at any time, but it never goes back: after Set(h, n) returns, Get(h)
// gives n or nil, and after Delete(h) it gives nil, until the next Set,
// whoever calls it. All methods may be called concurrently, also while and
// after Close, and are verified by backendtest.RunMemory.
//
// Two keys may share a hash: the tier above keeps the full key in its node and
// compares it.
type Memory interface {
	// Get returns the live node under hash or nil. It allocates nothing and
	// does not look at a clock: the caller checks Expired.
	Get(hash uint64) Node

	// Set stores n, which weighs cost (at least 1), until its ttl is over or
	// room is needed. It kills the node that it replaces.
	Set(hash uint64, n Node, cost int64, ttl time.Duration)

	// Delete kills and removes the node under hash, if any.
	Delete(hash uint64)

	// Close drops everything. It is idempotent; afterwards Get gives nil and
	// Set does nothing.
	Close() error
}

// Ranger is an optional ability of a [Memory]: to go through what it holds, so
// that a cache can save it (cache.Cache.Save). Without it a cache cannot.
type Ranger interface {
	// Range calls yield with each node that the memory holds, in no order,
	// until yield returns false. A node that is there from beginning to end is
	// yielded, once; of those that are set or deleted meanwhile some are, and
	// none that is dead by then. yield may call any method, so Range
	// holds no lock meanwhile. After Close it yields nothing.
	//
	//	for n := range m.Range { ... }
	Range(yield func(n Node) bool)
}

// Counted is an optional ability of a [Memory]: to say how full it is. It is
// verified by backendtest.RunMemory.
type Counted interface {
	// Len returns how many nodes are held. One that was deleted or replaced, or
	// whose lifetime is over, may count until its room has been given back. It
	// may take a lock: it is for statistics, not for each read.
	Len() int

	// Evicted returns how many nodes were dropped, or not taken in, for want of
	// room while they were alive. It never falls.
	Evicted() uint64
}

// Node is a value in a Memory. Embed [Life] for Kill and Dead.
type Node interface {
	// Kill marks the node as replaced or deleted. Idempotent.
	Kill()
	// Dead reports whether Kill was called. A Memory that applies writes
	// late checks it, so that a killed node is never seen again.
	Dead() bool
	// Expired reports whether the node's lifetime is over. A Memory may ask
	// it when it looks for room.
	Expired() bool
}

// Life implements Kill and Dead of [Node]. The zero value is alive.
type Life struct{ dead atomic.Bool }

// Kill marks the node as replaced or deleted.
func (l *Life) Kill() { l.dead.Store(true) }

// Dead reports whether Kill was called.
func (l *Life) Dead() bool { return l.dead.Load() }

// Clock is an optional ability of a [Store]: the time of the server that all
// its clients share, so that ages are not measured with two nodes' clocks.
// Without it the tier uses this machine's wall clock.
type Clock interface {
	// Now estimates the server's time in microseconds since the Unix epoch.
	// It may ask the server when it has no estimate yet.
	Now(ctx context.Context) (int64, error)
}

// Exclusive is an optional ability of a [Store]: to say that no other process can
// use the place while this one does, as a file that is locked. There are then no
// loads elsewhere to wait for and no changes by others to hear of, and a cache over
// it is not warned of doing without a lease, a shared clock and news.
type Exclusive interface {
	// Exclusive reports whether it is so. It is asked once.
	Exclusive() bool
}

// Leaser is an optional ability of a [Store]: to decide, atomically with the
// value, who may load it. A cache over a store without it still works and
// loads once per process rather than once per fleet.
//
// Each method runs as one atomic step at the server and is safe to repeat with
// the same token, so that a lost reply never orphans a lease. The token of
// Commit, Renew and Release is LeaseReply.Token; Release takes the request's as
// well, of a Lease whose reply was lost.
type Leaser interface {
	// Lease reads key and, when there is no usable value, takes its lease.
	Lease(ctx context.Context, key string, req LeaseRequest) (LeaseReply, error)

	// Commit writes value and ends the lease, if token still holds it. It
	// reports false, and writes nothing, when the lease was lost.
	Commit(ctx context.Context, key, token string, value []byte, ttl time.Duration) (bool, error)

	// Renew extends the lease to ttl from now if token still holds it. It
	// never creates one.
	Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error)

	// Release ends the lease if token still holds it, and leaves a cool-down
	// behind if f says that the load has failed.
	Release(ctx context.Context, key, token string, f Failure) (bool, error)
}

// LeaseRequest asks for a lease.
type LeaseRequest struct {
	Token string        // 32 hexadecimal digits, new for each acquisition
	Owner string        // names the process, for humans: no "|" or line break
	Tag   string        // opaque to the store, returned to those who lose: a trace context, without line breaks
	TTL   time.Duration // the lease ends after it unless renewed
	Usual time.Duration // how long such a load takes, told to those who wait; 0: unknown

	// Watch asks to be told by push when another's lease ends, or somebody else
	// ends ours. It needs a Watch of the key (Notifier), begun before the request.
	Watch bool

	// Rejected, if not nil, is a prefix of a value that the caller has read
	// and cannot use (stale, or not ours). A value that begins with it counts
	// as none; any other is returned as found.
	Rejected []byte
}

// LeaseReply is one of four answers: Value is not nil (found), Won, Cooling is
// not nil (the load has just failed), or none of these (held by another).
type LeaseReply struct {
	Value []byte // what the key holds

	Won      bool
	Fence    uint64 // of a won lease: greater than all before it for this key
	TookOver bool   // won from a holder whose process is gone

	// Token of a won lease is what Commit, Renew and Release are given to name
	// this lease alone. The request's token names whatever lease it has won: a
	// copy of the request that arrives late may have won another, after a
	// Delete, and what was loaded under the first must not be committed under
	// that.
	Token string

	Cooling *Cooling

	// Of a lease that is held elsewhere.
	Owner     string
	Tag       string
	Since     time.Duration // how long it has been held
	Remaining time.Duration // until it ends unless renewed; negative: it never does
	Usual     time.Duration // as its holder said
	Pushed    bool          // its end will be told to the key's Watch
}

// NameLease makes the LeaseReply.Token of a lease from the token of the request
// that won it and its fence. Stores compare what they are given with it.
func NameLease(request string, fence uint64) string {
	return request + "|" + strconv.FormatUint(fence, 10)
}

// Failure is what a holder whose load has failed leaves behind. The zero value
// leaves nothing.
type Failure struct {
	// After n failures in a row the key cools down for CoolDown·2ⁿ⁻¹, at most
	// CoolDownMax: nobody gets its lease, and who asks is told why. A Commit
	// ends the row; a Set or Delete ends the cool-down.
	CoolDown, CoolDownMax time.Duration

	Text string // told to those who ask; may be empty
}

// Cooling says that the load of a key has failed and is not to be tried again
// for a while.
type Cooling struct {
	Failures   int           // in a row
	RetryAfter time.Duration // until the lease can be had again
	Text       string        // as the holder that failed said
}

// Notifier is an optional ability of a [Leaser]: to wake those who wait for a
// lease when it ends, rather than let them look again and again.
type Notifier interface {
	// Watch calls wake when a lease of key ends that a Lease with
	// LeaseRequest.Watch has found held, when its holder's process is found to
	// be gone (a Lease then takes it over), when a lease that such a Lease has
	// won is ended by a Set or Delete, and when a notice may have been lost:
	// after it, look again, unless the notice says it all. It does no I/O. wake is called from a goroutine of the store's, must not block and
	// may be called a last time while stop runs.
	Watch(key string, wake func(Notice)) (stop func())

	// WakeMode says how waiters are woken at the moment.
	WakeMode() WakeMode
}

// Notice is what a [Notifier] tells. The zero value says: look again.
type Notice struct {
	Value   []byte   // what was committed, if it is small; it belongs to the receiver
	Cooling *Cooling // the load has failed
}

// WakeMode is how waiters learn that a lease has ended.
type WakeMode string

const (
	WakePoll WakeMode = "poll"          // they look again, with backoff
	WakePush WakeMode = "push"          // they are told
	WakeLive WakeMode = "push+liveness" // and are told as well when its holder dies
)

// MultiLeaser is an optional ability of a [Leaser]: many keys in as few round
// trips as the server allows. Each key is a step of its own; none is atomic
// with another. Answers are in the order of the questions.
type MultiLeaser interface {
	LeaseMulti(ctx context.Context, asks []LeaseAsk) []LeaseAnswer
	CommitMulti(ctx context.Context, asks []CommitAsk) []CommitAnswer
}

// LeaseAsk is one key of a LeaseMulti.
type LeaseAsk struct {
	Key string
	LeaseRequest
}

// LeaseAnswer answers a LeaseAsk.
type LeaseAnswer struct {
	LeaseReply
	Err error
}

// CommitAsk is one key of a CommitMulti.
type CommitAsk struct {
	Key, Token string
	Value      []byte
	TTL        time.Duration
}

// CommitAnswer answers a CommitAsk.
type CommitAnswer struct {
	OK  bool
	Err error
}

// Swapper is an optional ability of a [Store]: to replace a value only if it is
// still the one that was read. Without it a cache cannot mark an entry as
// stale, and deletes it instead.
type Swapper interface {
	// Swap writes value for ttl if what key holds begins with old, and ends
	// the key's lease in the same step. It reports whether it did.
	Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error)
}
