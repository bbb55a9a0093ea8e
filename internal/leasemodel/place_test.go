package leasemodel

import (
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// key is the only one in this world.
const key = "k"

const (
	leaseTTL    = 10 * time.Second
	valueTTL    = 24 * time.Hour
	coolDown    = leaseTTL / 4 // over when a lease is
	coolDownMax = leaseTTL / 2
)

// target is what is explored.
type target interface {
	backend.Store
	backend.Leaser
	backend.Swapper
	backend.Notifier
}

// place is a target together with what the world may do to it.
type place interface {
	reset(procs int)    // to an empty store
	peer(p int) target  // as process p reaches it
	tick()              // between two steps some time passes, if little
	expire()            // every lease and cool-down ends by its time
	flush()             // FLUSHALL
	evict(what kept)    // as a server short of memory does
	stepBack()          // the clock is set back
	crash(p int)        // process p is gone
	settle()            // wait until wake-ups have arrived
	peek() sight        // look without touching
	print() string      // all that decides what it will answer, but for stamps and fences
	abilities() ability // of the place, not of the target
}

// kept is one of the things that a server keeps of a key.
type kept int

const (
	keptLease kept = iota
	keptValue
	keptFence
)

// sight is what the store holds at a moment.
type sight struct {
	value   string // "" if none
	forever bool   // the lease has no ttl
}

// ability is what a place can be made to do.
type ability struct {
	wakes     bool // who waits is told
	takesOver bool // a lease is taken from a dead process
	fenceLost bool // the last fence can be evicted
	stepsBack bool // the clock can be set
}
