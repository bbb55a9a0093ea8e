// Package diskstore is a store in a file of this process: a middle tier that is
// larger than memory, nearer than a server, and still there after a restart.
//
//	disk, err := diskstore.Open("/var/cache/app/users", nil)
//	users, err := cache.New(loadUser, nil,
//		tier.Local(memory, nil), tier.Remote(disk, nil), tier.Remote(shared, nil))
//
// # What it is for
//
// A service that restarts and does not want to begin cold, or whose entries
// exceed its memory, at microseconds a read.
//
// # Limits
//
// One store at a time has the file; each process of a host needs its own. An
// entry is at most a 128th of Options.MaxBytes. The file is not encrypted
// (codec/aead is for that), and it must lie on a disk of this machine: the file
// is mapped into memory, and a network file system that hangs would stop more
// than its caller.
//
// # Stampede protection there
//
// The file leases nothing, as nobody else has it: a cache whose farthest tier it
// is loads once a process, and is not warned of it (backend.Exclusive). With a
// shared store behind it that one's leases hold.
//
// # What survives
//
// A Set that has returned survives the end of the process, kill -9 included. It
// is not brought to the disk before Close does that, because losing an entry is
// a miss. When the machine goes down with the file open, its pages may have
// been written in any order: the file then counts as damaged. Outside of Linux,
// where one run of the machine cannot be told from the next, so does a file
// whose process was killed.
//
// A damaged file is renamed to the same name with ".damaged", in place of an
// older one, and an empty one takes its place, at Open and also later; an entry
// whose checksum does not match is dropped. Options.Warn hears of both. The
// wall clock decides when an entry that an earlier process wrote expires; one
// that a clock set back says is of the future is a miss.
//
// cache.Cache.Save is the other way to survive a restart: a file of what memory
// holds, hottest first, that costs nothing between two Saves, is as old as the last
// of them, and fills memory before the first read. This store is always up to date,
// also after a kill, and larger than memory, but each key's first read goes through
// it. They combine: a Save of keys alone says what to bring up from here.
//
// # Settings
//
// Options.MaxBytes is what to think about. When the file is full the oldest
// writes go, whether they are read or not: promotion by the tiers writes what
// is in use anew. Of a full file, entries of 100 bytes are about two fifths and
// such of 4 KiB three fifths; the rest is the index, half-empty pages and room
// for the next write. The file does not shrink. Options.SweepEvery gives
// the room of expired entries back before eviction would.
//
// # The engine
//
// It is bbolt (go.etcd.io/bbolt v1.5.0), chosen by measurement over pebble
// v2.1.7, both without a sync of each write, keys of 22 bytes, 100,000 entries
// of 100 B and 20,000 of 4 KiB, on 2 cores that others used as well (medians of
// single calls, means where 16 write). The bbolt column is this package, the
// pebble column a prototype outside of the repository that keeps entries under
// their keys and an index of their order:
//
//	                                   bbolt              pebble
//	                                   100 B    4 KiB     100 B    4 KiB
//	Get                                5.6 µs   5.9 µs    22 µs    34 µs
//	Set, one writer                    58 µs    90 µs     27 µs    60 µs
//	Set, 16 writers, overwriting       50 µs    103 µs    43 µs    137 µs
//	Set, one writer, 99th percentile   0.35 ms  0.42 ms   0.16 ms  3.1 ms
//	open, and the first Get            1.3 ms   16 ms     225 ms   372 ms
//	file, after 3 overwrites, B/entry  368      6453      218      9324
//	heap, goroutines                   0.2 MiB, 3         1.3 MiB, 9 to 12
//	program, modules                   3.3 MB, 3          27 MB, 32
//
// A cache reads more than it writes, and restarts. What bbolt lacks, checksums
// and a bound, is added here. To measure this package:
//
//	go test -run '^$' -bench . ./backend/diskstore
package diskstore
