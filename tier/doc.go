// Package tier puts places that hold entries in order: which is asked first,
// how a hit travels up with the lifetime that it has left, how a write travels
// down, and how long a slow or failing place may keep a caller waiting.
//
// Applications describe tiers and hand them to cache.New, nearest first:
//
//	cache.New(loadUser, nil, tier.Local(memory, nil), tier.Remote(store, nil))
//
// # Slow and failing stores
//
// Every call of a remote tier has a budget (100 ms), a bound on how many run at
// once, and a breaker that stops asking for a second after five failures in a
// row. A store that hangs costs a caller no more than the budget. Bytes that are not a sound entry of the right key,
// codec and schema are a counted miss.
//
// # What a program uses
//
// [Local] and [Remote] with [LocalOptions] and [RemoteOptions] make the tiers that
// cache.New takes. [Nth] names some of them for cache.Policy, [MigrateFrom] reads
// entries of a former shape, [Stats] and [LocalStats] are in cache.Stats, [Hooks]
// with [OpDone], [Breaker], [Hearing] and [Op] in cache.Hooks. [ErrBudget], [ErrBusy]
// and [ErrBreakerOpen] say why a store was not waited for, and [ErrQueued] that a
// change is made up for later.
//
// # What the cache uses
//
// Everything else is between this package and package cache, and may change with
// any version: [Stack] with [Config], [News], [Entry] and what its methods take and
// give, [Held] and [Sealer].
package tier
