// Package otterstore is an in-process store of otter, whose W-TinyLFU policy
// takes half the memory of ristretto, and is faster to read.
//
//	memory, err := otterstore.New(nil)
//	users, err := cache.New(loadUser, nil, tier.Local(memory, nil))
//
// # What it is for
//
// It is the nearest tier, in place of ristrettostore: where there are many
// entries, or the reads of memory are what counts.
//
// # Limits
//
// Otter applies writes at once and in order, so there is nothing to hide here
// but its clock. It would read the time at every Get; this store gives it one
// that a goroutine moves once a second. An entry therefore gives its room back
// about two seconds after its ttl, one of hours some minutes after it, unless
// it is evicted before. Until then its tier sees that it has expired.
//
// Nothing survives the process, and callers share the values: they must not
// change them.
//
// # Settings
//
// Options.MaxEntries. Choose it by the memory that there is, counting the values
// and the bytes below.
//
// # Stampede protection there
//
// The cache's own: within the process one caller loads a key and the others wait
// for it. A memory leases nothing; between processes that is the shared tier's
// work, and without one each process loads for itself.
//
// # Compared
//
// A Get that hits, 1000 hot keys, both stores read in turns; and the heap of
// 1e6 entries with room for all, without the nodes themselves (2 shared cores,
// v2.4.0):
//
//	                  Get      on 2 cores, each   bytes an entry
//	otterstore        91 ns    50 ns              138
//	ristrettostore    129 ns   94 ns              253
//	ratio             0.70     0.53               0.55
//	memstore.Memory                               118
//
// The ratios of another run, on a busier machine, were 0.63 and 0.73.
//
//	go test -run '^$' -bench Hit -benchtime 2s ./backend/otterstore
//	go test -run '^$' -bench Bytes -benchtime 1x ./backend/otterstore
package otterstore
