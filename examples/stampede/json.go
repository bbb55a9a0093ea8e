package main

import (
	"encoding/json"
	"io"
)

// document is what --json prints: one object.
//
//	config      the settings, as they were used
//	tests       one object for each city:
//	              city, requests, cache_hits, cache_misses, api_calls,
//	              lock_acquisitions, lock_waits, timeouts, errors, min_ms,
//	              avg_ms, max_ms, hit_ms, api_ms, and more of the same kind;
//	              with --verbose a timeline, with --kill-holder a recovery
//	summary     their sum, and the five figures (api_call_reduction, hit_rate,
//	            lock_wait_rate, avg_wait, timeout_rate, each with value, unit,
//	            target and met), and stampede_prevented
//	warnings    advice of the library, if there was any
//	protections with --protection compare, in place of tests, summary and
//	            warnings: a list of objects that have these, and protection
//
// A request that a tier answered is a cache hit; one that waited for another's
// load is a miss, as in cache.Stats. Times are in milliseconds.
type document struct {
	Config      config    `json:"config"`
	Tests       []test    `json:"tests,omitempty"`
	Summary     *summary  `json:"summary,omitempty"`
	Warnings    []string  `json:"warnings,omitempty"`
	Protections []outcome `json:"protections,omitempty"`
}

type config struct {
	Requests   int     `json:"requests"`
	Threads    int     `json:"threads"`
	Cities     int     `json:"cities"`
	Processes  int     `json:"processes"`
	Protection string  `json:"protection"`
	LockTTL    float64 `json:"lock_ttl_ms"`
	Latency    float64 `json:"latency_ms,omitempty"` // of the built-in API
	API        string  `json:"api"`
	Server     string  `json:"server"`
	Flush      bool    `json:"flush"`
	KillHolder bool    `json:"kill_holder"`
}

func writeJSON(w io.Writer, s *settings, ses *session, all []outcome) error {
	d := document{Config: config{
		Requests: s.requests, Threads: s.effectiveThreads(), Cities: s.cities, Processes: s.processes,
		Protection: s.protection, LockTTL: ms(s.lockTTL), API: redacted(s.api), Server: ses.server.what,
		Flush: s.flushes(), KillHolder: s.killHolder,
	}}
	if s.api == "" {
		d.Config.API, d.Config.Latency = "built-in", ms(s.latency)
	}
	if s.verbose {
		for i := range all {
			for j := range all[i].Tests {
				t := &all[i].Tests[j]
				t.Timeline = t.timeline()
			}
		}
	}
	if s.protection == protectCompare {
		d.Protections = all
	} else {
		d.Tests, d.Summary, d.Warnings = all[0].Tests, &all[0].Summary, all[0].Warnings
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}
