// Package leasemodel holds no code, only tests: they try the lease protocol of
// backend.Leaser in every order that a small world allows.
//
// The world is one key, two or three processes that load it as the cache does,
// and an adversary. What is asked for leases is the real thing: memstore, and
// the Lua scripts in a stand-in and in a real server. A schedule is a list of
// choices, who moves next and how; it is replayed from an empty store, so that
// all schedules can be walked through depth first by counting their choices up.
// After every step the promises of DESIGN are checked, from the replies alone:
//
//	S3  a load that lost its lease never replaces a later value
//	S4  after Delete returned, no load begun before it populates the store
//	S5  only the token holder renews, commits, releases; repeating is harmless
//	S6  fences of one key only rise
//	S7  one process at a time holds the lease, and none if there is a value
//	D6  failures are counted once, and cool down
//	L   no lease outlives everybody; who waits is woken when the lease ends
//
// A broken promise is told as the shortest story that leads to it. Mutants, each
// without one safeguard, show that every one of these checks can fail.
package leasemodel
