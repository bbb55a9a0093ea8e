// Package lock says who may do a piece of work, across processes and until
// when: leases by SET NX PX with a random token, renewed while the work goes
// on, released by compare-and-delete, and waited for with exponential backoff
// and jitter.
//
// The cache uses it to decide who loads; it is as usable on its own:
//
//	locker, err := lock.New(driver, nil)
//	lease, err := locker.Acquire(ctx, "nightly-report")
//	if err != nil { ... }
//	defer lease.Release(ctx)
//	report(lease.Context()) // ends when the lease is lost
//
// A [Driver] is three atomic commands on one server (lock/valkeylock,
// lock/memlock); everything else is policy and lives in [Locker]. Drivers are
// verified by lock/locktest.
//
// # What a lease is, and is not
//
// A lease makes work happen once when all goes well. It cannot make two
// holders impossible: a server that fails over, evicts or is restarted forgets
// it, and a paused process does not notice that its time has passed (see M.
// Kleppmann, "How to do distributed locking", 2016). What must not be
// overwritten by a late holder has to compare [Lease.Fence], which only rises
// for one key, at the place that is written.
//
// # Choosing the TTL
//
// The TTL bounds how long a dead holder blocks the others; renewal (each third
// of the TTL, on by default) keeps it alive for as long as the work takes.
// With renewal on, 10 s fits nearly everything. With renewal off the TTL must
// outlast the work: take 2 to 10 times its usual duration, 5 is good.
//
//	TTL / work   what happens (renewal off)
//	< 1          the lease ends in mid-work and a second holder starts
//	1 to 2       any slow run does the same
//	2 to 10      room for slow runs, short wait after a crash
//	> 10         a crashed holder blocks the others for long
//
// Very short TTLs (below 1 s) make duplicates on a busy machine even with
// renewal on, because the renewal itself comes late.
package lock
