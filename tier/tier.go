package tier

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// Tier describes one tier of a cache. Make it with [Local] or [Remote].
type Tier struct {
	memory backend.Memory
	local  LocalOptions
	store  backend.Store
	remote RemoteOptions
}

// LocalOptions configure a tier in this process. The zero value, and nil, mean
// the defaults.
type LocalOptions struct {
	// MaxTTL caps the lifetime of an entry in this tier: with several
	// replicas it bounds how long one serves what another has replaced, where
	// that is not told (see backend.Invalidator) or its news is cut off.
	// Defaults to no cap.
	MaxTTL time.Duration

	// MaxDeaf is for how long entries are served while the connection on which
	// changes by other processes are told is gone: after that, what was there
	// before is dropped, and what is loaded meanwhile lives no longer. That a connection
	// is silent rather than closed takes up to 1.5 s more to notice. What is
	// short makes an outage of the server one of the source: each process then
	// loads each key once in that time. Defaults to no limit: MaxTTL or the
	// entry's own lifetime is the bound. In any case all that was there is
	// dropped when the connection is back.
	MaxDeaf time.Duration

	// NoInvalidation does without news of changes by other processes.
	NoInvalidation bool
}

// Local describes a tier in this process's memory. The cache closes m; give
// each cache a Memory of its own.
func Local(m backend.Memory, opts *LocalOptions) Tier {
	t := Tier{memory: m}
	if opts != nil {
		t.local = *opts
	}
	return t
}

// RemoteOptions configure a tier outside of this process. The zero value, and
// nil, mean the defaults.
type RemoteOptions struct {
	// Budget bounds each call of the store. Defaults to 100 ms.
	Budget time.Duration

	// InFlight bounds how many calls run at once; more of them queue, within
	// their budget. Keep it below the client's own queue (1024 for valkey-go,
	// beyond which it ignores contexts). Defaults to 768.
	InFlight int

	// BreakerFailures is after how many failures in a row the store is not
	// asked for BreakerOpen; then one call tries it. Negative turns the
	// breaker off. Defaults to 5.
	BreakerFailures int

	// BreakerOpen: see BreakerFailures. Defaults to 1 s.
	BreakerOpen time.Duration

	// MaxTTL caps the lifetime of an entry in this tier. Defaults to no cap.
	MaxTTL time.Duration

	// Backlog is how many changes are kept that the store could not be told of:
	// the newest Set, Delete or Expire of each key, with its value, and each stamp of
	// a tag. They are made up for once it answers, and until then this process
	// believes nothing that the store holds of what they concern. A Set is made up
	// for unless something newer is there by then; where there is no telling, and
	// where values take more than 64 MiB in all, the entry is removed. Close tries once
	// more, unless the breaker is open, and forgets the rest. Defaults to 4096; negative: none are kept.
	Backlog int

	// Bus tells this process of changes by others, and others of its own, if the
	// store itself does not (see backend.Invalidator). The cache closes it.
	// Only the farthest tier's is used.
	Bus backend.Bus

	// NoLease makes the cache load without asking this store who may, even if
	// it leases. Each process then loads for itself.
	NoLease bool
}

// Remote describes a tier outside of this process. The cache closes s.
func Remote(s backend.Store, opts *RemoteOptions) Tier {
	t := Tier{store: s}
	if opts != nil {
		t.remote = *opts
	}
	t.remote.Budget = cmp.Or(t.remote.Budget, 100*time.Millisecond)
	t.remote.InFlight = cmp.Or(t.remote.InFlight, 768)
	t.remote.BreakerFailures = cmp.Or(t.remote.BreakerFailures, 5)
	t.remote.BreakerOpen = cmp.Or(t.remote.BreakerOpen, time.Second)
	t.remote.Backlog = cmp.Or(t.remote.Backlog, 4096)
	return t
}

func (t Tier) validate() error {
	switch {
	case t.memory == nil && t.store == nil:
		return errors.New("tier: has no store; make it with Local or Remote and a store that is not nil")
	case t.local.MaxTTL < 0:
		return fmt.Errorf("tier: LocalOptions.MaxTTL: must not be negative, is %v", t.local.MaxTTL)
	case t.local.MaxDeaf < 0:
		return fmt.Errorf("tier: LocalOptions.MaxDeaf: must not be negative, is %v", t.local.MaxDeaf)
	case t.memory != nil:
		return nil
	case t.remote.Budget < 0:
		return fmt.Errorf("tier: RemoteOptions.Budget: must not be negative, is %v", t.remote.Budget)
	case t.remote.InFlight < 0:
		return fmt.Errorf("tier: RemoteOptions.InFlight: must not be negative, is %d", t.remote.InFlight)
	case t.remote.BreakerOpen < 0:
		return fmt.Errorf("tier: RemoteOptions.BreakerOpen: must not be negative, is %v", t.remote.BreakerOpen)
	case t.remote.MaxTTL < 0:
		return fmt.Errorf("tier: RemoteOptions.MaxTTL: must not be negative, is %v", t.remote.MaxTTL)
	}
	return nil
}

// Entry is a value and what is known of it. All its durations count from the
// moment it was read, or is written: no two clocks are compared.
type Entry[V any] struct {
	Value    V
	Absent   bool          // the source is known to hold nothing; Value is zero
	Age      time.Duration // since it was loaded or set
	FreshFor time.Duration // not positive: stale
	LivesFor time.Duration // positive; at least FreshFor
	DueIn    time.Duration // until a read should see to its refresh; 0 or more than FreshFor: not while it is fresh

	Fence uint64        // of the lease under which it was loaded; 0: none
	Cost  time.Duration // that its load took; 0: it was set

	// AsOf is the stamp that its data are as of, by the store's time: its fence,
	// or that of a Set. 0: not known. Begun is when its load, its read or its
	// Set began here ([Stack.Instant]); 0: now. Both say what a stamp of a tag means
	// for it.
	AsOf  uint64
	Begun int64

	// Unshared says that the farthest tier could not be given it. If all that is
	// in memory was dropped while it was loaded, it is kept all the same, for a
	// second: what was missed could concern it, but an outage must not cost each
	// process a load for each caller.
	Unshared bool

	// ID tells what the farthest tier holds of it from all else that it may hold
	// under the key; 0: not known. A message that names it is of no news.
	ID uint64

	Meta *Meta // what few entries have; nil: none of it
}

// Meta is what few entries have. It is shared: do not change it.
type Meta struct {
	Tags         []string
	ETag         string
	LastModified time.Time
}

// Fresh reports whether the entry needs no refresh.
func (e *Entry[V]) Fresh() bool { return e.FreshFor > 0 }
