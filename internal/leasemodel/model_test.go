package leasemodel

import (
	"cmp"
	"os"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/internal/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// long reports whether to take minutes rather than seconds.
func long() bool { return os.Getenv("BELLWETHER_LONG") != "" }

// keeps explores and wants every promise kept.
func keeps(t *testing.T, p place, b bounds, merge bool) seen {
	t.Helper()
	f, story, bad := explore(p, b, merge)
	t.Logf("%d processes, %d attempts, %d moves of the adversary: %d schedules, %d steps, %d states",
		b.procs, b.attempts, b.moves, f.schedules, f.steps, len(f.states))
	if bad != nil {
		t.Errorf("a promise is broken:\n%s", story)
	}
	return f
}

// found wants a promise to have been broken.
func found(t *testing.T, f seen, story string, bad *broken, promise string) {
	t.Helper()
	switch {
	case bad == nil:
		t.Fatalf("not found in %d schedules", f.schedules)
	case bad.promise != promise:
		t.Errorf("%s is broken, want %s", bad.promise, promise)
	}
	t.Logf("the shortest of %d schedules:\n%s", f.schedules, story)
}

// TestEverySchedule walks through all schedules, and shows that leaving those
// whose rest is known leaves no state out.
func TestEverySchedule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := bounds{procs: 2, attempts: 1, moves: 1, faults: everything}
		if long() {
			b.attempts = 2
		}
		all, merged := keeps(t, &memory{}, b, false), keeps(t, &memory{}, b, true)
		if len(all.states) != len(merged.states) {
			t.Errorf("%d states, merged %d", len(all.states), len(merged.states))
		}
	})
}

func TestEveryState(t *testing.T) {
	t.Parallel()
	worlds := []bounds{{procs: 2, attempts: 1, moves: 2, faults: everything}}
	if long() {
		worlds = []bounds{
			{procs: 2, attempts: 2, moves: 2, faults: everything},
			{procs: 3, attempts: 1, moves: 1, faults: everything},
			{procs: 2, attempts: 1, moves: 3, faults: everything},
		}
	}
	for _, b := range worlds {
		synctest.Test(t, func(t *testing.T) { keeps(t, &memory{}, b, true) })
	}
}

// few is what a server is tried with when time is short.
func few(faults fault) bounds {
	b := bounds{procs: 2, attempts: 1, moves: 1, faults: faults}
	if long() {
		b.attempts, b.faults = 2, everything
	}
	return b
}

// TestEveryStateMini is about time, which a real server keeps to itself.
func TestEveryStateMini(t *testing.T) {
	t.Parallel()
	m, b := servertest.Mini(t), few(leaseEnds|stepBack)
	keeps(t, newServer(t, m.URL(), m, b.procs, false), b, true)
}

// TestEveryStateValkey is about the scripts. A lease's end by time is an eviction
// there.
func TestEveryStateValkey(t *testing.T) {
	t.Parallel()
	b := few(everything)
	b.faults &^= evictLease
	keeps(t, newServer(t, servertest.Valkey(t).URL(), nil, b.procs, false), b, true)
}

// TestEveryStateValkeyStore is about what the store makes of them.
func TestEveryStateValkeyStore(t *testing.T) {
	t.Parallel()
	b := few(setNewer | deleteIt | lostReply)
	keeps(t, newServer(t, servertest.Valkey(t).URL(), nil, b.procs, true), b, true)
}

func TestMutantsAreFound(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bounds{procs: cmp.Or(m.procs, 2), attempts: 2, moves: 2, faults: cmp.Or(m.faults, everything)}
				f, story, bad := shortest(&memory{sabotage: m.sabotage, back: true}, b)
				found(t, f, story, bad, m.promise)
			})
		})
	}
}
