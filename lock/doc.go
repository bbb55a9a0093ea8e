// Package lock says who may do a piece of work, across processes and until
// when: leases by SET NX PX with a random token, renewed while the work goes
// on, released by compare-and-delete, and waited for by push, where the server
// can, or with exponential backoff and jitter.
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
// # When the server is away
//
// Acquire waits for a holder, not for a server: an attempt that cannot reach it,
// also in the middle of a wait, ends the acquisition with the driver's error at
// once. (With lock/valkeylock it wraps backend.ErrUnavailable. A failover is such
// an outage, and for a second or two after it each client finds out for itself.)
// Who would do the work without a lease must not lose time here. Who would rather
// wait calls again, with a pause, until its context ends:
//
//	for {
//		lease, err := locker.Acquire(ctx, "nightly-report")
//		if err == nil || ctx.Err() != nil || !errors.Is(err, backend.ErrUnavailable) {
//			return lease, err
//		}
//		select {
//		case <-time.After(100 * time.Millisecond):
//		case <-ctx.Done():
//			return nil, ctx.Err()
//		}
//	}
//
// What is held already needs none of this: its renewal goes on trying until the
// TTL is over.
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
// Where the driver can tell that a holder's process is gone (lock/valkeylock:
// the server drops a killed process's subscription), a dead holder is replaced
// at once, and the TTL only bounds how long a hung one blocks the others. It
// can then be long.
//
// Very short TTLs (below 1 s) make duplicates on a busy machine even with
// renewal on, because the renewal itself comes late.
//
// # Other locks
//
// Read and run at redsync v4.18.1, redislock v0.9.4 and valkeylock of valkey-go
// v1.0.79, against one server:
//
//	                       here            redsync          redislock       valkeylock
//	where                  1 key, 1 server quorum of pools  1..n keys       majority of n keys
//	waiters wake           push, or poll   poll 50-250 ms   poll (caller's) push (tracking)
//	                       with jitter     at random        without jitter
//	killed holder replaced 0.1-0.2 s, else at TTL; gives up at TTL          at validity (5 s)
//	                       at TTL          after 4.5 s
//	lost reply of acquire  same token wins releases on      caller's token  orphan until validity
//	                       again           failure          must be reused
//	expiry                 relative (PX)   relative         relative        absolute (PXAT): two
//	                                                                        holders at 60 s of skew
//	renewal                each TTL/3      by hand; may     by hand         each validity/2
//	                                       re-create a lost
//	loss is told           context, cause  no               no              context
//	fencing number         yes             no               no              no
//	deadline too short     told at once    waits            waits           waits
//	caller's context ends  its cause       ErrFailed        ErrNotObtained  its error
//	                                                        with its error
//
// Take redsync where a lock must outlive the loss of a minority of independent
// servers; here one server (or its failover) decides, and the fence is what
// makes a wrong decision harmless.
package lock
