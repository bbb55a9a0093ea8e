// Package memstore has the reference stores: small, obviously right, and what
// the conformance kit and other tests are measured with.
//
//	users, err := cache.New(loadUser, nil, tier.Local(memstore.NewMemory(10_000), nil))
//
// # What it is for
//
// [Memory] is a near tier that drops the least recently used. [Store] stands in
// for a shared one, in tests and in a program of one process: it has all that a
// shared store may have. Where speed counts take ristrettostore or otterstore.
//
// # Limits
//
// Both lock on every call. A Store has no bound: it drops an expired entry only
// when its key is next used, and evicts nothing. Neither outlives its process.
//
// # Settings
//
// The capacity of a Memory, in entries. A Store has none.
//
// # Stampede protection there
//
// A Memory leases nothing: within the process one caller loads and the others
// wait, which is the cache's own work. A Store leases, and wakes those who wait,
// between the caches of one process that share it.
package memstore
