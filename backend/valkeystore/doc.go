// Package valkeystore keeps entries in Valkey (or Redis 7), and with them the
// leases that decide who loads: it implements backend.Store, backend.Leaser,
// backend.MultiLeaser, backend.Notifier, backend.Swapper, backend.Clock,
// backend.Invalidator and backend.Tagger.
//
//	store, err := valkeystore.Open("valkey://localhost:6379", nil)
//	users, err := cache.New(loadUser, nil, tier.Remote(store, nil))
//
// # What it is for
//
// It is the default shared tier: the place where the processes of a service
// find what one of them has loaded. It serves one server, a Valkey Cluster, and
// a master with replicas under Sentinel.
//
// # Keys
//
// All keys of one store begin with its namespace, and the keys of one entry
// share a cluster slot:
//
//	<namespace>:v:{<hash>}:<key>   the entry
//	<namespace>:l:{<hash>}:<key>   the lease of its load, or the cool-down after a failed one:
//	                               token|fence|since|usual|process|failures|owner|trace, !|failures|text
//	<namespace>:f:{<hash>}:<key>   the last fence and the failures in a row, for an hour
//
//	<namespace>:t:{<namespace>}:new, old   when entries were last removed or expired by tag
//
// so `valkey-cli --scan --pattern 'users:v:*'` lists what a cache holds. A key
// of more than 1 KiB appears as its SHA-256.
//
// # Stampede protection there
//
// One script reads an entry or takes the lease of its load, and one writes the
// entry if the lease is still held: of n processes one loads. Fences rise by
// max(last+1, the server's clock), through restarts, flushes and evictions.
//
// Those who wait for a lease are told when it ends, on a channel of their
// process, <namespace>:p:<id>. The store subscribes on one connection of its
// own (to each primary of a cluster), in the background from its first lease
// on, or at once by [Store.Listen]. Until then, whenever that connection is
// away, and for good with Options.NoPush, those who wait look again and again.
// WakeMode says how things stand:
//
//	push+liveness   told when a lease ends, and within 0.2 s when its holder's process is gone
//	push            told when a lease ends; a dead holder's lease ends with its time (no PUBSUB NUMSUB)
//	poll            not told: not subscribed, or no rights to publish or subscribe, or a proxy between
//
// # Coherence
//
// A process is told of what others change, so that what it has in memory does not
// outlive it. Options.Coherence says how:
//
//	publish   (the default) the script that changes a key publishes it, with the head of the new value: who has
//	          that value keeps it, and nobody is told of his own changes
//	prefix    the server tells of all keys of the namespace (CLIENT TRACKING ON BCAST): also of those that are
//	          deleted by hand, evicted or expired. Who holds the key reads it to see whether it has changed
//	keys      the server remembers who has read which key (CLIENT TRACKING ON), at some 100 B for each at the
//	          server, and tells those alone: cheaper than publish where few processes hold what changes. Open
//	          only; there is one connection to each node beside the subscription
//	off       it is not told
//
// Where the server refuses tracking, publish takes its place, also if it begins to
// refuse later: with prefix until its connection is made anew, with keys for good.
// Where it refuses to subscribe, nothing is told, tracked or not, and it is asked
// again after a second, two, four, up to half a minute. Store.CoherenceMode says how
// things stand. The connection is asked for a sign of life each half
// second: one that is gone, or silent for a second more, makes the process deaf,
// and when it hears again all that it had in memory is dropped. All modes work in a
// cluster and with Sentinels; by tracking a process is deaf from a master's death
// until it is told by the successor, while messages go on by the other nodes. What
// the modes cost is in internal/docs/design.md.
//
// Tags are stamps in two hashes, by the server's clock, looked up by those who
// meet a tag for the first time and told to all from then on. To remove a hundred
// thousand entries is one script. Beyond 100,000 tags the older half is given up,
// and with it, by a stamp on everything, the entries of that age. The hashes have
// no TTL, so a volatile-* policy spares them.
//
// # Cluster and Sentinel
//
// The URL names some nodes of the cluster, any of which tells of the others; or
// the Sentinels, the master's name among them and, if it is not 0, the database:
//
//	valkey+cluster://user:password@a:6379,b:6379,c:6379
//	valkey+sentinel://user:password@a:26379,b:26379,c:26379/mymaster/1
//
// What the client itself calls ?addr=b:6379 and ?master_set=mymaster is
// understood too. User and password are the servers'; for Sentinels that want
// one pass [New] a client of your own. With valkeys+cluster or valkeys+sentinel
// TLS goes to all, and each node is verified by the name that it is dialled by.
// While nobody answers the store tries again, up to once a second.
//
// Commands follow MOVED and ASK. Each call ends with its context also where the
// client would dial or ask for the topology first. After Close the client of a
// cluster takes up to five seconds to end its last goroutines.
//
// # What a failover costs
//
//   - From the master's death to a promotion, which the servers' settings decide,
//     calls for its keys fail. A cache then loads without a lease, at most once
//     at a time in each process; who waits for a lease there goes on to load when
//     the connection breaks, or after a silent death the tier's budget or the
//     next look. Other masters' keys are not concerned.
//   - The promoted master is used as soon as the client hears of it: from a
//     Sentinel at once, in a cluster within a second of a failed call. Where the
//     old one is silent rather than gone it may take two seconds more.
//   - The subscription follows within a second or so. In a cluster the other
//     nodes pass on what is published meanwhile. At a node that was promoted
//     nobody is subscribed at first: for three seconds nobody is taken for dead
//     for that alone, so a holder that died with its master may keep others
//     waiting so long instead of 0.2 s. A living one's lease is not taken over.
//     Until the dead master has a successor, three seconds at most, no holder of
//     the cluster is found dead, whichever node has its lease.
//   - Replication is asynchronous: what the master did last may be lost with it.
//     A lost entry is a miss. A lost lease is granted again, so there are two
//     loads, at most one in each process; the first one's commit is refused. A
//     lost Delete or Set brings back the entry before it, until that expires: no
//     setting of this package can change that. min-replicas-to-write 1 at the
//     server narrows it.
//   - Fences go on rising, though the last one may be lost: the new master's clock
//     is ahead of it, if the servers' clocks differ by less than the failover
//     takes. Keep them synchronised; entries are aged by them as well.
//   - While a slot moves between masters its entries are read, at one more round
//     trip, but not leased or written: what is not there is loaded by each
//     process that wants it.
//
// The tests of this are TestMasterIsKilledInALoad in internal/stampedetest, and
// here in failover_test.go and refusal_test.go.
//
// # Limits
//
// An entry is at most Options.MaxValue. A server that evicts may evict a lease,
// and then two processes load; nothing becomes wrong. One that evicts the stamps
// of tags, as an allkeys-* policy may, brings back what was removed by tag, for
// processes that begin later. If the server's clock is set back, a removal by tag
// does not touch what was loaded in as much time before.
//
// # Settings
//
// Options.Namespace must be another one for each type of entries. Everything
// else has a default that serves.
//
// At the server: a maxmemory-policy of allkeys-lru or volatile-ttl, with memory
// to spare for leases. In a cluster cluster-require-full-coverage no, else one
// dead master without a replica takes the others along, and a
// cluster-node-timeout as short as the network bears: it is most of a failover.
// With Sentinel that is down-after-milliseconds, which must exceed the second
// between two pings: with 500 the Sentinels take each new master for dead, and
// fail over to and fro.
//
// An ACL of `~<namespace>:* +get +set +del +append +pttl +pexpire +time +eval
// +evalsha` suffices for polling. For push add `&<namespace>:p:* +subscribe
// +unsubscribe +publish`, for liveness `+pubsub`, for tags `+hget +hset +hmget
// +hlen +rename +unlink`, for Coherence prefix and keys `+client|tracking`, and
// `+exists` for keys. A cluster needs
// `+cluster|shards +cluster|slots` as well, and `+role` spares connections to
// its replicas; with Sentinel `+role` is needed.
package valkeystore
