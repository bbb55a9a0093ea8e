package leasemodel

// seen is what an exploration has seen.
type seen struct {
	schedules, steps int
	states           map[string]int // with how many steps left each was seen
}

// explore plays all schedules within bounds, depth first, and stops at the
// first that breaks a promise. With merge it leaves a schedule when all that can
// still follow has been seen to follow from another.
func explore(p place, b bounds, merge bool) (f seen, story string, bad *broken) {
	f.states = map[string]int{}
	var path, widths []int // what to choose, and of how many
	for {
		depth := 0
		r, bad := play(p, b, func(r *run, n int) int {
			if depth >= len(path) {
				left := max(0, b.steps-depth) // all the same without a limit
				if f.saw(r, left) && merge {
					return -1
				}
				path, widths = append(path, 0), append(widths, n)
			}
			depth++
			f.steps++
			return path[depth-1]
		})
		f.schedules++
		if bad != nil {
			return f, r.tell(bad), bad
		}
		last := len(path) - 1
		for last >= 0 && path[last]+1 == widths[last] {
			last--
		}
		if last < 0 {
			return f, "", nil
		}
		path, widths = path[:last+1], widths[:last+1]
		path[last]++
	}
}

// saw notes a moment, and reports whether as much was left when it was last
// seen.
func (f *seen) saw(r *run, left int) bool {
	print := r.print()
	before, ok := f.states[print]
	if !ok || left > before {
		f.states[print] = left
		return false
	}
	return true
}

// shortest deepens step by step until a promise breaks, and returns the
// shortest story of it.
func shortest(p place, b bounds) (f seen, story string, bad *broken) {
	for b.steps = 1; b.steps <= 14; b.steps++ {
		g, story, bad := explore(p, b, true)
		f.schedules, f.steps = f.schedules+g.schedules, f.steps+g.steps
		if bad != nil {
			return f, story, bad
		}
	}
	return f, "", nil
}
