package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/bellwethercache/bellwether/otelx"
)

// The kinds of strips, most telling first. They are CSS classes as well.
const (
	kindLoad   = "load"   // called the API
	kindLost   = "lost"   // was under way in a process that was killed
	kindFailed = "failed" // ended in an error, or gave up waiting
	kindWait   = "wait"   // waited for another process
	kindFollow = "follow" // waited for another request of its process
	kindHit    = "hit"    // found the value without a wait
)

var kindOrder = []string{kindLoad, kindLost, kindFailed, kindWait, kindFollow, kindHit}

// kindNames are the kinds in sentences, of one and of several.
var kindNames = map[string][2]string{
	kindLoad: {"API call", "API calls"}, kindLost: {"lost request", "lost requests"}, kindFailed: {"failure", "failures"},
	kindWait: {"wait for another process", "waits for another process"}, kindFollow: {"wait", "waits"}, kindHit: {"hit", "hits"},
}

// strip is one read: a trace, drawn as a strip. Times are in ms since the herd was
// let go.
type strip struct {
	kind       string
	process    int
	trace      string
	start, end float64
	parts      []part
	looks      []float64 // when a waiter looked again
	woken      bool
	tookOver   bool
	holder     bool     // of the lease
	waitedFor  []string // traces, in order
	error      string
}

// part is a stretch of a strip.
type part struct {
	kind       string
	start, end float64
	text       string
	cut        bool // by the death of its process
}

func (b *strip) length() float64 { return b.end - b.start }

// timing is what relates spans to a herd.
type timing struct {
	zero   time.Time
	ended  float64 // ms
	victim int     // the process that was killed; 0: none
	killed float64 // ms
}

func (t *timing) at(micros int64) float64 { return float64(micros-t.zero.UnixMicro()) / 1000 }

// finish is when a span ended; one that nobody heard the end of ended with its
// process, or with the herd.
func (t *timing) finish(s *span) float64 {
	switch {
	case s.End != 0:
		return t.at(s.End)
	case s.process == t.victim:
		return max(t.killed, t.at(s.Start))
	}
	return max(t.ended, t.at(s.Start))
}

// stripsOf makes a strip of each trace.
func stripsOf(spans []span, t *timing) []*strip {
	traces := make(map[string][]*span)
	var order []string
	for i := range spans {
		s := &spans[i]
		if traces[s.Trace] == nil {
			order = append(order, s.Trace)
		}
		traces[s.Trace] = append(traces[s.Trace], s)
	}
	strips := make([]*strip, len(order))
	for i, id := range order {
		strips[i] = stripOf(traces[id], t)
	}
	slices.SortStableFunc(strips, func(a, b *strip) int {
		return cmp.Or(cmp.Compare(a.process, b.process), cmp.Compare(a.start, b.start))
	})
	return strips
}

func stripOf(spans []*span, t *timing) *strip {
	first := spans[0]
	b := &strip{kind: kindHit, process: first.process, trace: first.Trace, start: t.at(first.Start), end: t.finish(first)}
	for _, s := range spans {
		b.start, b.end = min(b.start, t.at(s.Start)), max(b.end, t.finish(s))
		switch s.Name {
		case otelx.SpanLoad:
			b.addLoad(s, t)
		case otelx.SpanLockWait:
			b.addWait(s, t)
		}
		b.tookOver = b.tookOver || s.Attrs[otelx.AttrLockTookOver] == "true"
	}
	for _, s := range spans {
		switch {
		case s.End == 0 && s.process == t.victim:
			b.kind = kindLost
		case s.Failed && b.kind != kindLost && (s.Parent == "" || s.Name == otelx.SpanLockWait):
			b.kind, b.error = kindFailed, cmp.Or(s.Attrs[otelx.AttrErrorType], s.Attrs[otelx.AttrLockOutcome], b.error, "error")
		}
	}
	b.say(t)
	return b
}

func (b *strip) addLoad(s *span, t *timing) {
	b.kind = kindLoad
	b.holder = b.holder || s.Attrs[otelx.AttrFillRole] == roleHolder
	p := part{kind: kindLoad, start: t.at(s.Start), end: t.finish(s)}
	switch {
	case s.End == 0 && s.process == t.victim:
		p.cut = true
	case s.Failed:
		p.kind = kindFailed
	}
	b.parts = append(b.parts, p)
}

func (b *strip) addWait(s *span, t *timing) {
	p := part{kind: kindWait, start: t.at(s.Start), end: t.finish(s)}
	if s.Attrs[otelx.AttrLockScope] == "process" {
		p.kind = kindFollow
	}
	if b.kind == kindHit {
		b.kind = p.kind
	}
	for i, at := range s.Retries {
		if i > 0 { // the first is the wait's beginning
			b.looks = append(b.looks, t.at(at))
		}
	}
	switch {
	case s.End == 0 && s.process == t.victim:
		p.kind = kindLost
	case s.Failed:
		p.kind = kindFailed
	default:
		b.woken = s.Attrs[otelx.AttrLockPushed] == "true"
	}
	b.waitedFor = append(b.waitedFor, s.Links...)
	b.parts = append(b.parts, p)
}

// say gives the parts their texts, which are visible and so are short.
func (b *strip) say(t *timing) {
	slices.SortStableFunc(b.parts, func(x, y part) int { return cmp.Compare(x.start, y.start) })
	loads := 0
	for i := range b.parts {
		p := &b.parts[i]
		took := millisText(p.end - p.start)
		switch p.kind {
		case kindLoad:
			loads++
			p.text = "API call " + took
			switch {
			case p.cut:
				p.text = "API call, killed after " + took
			case b.tookOver && loads == 1:
				p.text = "took over, " + took
			}
		case kindWait, kindFollow:
			p.text = "waited " + took
		case kindFailed:
			p.text = "failed after " + took
			if b.error == outcomeTimeout {
				p.text = "gave up after " + took
			}
		case kindLost:
			p.text = "killed after " + took
		}
	}
	if len(b.parts) == 0 {
		b.parts = []part{{kind: b.kind, start: b.start, end: b.end, text: "found it " + millisText(b.length())}}
		if b.kind == kindLost {
			b.parts[0].text = "killed after " + millisText(t.killed-b.start)
		}
	}
}

// sentence is a strip for those who read it instead. who finds one by its trace.
func (b *strip) sentence(who map[string]*strip) string {
	text := ""
	for i, p := range b.parts {
		if i > 0 {
			text += ", then "
		}
		text += p.text
		if p.kind == kindLoad && b.tookOver {
			text += " of API call"
		}
	}
	switch h := b.waitsFor(who); {
	case h == nil:
	case h.process != b.process:
		text += fmt.Sprintf(", for process %d", h.process)
	default:
		text += ", for another request of its process"
	}
	if b.woken && b.kind != kindLost {
		text += ", woken by a message"
	}
	if n := len(b.looks); n > 0 {
		text += fmt.Sprintf(", looked again %d %s", n, plural(n, "time", "times"))
	}
	if b.holder {
		text += ", holding the lease"
	}
	if b.error != "" {
		text += ", error: " + b.error
	}
	return text + "."
}

// waitsFor is the last read that b waited for, if it is known.
func (b *strip) waitsFor(who map[string]*strip) *strip {
	for _, id := range slices.Backward(b.waitedFor) {
		if h := who[id]; h != nil && h != b {
			return h
		}
	}
	return nil
}

func atText(x float64) string {
	if x < 0.05 {
		return "0 ms"
	}
	return number(x) + " ms"
}
