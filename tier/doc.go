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
package tier
