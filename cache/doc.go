// Package cache is a typed cache before an expensive source, in which an
// expired hot key costs one load, whoever asks and from however many processes.
//
//	users, err := cache.New(loadUser, nil, tier.Local(memory, nil), tier.Remote(store, nil))
//	...
//	u, err := users.Get(ctx, id)
//
// # Reading
//
// [Cache.Get] returns the value from the nearest tier that has it fresh, or
// loads it. A hit in this process allocates nothing and does no I/O.
// [Cache.Peek] reads without ever loading.
//
// # Stampede protection
//
// In the process, callers of one key share one flight: each leaves on its own
// context, the last one out cancels the load. Between processes, the flight
// takes a lease at the shared tier, in the same round trip in which it looks;
// who finds it taken is woken when it ends, or looks again with backoff where the
// store cannot wake, for as long as its holder is alive and renewing it, up to
// Options.Lease.MaxWait, and then follows Policy.Wait. A result is written only
// while the lease is still held, so a late load never replaces what came after
// it.
//
// # Freshness and failure
//
// [Policy] says how long entries are fresh, what stale ones are good for, when to
// refresh, how long to wait, and what follows a failure. [Cache.With] has another
// for some calls. A loader says more than a value through [LoadFrom].
//
// # What can go wrong, and what then
//
// The shared tier being slow or gone never fails a Get: it costs at most the
// tier's budget, and the load goes on without a lease. Bytes in it that are
// damaged or foreign are a miss.
//
// # Miss, not found, zero
//
// A miss is a tier's word: it holds nothing. Not found is the source's word:
// there is nothing, said by a loader that returns [ErrNotFound], which Get
// passes on. A zero value is a value. Get never returns a zero value with a
// nil error unless that is what was loaded or set.
//
// # Values are shared
//
// Values in the in-process tier are handed to every caller as they are: treat
// what you got, and what it points to, as read-only.
//
// # Errors
//
// See the Err variables. Errors, hooks' messages and logs never contain keys,
// values or tokens.
//
// # Closing
//
// [Cache.Close] cancels loads, waits for them and closes the stores it was
// given. Calls after it return [ErrClosed].
package cache
