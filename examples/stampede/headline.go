package main

import (
	"fmt"
	"strings"
)

// headline is one sentence that says what happened.
func headline(s *settings, all []outcome) string {
	if len(all) > 1 {
		return compared(s, all)
	}
	o := &all[0]
	for i := range o.Tests {
		if r := o.Tests[i].Recovery; r != nil && r.Load > 0 {
			return fmt.Sprintf("Process %d was killed in mid-load; another took over %s later, and %s got an answer.",
				r.Process, millisText(r.Load), others(&o.Tests[i]))
		}
	}
	return calm(s, o)
}

func compared(s *settings, all []outcome) string {
	how := map[string]string{
		protectNone: "without protection", protectNaive: "with the textbook’s lock", protectFull: "with Bellwether",
	}
	parts := make([]string, len(all))
	for i := range all {
		parts[i] = count(all[i].Summary.APICalls, "API call", "API calls") + " " + how[all[i].Protection]
	}
	return fmt.Sprintf("%s in %s: %s.", count(all[0].Summary.Requests, "request", "requests"),
		count(s.processes, "process", "processes"), strings.Join(parts, ", "))
}

// others is how many requests of the processes that lived were answered.
func others(t *test) string {
	n := t.answered()
	if t.Errors == 0 {
		return "all " + grouped(n) + " requests of the others"
	}
	return fmt.Sprintf("%s of %s requests of the others", grouped(n-t.Errors), grouped(n))
}

// calm is the headline of a herd whose processes lived.
func calm(s *settings, o *outcome) string {
	sum := &o.Summary
	text := fmt.Sprintf("%s in %s, %s", count(sum.Requests, "request", "requests"),
		count(s.processes, "process", "processes"), count(sum.APICalls, "API call", "API calls"))
	if sum.APICalls > sum.Cities {
		text += fmt.Sprintf(" where %d would do", sum.Cities)
	}
	waits, hits, whose := 0, 0, ""
	for i := range o.Tests {
		t := &o.Tests[i]
		waits += t.LockWaits
		for j := range t.records {
			switch r := &t.records[j]; {
			case r.Status == statusAPI && sum.APICalls == 1 && s.processes > 1:
				whose = fmt.Sprintf(" for process %d’s", r.Process)
			case r.hit():
				hits++
			}
		}
	}
	if waits > 0 {
		text += fmt.Sprintf("; %s waited %s on average%s", grouped(waits), millisText(sum.AvgWait.Value), whose)
	}
	if hits > 0 {
		text += fmt.Sprintf("; %s found the answer in the cache", grouped(hits))
	}
	return text + "."
}

// count is a number and what it counts.
func count(n int, one, many string) string { return grouped(n) + " " + plural(n, one, many) }
