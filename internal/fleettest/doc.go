// Package fleettest tests caches in several real processes on one real server:
// what happens between processes, and when one of them dies, stands still or
// loses its connection.
//
// The processes are the test binary itself, started again; TestMain must let
// them in:
//
//	func TestMain(m *testing.M) {
//		fleettest.RunIfChild()
//		goleak.VerifyTestMain(m)
//	}
//
// A test then reads like this:
//
//	s := servertest.Valkey(t)
//	f := fleettest.Start(t, s.URL(), 3, fleettest.Config{
//		LeaseTTL: 300 * time.Millisecond,
//		Loader:   fleettest.Loader{Block: true},
//	})
//	herd := f.Go("k", 20, 5*time.Second)        // 20 callers in each of 3 processes
//	first := f.AwaitLoad("k", 1, time.Second)   // one of them loads
//	first.Proc.Kill()                           // and dies
//	second := f.AwaitLoad("k", 2, 3*time.Second)
//	second.Release()
//	got := herd.Wait()
//	if got.Lost != 20 || got.Values[second.ID] != 40 {
//		t.Errorf("Get = %v", got)
//	}
//	f.WantLoads("k", 2)
//
// # Loads
//
// A [Loader] says what the loads of a key do: take a while, or block until
// [Load.Release] or [Fleet.Release]; end with a value, an error, a panic. A
// load that is told nothing else returns its ID, which no other load returns,
// so that a value says who loaded it. [Fleet.AwaitLoad] waits for the nth load
// of a key in the fleet, [Fleet.Loads] lists them.
//
// # Times
//
// A [Moment] is comparable between processes. From a load's Committed to
// [Got].Last is how long the fleet took to learn of a value.
//
// # Faults
//
// [Proc.Kill], [Proc.Pause], [Proc.Resume] and [Proc.Restart] act on a process.
// With [Config].Proxied each has a [Proxy] that cuts, delays and swallows what
// it says to the server. What the server itself does is in servertest: Pause,
// Kill, Restart, FlushAll, Config, and Commands for what it was asked.
//
// # Errors
//
// An error of a process arrives as a [*Failure], which errors.Is compares with
// the sentinels of the cache and its parts. What a process writes to its
// standard error, and a data race that it finds, are the test's.
//
// Processes have no virtual time: keep leases short, wait for events, and give
// bounds room for a busy machine.
package fleettest
