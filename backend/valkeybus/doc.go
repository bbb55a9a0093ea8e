// Package valkeybus tells the processes of a cache what they change, by Valkey's
// (or Redis') publish and subscribe: for a store that tells nothing by itself. It
// implements backend.Bus.
//
//	store, err := memcachedstore.Open([]string{"localhost:11211"}, nil)
//	bus, err := valkeybus.Open("valkey://localhost:6379", nil)
//	users, err := cache.New(loadUser, nil, tier.Local(memory, nil), tier.Remote(store, &tier.RemoteOptions{Bus: bus}))
//
// # What it is for
//
// Tiers in memory over memcached, a SQL database or a store of your own: a Set,
// Delete or Expire in one process, and a load that replaces an entry, reach the
// memory of the others. A valkeystore needs no bus: its scripts publish in the
// same step as they write.
//
// # Limits
//
//   - Two steps. The store is written, and then the message is sent. A process that
//     dies in between has told nobody: then what the others have in memory lasts to
//     the end of its time there. Give tier.LocalOptions.MaxTTL for a bound. Where
//     the message could not be sent Set, Delete and Expire return the error.
//   - Messages are not kept. A process whose connection breaks, or is silent for
//     more than 1.5 s, is told that it is deaf, and when it hears again its memory
//     is dropped: it may have missed something.
//   - Every process gets every message: some 100 bytes and the key.
//   - No stampede protection is lost or gained: leases are the store's.
//
// # Settings
//
// Options.Namespace must be another one for each cache, and none that a
// valkeystore uses on the same server. It begins the channels' names:
// <namespace>:p:k for keys, :t for tags, and one for each process.
//
// The server keeps nothing: no memory policy and no persistence matter. A single
// server, a Cluster and Sentinels serve, with the same URLs as valkeystore's; in a
// Cluster each message goes to all nodes.
//
// An ACL of `&<namespace>:p:* +subscribe +unsubscribe +publish +eval +evalsha`
// suffices; with Sentinel add `+role`, in a cluster `+cluster|shards
// +cluster|slots`.
//
// # Stampede protection there
//
// It has no part in it: who loads is decided by the store.
package valkeybus
