package main

import (
	"fmt"
	"strconv"
)

// configuration says what is about to happen.
func (p *paper) configuration(s *settings, ses *session) {
	p.line("%s", p.style(bold, "Bellwether: one loads, the herd follows"))
	p.heading("Configuration")
	rows := s.rows(ses.server)
	for _, row := range rows {
		row[0].style = dim
	}
	p.table(rows)
	for _, w := range s.warnings(ses.server) {
		p.warning(w)
	}
	p.flush()
}

// rows say what the settings are.
func (s *settings) rows(srv *server) [][]cell {
	api := "built-in, " + s.latency.String() + " ± 20 %"
	if s.api != "" {
		api = redacted(s.api)
	}
	state := "kept from earlier runs, which may be hits"
	switch {
	case s.flushes():
		state = "deleted first"
	case srv.fresh:
		state = "none, the server is new"
	}
	rows := [][]cell{
		plain("herd", fmt.Sprintf("%d requests for each of %d %s, %d threads in %d %s", s.requests, s.cities,
			plural(s.cities, "city", "cities"), s.effectiveThreads(), s.processes, plural(s.processes, "process", "processes"))),
		plain("protection", describeProtection(s.protection)),
		plain("lock TTL", s.lockTTL.String()),
		plain("weather API", api),
		plain("server", srv.what),
		plain("earlier entries", state),
	}
	if s.killHolder {
		rows = append(rows, plain("kill", "the process that holds the lock, in mid-load"))
	}
	return rows
}

func describeProtection(protection string) string {
	return map[string]string{
		protectNone:    "none: cache-aside, nothing else",
		protectNaive:   "naive: the textbook's lock, a fixed TTL and a plain DEL",
		protectFull:    "full: Bellwether",
		protectCompare: "compare: none, naive and full, one after the other",
	}[protection]
}

// warnings say what in the settings will hurt.
func (s *settings) warnings(srv *server) (all []string) {
	if s.api == "" && s.lockTTL < 2*s.latency && s.protection != protectNone {
		text := fmt.Sprintf("the lock TTL (%v) is below twice the API's latency (%v); 2 to 10 times is right, 5 is good", s.lockTTL, s.latency)
		if s.protection == protectFull {
			text += "; renewal makes up for it, but a busy machine may renew too late"
		} else {
			text += "; the naive lock will end in mid-load"
		}
		all = append(all, text)
	}
	if srv.down {
		all = append(all, "the server does not answer: each process loads for itself until it does")
	}
	return all
}

// test reports one city.
func (p *paper) test(s *settings, protection string, t *test) {
	title := t.City
	if s.protection == protectCompare {
		title += ", " + protection
	}
	p.heading(title)
	if t.Weather != nil {
		p.line("  %s", p.style(cyan, t.Weather.String()))
	}
	p.table(t.tallies())
	p.recovery(t)
	if t.FirstError != "" {
		p.line("  %s", p.style(red, "first error: "+t.FirstError))
	}
	if s.killHolder && t.Recovery == nil {
		p.warning("no process loaded under the lock, so none was killed")
	}
	p.line("  %s", p.verdict(t.Prevented, t.verdict()))
	if s.verbose {
		p.timeline(t)
	}
}

// tallies are the counts and times of a herd, in two columns of names and
// values.
func (t *test) tallies() [][]cell {
	should := "(should be 1)"
	if t.Recovery != nil {
		should = "(should be 1, and 1 for the killed one)"
	}
	calls := cell{strconv.Itoa(t.APICalls) + " " + should, ""}
	if t.APICalls > 1 && !t.Prevented {
		calls.style = red
	}
	left := func(name string) cell { return cell{name, dim} }
	return [][]cell{
		{left("requests"), {number(float64(t.Requests)), ""}, left("latency min / avg / max"), {millisText(t.Min) + " / " + millisText(t.Avg) + " / " + millisText(t.Max), ""}},
		{left("cache hits"), {fmt.Sprintf("%d (%s %%)", t.Hits, number(t.HitRate)), ""}, left("hit latency"), {millisText(t.Hit), ""}},
		{left("cache misses"), {strconv.Itoa(t.Misses), ""}, left("API latency"), {millisText(t.API), ""}},
		{left("API calls"), calls, left("speed-up"), {speedUp(t.SpeedUp), ""}},
		{left("lock acquisitions"), {strconv.Itoa(t.Locks), ""}, left("timeouts"), {strconv.Itoa(t.Timeouts), ""}},
		{left("lock waits"), {fmt.Sprintf("%d, %s on average", t.LockWaits, millisText(t.AvgWait)), ""}, left("errors"), {strconv.Itoa(t.Errors), ""}},
	}
}

func (t *test) verdict() string {
	switch {
	case t.Prevented && t.APICalls == 0:
		return "no stampede: the entry of an earlier run was still there (-f deletes it)"
	case t.Prevented:
		return "stampede prevented"
	}
	return fmt.Sprintf("stampede: %d API calls, %d timeouts, %d errors", t.APICalls, t.Timeouts, t.Errors)
}

func (p *paper) recovery(t *test) {
	if r := t.Recovery; r != nil {
		p.line("  %s", t.killed())
		p.line("  %s", p.verdict(r.Held, r.promise()))
	}
}

func (t *test) killed() string {
	r := t.Recovery
	return fmt.Sprintf("process %d was killed at %s, with %d requests; another one loaded %s later, the next answer came after %s",
		r.Process, millisText(r.KilledMS), t.Killed, millisText(r.Load), millisText(r.Value))
}

// promise is what the recovery is judged by.
func (r *recovery) promise() string {
	if r.Live {
		return "recovery within " + millisText(r.Bound) + " and one load: the server tells when a holder dies"
	}
	return "recovery within lock TTL + 1.6 s = " + millisText(r.Bound) + " and one load"
}

func speedUp(x float64) string {
	if x == 0 {
		return "–"
	}
	return number(float64(int(x+0.5))) + " times"
}

// timeline lists every request.
func (p *paper) timeline(t *test) {
	p.line("")
	rows := [][]cell{plain("at", "process", "worker", "status", "duration", "lock", "retries", "wait")}
	for i := range rows[0] {
		rows[0][i].style = dim
	}
	for _, r := range t.records {
		status := cell{r.Status, map[string]string{
			statusAPI: yellow, statusError: red, statusKilled: red, statusL1: green, statusL2: green,
		}[r.Status]}
		lock := r.Lock
		if r.TimedOut {
			lock += " timeout"
		}
		rows = append(rows, []cell{
			{millisText(ms(r.Start)), ""}, {strconv.Itoa(r.Process), ""}, {strconv.Itoa(r.Thread), ""}, status,
			{millisText(ms(r.Latency)), ""}, {lock, ""}, {strconv.Itoa(r.Retries), ""}, {millisText(ms(r.Wait)), ""},
		})
	}
	p.table(rows, true, true, true, false, true, false, true, true)
}

// summary reports all cities, of one protection or of several side by side.
func (p *paper) summary(s *settings, all []outcome) {
	p.heading("Summary")
	if len(all) > 1 {
		p.table(comparison(all), false, true, true, true)
	} else {
		p.totals(&all[0].Summary)
	}
	p.line("")
	for _, f := range all[0].Summary.figures() {
		p.line("  %s", p.style(dim, f.name+": "+f.counted))
	}
	for i := range all {
		for _, w := range all[i].Warnings {
			p.warning(all[i].Protection + ": " + w)
		}
	}
	last := &all[len(all)-1]
	p.line("")
	switch {
	case last.Summary.Prevented:
		p.line("  %s", p.verdict(true, fmt.Sprintf("stampede prevented: %d requests, %d API %s", last.Summary.Requests,
			last.Summary.APICalls, plural(last.Summary.APICalls, "call", "calls"))))
	default:
		p.line("  %s", p.verdict(false, fmt.Sprintf("stampede not prevented: %d requests, %d API calls", last.Summary.Requests, last.Summary.APICalls)))
	}
}

func (p *paper) totals(s *summary) {
	p.line("  %d requests in %d %s, %d API %s, %d timeouts, %d errors", s.Requests, s.Cities, plural(s.Cities, "city", "cities"),
		s.APICalls, plural(s.APICalls, "call", "calls"), s.Timeouts, s.Errors)
	p.line("")
	rows := [][]cell{{{"figure", dim}, {"value", dim}, {"target", dim}, {"", ""}}}
	for _, f := range s.figures() {
		rows = append(rows, []cell{{f.name, ""}, {f.text(), ""}, {f.Target, ""}, mark(f.Met)})
	}
	p.table(rows, false, true, true)
}

// comparison puts the protections side by side.
func comparison(all []outcome) [][]cell {
	row := func(name string, value func(s *summary) cell) []cell {
		cells := []cell{{name, dim}}
		for i := range all {
			cells = append(cells, value(&all[i].Summary))
		}
		return cells
	}
	head := []cell{{"", ""}}
	for i := range all {
		head = append(head, cell{all[i].Protection, bold})
	}
	rows := [][]cell{
		head,
		row("requests", func(s *summary) cell { return cell{strconv.Itoa(s.Requests), ""} }),
		row("API calls", func(s *summary) cell { return cell{strconv.Itoa(s.APICalls), ""} }),
		row("timeouts", func(s *summary) cell { return cell{strconv.Itoa(s.Timeouts), ""} }),
		row("errors", func(s *summary) cell { return cell{strconv.Itoa(s.Errors), ""} }),
	}
	for i, f := range all[0].Summary.figures() {
		rows = append(rows, row(f.name+" "+f.Target, func(s *summary) cell {
			f := s.figures()[i]
			c := mark(f.Met)
			c.text = f.text() + " " + c.text
			return c
		}))
	}
	rows = append(rows, row("prevented", func(s *summary) cell {
		if s.Prevented {
			return cell{"yes", green}
		}
		return cell{"no", red}
	}))
	return rows
}

func mark(ok bool) cell {
	if ok {
		return cell{"✓", green}
	}
	return cell{"✗", red}
}

func (f figure) text() string { return number(f.Value) + " " + f.Unit }

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
