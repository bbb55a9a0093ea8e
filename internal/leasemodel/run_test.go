package leasemodel

import (
	"fmt"
	"slices"
	"strings"
)

// bounds says how large the world is.
type bounds struct {
	procs    int
	attempts int   // how often each process may ask anew
	moves    int   // of the adversary
	faults   fault // that it may choose from
	steps    int   // 0: as many as there are
}

// move is one thing that may happen next. Its text is put together only to be
// told.
type move struct {
	before string
	who    int
	op     op // 0: none
	after  string
	do     func() *broken
}

const nobody = -1

func (m move) String() string {
	if m.who == nobody {
		return m.before
	}
	return strings.TrimRight(m.before+name(m.who)+" "+m.op.String(), " ") + m.after
}

// run is one schedule being played.
type run struct {
	place  place
	bounds bounds
	truth  truth
	procs  []*proc
	faults int // moves that the adversary has left
	story  []move
	list   []move // the last of next

	fenceLost, clockSetBack bool
}

// chooser picks one of n, or a negative number to stop here.
type chooser func(r *run, n int) int

// play plays one schedule from an empty store.
func play(p place, b bounds, choose chooser) (*run, *broken) {
	p.reset(b.procs)
	r := &run{place: p, bounds: b, faults: b.moves, truth: truth{waiting: map[int]bool{}}}
	for range b.procs {
		r.procs = append(r.procs, &proc{})
	}
	defer func() {
		for i := range r.procs {
			r.unwatch(i)
		}
	}()
	for step := 1; b.steps == 0 || step <= b.steps; step++ {
		r.truth.now = step
		all := r.next()
		if len(all) == 0 {
			break
		}
		n := choose(r, len(all))
		if n < 0 {
			return r, nil
		}
		p.tick()
		r.story = append(r.story, all[n])
		b := all[n].do()
		if b == nil {
			b = r.truth.seen(p.peek())
		}
		if b != nil {
			return r, b
		}
	}
	return r, r.drain()
}

// next lists all that may happen. When the processes are through, the adversary
// may go on or leave it.
func (r *run) next() []move {
	all := r.list[:0]
	for i := range r.procs {
		all = r.moves(i, all)
	}
	through := len(all) == 0
	if all = r.adversary(all); through && len(all) > 0 {
		all = append(all, move{who: nobody, before: "nothing more happens", do: func() *broken { r.faults = 0; return nil }})
	}
	r.list = all
	return all
}

// drain stops everybody where they are: after a lease's time another process
// gets the lease, or a value.
func (r *run) drain() *broken {
	r.place.expire()
	r.truth.lose()
	r.story = append(r.story, move{who: nobody, before: "everybody stops, a lease's time passes, and somebody asks"})
	c := call{op: opLease, proc: -1, token: strings.Repeat("f", 32)}
	if r.truth.value != "" && !isFresh(r.truth.value) {
		c.rejected = r.truth.value
	}
	a, b := r.make(c)
	if b == nil && a.reply.Value == nil && !a.reply.Won {
		b = breach("L", "neither the lease nor a value: %+v", a.reply)
	}
	return b
}

// tell is the story of a schedule, one line a step.
func (r *run) tell(b *broken) string {
	var s strings.Builder
	for i, line := range r.story {
		fmt.Fprintf(&s, "%3d  %v\n", i+1, line)
	}
	fmt.Fprintf(&s, "     broken: %v", b)
	return s.String()
}

// print is equal for two moments only if the same may follow from both.
func (r *run) print() string {
	stamps := r.truth.stamps()
	parts := []string{r.truth.print(), r.place.print(), fmt.Sprint(r.faults, r.fenceLost, r.clockSetBack)}
	for _, p := range r.procs {
		parts = append(parts, p.print(r.truth.holder))
		stamps = append(stamps, p.stamps()...)
	}
	order := slices.Compact(slices.Sorted(slices.Values(stamps)))
	for i, n := range stamps {
		stamps[i], _ = slices.BinarySearch(order, n)
	}
	return fmt.Sprint(strings.Join(parts, "\n"), stamps)
}
