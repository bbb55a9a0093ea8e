// Package memcachedstore keeps entries in memcached, and with them the leases
// that decide who loads: for those who run memcached already. It implements
// backend.Store, backend.Leaser, backend.MultiLeaser and backend.Swapper.
//
//	store, err := memcachedstore.Open([]string{"localhost:11211"}, nil)
//	users, err := cache.New(loadUser, nil, tier.Remote(store, nil))
//
// # What it is for
//
// A shared tier where memcached is there and Valkey is not. It needs memcached
// 1.4 or later with compare-and-swap, which is there unless it was started with
// -C.
//
// # Stampede protection there
//
// One process loads and the others wait, as with Valkey, by compare-and-swap in
// place of scripts. They are not woken: they look again and again.
//
// One item holds all that is known of a key: its entry, the lease of its load
// or the cool-down after a failed one, and the last fence. So every change is
// one compare-and-swap, and an entry can be stale and under a lease at once:
//
//	state            item
//	nothing          none, or one with the last fence only (for 10 minutes)
//	fresh            entry
//	loading          lease
//	stale, loading   entry and lease
//	failed           cool-down, with or without an entry, and the failures in a row (for an hour)
//
// Each operation reads the item and then, unless it has seen all it wants to
// know, adds or swaps one, and begins anew if another was quicker. Both go over
// the same connection: a restarted server numbers its items from 1 again, and a
// swap by a number of its former life would overwrite what it has now. That is
// why this package speaks the protocol itself. Get and a Lease that is not won
// cost one round trip, everything else two; a Renew during the refresh of a
// stale entry sends the entry along.
//
// The item of a key is named <namespace>:<key>, or <namespace>:#<SHA-256> if
// the key is longer than memcached's 250 bytes allow, begins with "#", or has
// a character outside of ASCII, a space or a control character.
//
// # Several servers
//
// Each key lives on one of the servers, chosen by rendezvous hashing. All
// processes must name the same servers: those that do not load, and delete, on
// different ones.
//
// # Limits
//
//   - Time. memcached tells none finer than a second, so leases and lifetimes end
//     by the clocks of the nodes, and entries are aged by them: keep them
//     synchronised to well below the shortest lease. A node that is ahead by d
//     takes over a lease d early, which costs a load and never lets an older value
//     replace a newer one: that is decided by token and swap, not by time. The
//     server itself drops an item within 2 s after the end of all that it holds.
//   - Fences. They rise by max(last+1, the node's clock in µs). When the server
//     has forgotten the last one (restart, eviction, 10 minutes without an entry or
//     the entry's lifetime) it is the clock alone, and a node that is behind by
//     more than has passed since may be given a lower one.
//   - Wake-ups. There are none: those who wait for a lease look again and again.
//     A dead holder's lease ends with its time.
//   - Memory. memcached evicts when it is full, leases too, and then two
//     processes load; nothing becomes wrong.
//   - Size. An item is at most 1 MiB, unless the server was started with -I.
//
// # Settings
//
// Options.Namespace must be another one for each type of entries, and
// Options.MaxValue follow the server's -I. Give leases room: a server that is
// always full evicts them with the rest. Options.MaxConns bounds the operations
// under way at each server. TLS is a matter of Options.Dial.
package memcachedstore
