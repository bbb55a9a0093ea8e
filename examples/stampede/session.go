package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// session is the servers that runs share: the interactive mode makes several.
type session struct {
	server *server
	api    *weatherAPI // nil: the user named another
	out    *paper
	bar    *bar
	errw   io.Writer
}

func openSession(ctx context.Context, s *settings, out *paper, errw io.Writer, progress *bar) (*session, error) {
	server, err := chooseServer(ctx, s)
	if err != nil {
		return nil, err
	}
	ses := &session{server: server, out: out, errw: errw, bar: progress}
	if s.api == "" {
		if ses.api, err = startAPI(s.latency); err != nil {
			server.close()
			return nil, err
		}
	}
	return ses, nil
}

func (ses *session) close() {
	if ses.api != nil {
		ses.api.close()
	}
	ses.server.close()
}

// outcome is what came of one protection.
type outcome struct {
	Protection string   `json:"protection"`
	Tests      []test   `json:"tests"`
	Summary    summary  `json:"summary"`
	Warnings   []string `json:"warnings,omitempty"`
}

// run runs the herd under each protection that s asks for. each is told of a
// test when it is over.
func (ses *session) run(ctx context.Context, s *settings, each func(protection string, t *test)) ([]outcome, error) {
	protections := []string{s.protection}
	if s.protection == protectCompare {
		protections = []string{protectNone, protectNaive, protectFull}
	}
	var all []outcome
	for _, p := range protections {
		o, err := ses.runOne(ctx, s, p, each)
		if err != nil {
			return all, err
		}
		all = append(all, o)
	}
	return all, nil
}

func (ses *session) runOne(ctx context.Context, s *settings, p string, each func(string, *test)) (o outcome, err error) {
	o.Protection = p
	warn := func(text string) {
		for _, w := range o.Warnings {
			if w == text {
				return
			}
		}
		o.Warnings = append(o.Warnings, text)
	}
	if s.flushes() {
		if err := flush(ctx, ses.server.url); err != nil && ctx.Err() == nil {
			warn("what earlier runs left could not be deleted: " + err.Error())
		}
	}
	f := newFleet(ses.setup(s, p), split(s.effectiveThreads(), s.processes), ses.errw, warn)
	defer f.stop()
	for i := range s.cities {
		t := &trial{fleet: f, city: cities[i], requests: split(s.requests, s.processes)}
		if s.killHolder {
			t.kill = &killing{after: s.killAfter()}
		}
		if err := f.fill(ctx); err != nil {
			return o, err
		}
		if t.kill != nil {
			t.kill.live = f.allLive()
		}
		if err := ses.watch(ctx, t, p, s.requests); err != nil {
			return o, err
		}
		calls := len(t.loads)
		if ses.api != nil {
			calls = ses.api.take(t.city) // the API's own word
		}
		result := t.measure(calls, s.lockTTL)
		o.Tests = append(o.Tests, result)
		each(p, &result)
	}
	o.Summary = summarize(o.Tests)
	return o, nil
}

// watch runs t and shows its progress.
func (ses *session) watch(ctx context.Context, t *trial, p string, requests int) error {
	ses.bar.begin(fmt.Sprintf("%s, %s", t.city.Name, p), requests)
	defer ses.bar.end()
	t.progress = ses.bar.set
	return t.run(ctx)
}

func (ses *session) setup(s *settings, p string) setup {
	su := setup{
		Protection: p, Valkey: ses.server.url, LockTTL: s.lockTTL, API: s.api, APIKey: s.apiKey, OTLP: strings.TrimRight(s.otlp, "/"),
		Spans: s.report != "",
	}
	if ses.api != nil {
		su.API, su.APIKey = ses.api.url, "demo"
	}
	return su
}

// flushes reports whether what earlier runs left is deleted first.
func (s *settings) flushes() bool {
	return s.flush || s.killHolder || s.protection == protectCompare
}

// effectiveThreads is how many threads have something to do.
func (s *settings) effectiveThreads() int { return min(s.threads, s.requests) }

// killAfter is how long into a load its process is killed.
func (s *settings) killAfter() time.Duration {
	if s.api != "" {
		return 20 * time.Millisecond // nobody knows how fast it is
	}
	return s.latency / 2
}
