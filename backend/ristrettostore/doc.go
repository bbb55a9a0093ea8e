// Package ristrettostore is the default in-process store: ristretto, wrapped
// so that what surprises its users cannot reach ours.
//
//	memory, err := ristrettostore.New(nil)
//	users, err := cache.New(loadUser, nil, tier.Local(memory, nil))
//
// # What it is for
//
// It is the nearest tier: entries as values of this process, found without
// encoding or a network. Its policy keeps what is asked for often, so a scan of
// keys that are asked for once does not push out the rest. The package
// otterstore takes half the memory and is faster to read; memstore.Memory is the
// simplest.
//
// # Limits
//
// Ristretto applies writes late, keeps the older of two quick writes of a new
// key, may bring a deleted value back, drops writes under load and panics when
// Close races with a write (measured with v2.4.2). Here all writes go through
// a small overlay, which reads see at once, and one goroutine that feeds
// ristretto from it, in batches. What is left is what a cache may do: an entry
// that ristretto does not admit is dropped.
//
// Nothing survives the process, and callers share the values: they must not
// change them. An entry takes some 250 bytes besides its value (measured in the
// package otterstore).
//
// # Settings
//
// Options.MaxEntries. Choose it by the memory that there is, counting the values
// and the bytes above.
//
// # Stampede protection there
//
// The cache's own: within the process one caller loads a key and the others wait
// for it. A memory leases nothing; between processes that is the shared tier's
// work, and without one each process loads for itself.
package ristrettostore
