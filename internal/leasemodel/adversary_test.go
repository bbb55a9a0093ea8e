package leasemodel

import "context"

// fault is something that the adversary may do. Each costs one of its moves.
type fault int

const (
	setNewer   fault = 1 << iota // another process sets a value
	deleteIt                     // or deletes it
	markStale                    // or marks it as stale
	leaseEnds                    // time passes
	lostReply                    // a call is made and its caller not told: it repeats it
	lateRepeat                   // a call arrives a second time, late
	crash                        // a process is gone
	flushAll                     // the server forgets everything
	evictLease
	evictValue
	evictFence
	stepBack // the server's clock is set back

	everything = setNewer | deleteIt | markStale | leaseEnds | lostReply | lateRepeat | crash |
		flushAll | evictLease | evictValue | evictFence | stepBack
)

// may reports whether the adversary may do so now.
func (r *run) may(f fault) bool { return r.faults > 0 && r.bounds.faults&f != 0 }

// adversary lists what the adversary may do next.
func (r *run) adversary(all []move) []move {
	if r.faults == 0 {
		return all
	}
	add := func(f fault, what string, do func() *broken) {
		if r.may(f) {
			all = append(all, move{who: nobody, before: what, do: func() *broken {
				r.faults--
				return do()
			}})
		}
	}
	t, can := &r.truth, r.place.abilities()
	add(setNewer, "somebody sets a value", r.set)
	add(deleteIt, "somebody deletes it", r.delete)
	if t.value != "" {
		add(markStale, "somebody marks it stale", r.mark)
		add(evictValue, "the value is evicted", func() *broken {
			r.place.evict(keptValue)
			t.value = ""
			return nil
		})
	}
	if t.holder != "" || t.cooling {
		add(leaseEnds, "the lease's time is over", func() *broken { r.place.expire(); t.lose(); return nil })
		add(evictLease, "the lease is evicted", func() *broken { r.place.evict(keptLease); t.lose(); return nil })
	}
	if t.highest > 0 && !r.clockSetBack { // not covered: the last fence lost and the clock set back
		add(flushAll, "the server forgets everything", r.flush)
		if can.fenceLost {
			add(evictFence, "the last fence is evicted", func() *broken {
				r.place.evict(keptFence)
				t.rowLost, r.fenceLost = true, true
				return nil
			})
		}
	}
	if can.stepsBack && t.highest > 0 && !r.fenceLost {
		add(stepBack, "the clock is set back", func() *broken { r.place.stepBack(); r.clockSetBack = true; return nil })
	}
	for i := range r.procs {
		all = r.adversaryOf(i, all)
	}
	return all
}

// adversaryOf lists what may happen to process i and its calls.
func (r *run) adversaryOf(i int, all []move) []move {
	p := r.procs[i]
	add := func(f fault, m move) {
		if r.may(f) {
			do := m.do
			m.do = func() *broken { r.faults--; return do() }
			all = append(all, m)
		}
	}
	if p.state == waiting || p.state == holding || p.state == loaded || p.repeat != nil {
		add(crash, move{who: i, after: " crashes", do: func() *broken {
			r.unwatch(i)
			p.state, p.repeat = crashed, nil
			r.place.crash(i)
			return nil
		}})
	}
	for _, c := range p.sent {
		add(lateRepeat, move{before: "late, a repetition arrives: ", who: i, op: c.op, do: func() *broken {
			_, b := r.make(c)
			return b
		}})
	}
	return all
}

func (r *run) set() *broken {
	t := &r.truth
	value := fresh(t.now)
	if err := r.place.peer(-1).Set(context.Background(), key, []byte(value), valueTTL); err != nil {
		return breach("error", "%v", err)
	}
	t.value, t.set = value, t.now
	return r.woken(t.end(), value)
}

func (r *run) delete() *broken {
	t := &r.truth
	if err := r.place.peer(-1).Delete(context.Background(), key); err != nil {
		return breach("error", "%v", err)
	}
	t.value, t.deleted = "", t.now
	return r.woken(t.end(), "")
}

func (r *run) mark() *broken {
	t := &r.truth
	value := marked(t.value)
	ok, err := r.place.peer(-1).Swap(context.Background(), key, []byte(t.value), []byte(value), valueTTL)
	if err != nil {
		return breach("error", "%v", err)
	}
	if !ok {
		return breach("S5", "a swap of what is there was refused")
	}
	t.value, t.set = value, t.now
	return r.woken(t.end(), "")
}

func (r *run) flush() *broken {
	r.place.flush()
	t := &r.truth
	t.lose()
	t.value, t.fails, t.rowLost, r.fenceLost = "", 0, false, true
	return nil
}
