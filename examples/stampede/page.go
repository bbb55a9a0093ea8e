package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"strings"
)

var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string

	pageTemplate = template.Must(template.New("page").Parse(pageHTML))
)

// page is what page.html shows. Its texts are escaped there; what the terminal
// prints as well comes from the same functions.
type page struct {
	Headline      string
	First         string // id of the first timeline
	Warnings      []string
	Comparison    [][]pageCell
	Outcomes      []pageOutcome
	Configuration []pageCell
	Counted       []pageCell
	Style         template.CSS
	Script        template.JS
}

type pageOutcome struct {
	ID, Title string
	Tests     []pageTest
	Figures   []pageFigure
}

type pageTest struct {
	ID, City, Weather, Verdict, FirstError string
	Prevented, Waits                       bool
	Recovery                               *pageRecovery
	Tallies                                []pageCell
	Picture                                *picture
	Has                                    map[string]bool // what the legend explains
}

type pageRecovery struct {
	Text, Promise string
	Held          bool
}

type pageFigure struct {
	Name, Value, Target string
	Met                 bool
}

// pageCell is a cell of a table, or a name with its value.
type pageCell struct {
	Name, Value, Text, Mood string
}

// writePage writes the report as one file that needs no other.
func (ses *session) writePage(s *settings, all []outcome) error {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, newPage(s, ses.server, all)); err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	if err := os.WriteFile(s.report, b.Bytes(), 0o644); err != nil { //nolint:gosec // it is for showing around
		return fmt.Errorf("--report: %w", err)
	}
	return nil
}

func newPage(s *settings, srv *server, all []outcome) *page {
	p := &page{
		Headline: headline(s, all), Warnings: s.warnings(srv), First: "o1-c1-timeline",
		Style: template.CSS(pageCSS), Script: template.JS(pageJS), //nolint:gosec // ours, not anybody's input
	}
	if len(all) > 1 {
		for _, row := range comparison(all) {
			cells := make([]pageCell, len(row))
			for i, c := range row {
				cells[i] = pageCell{Text: c.text, Mood: mood(c.style)}
			}
			p.Comparison = append(p.Comparison, cells)
		}
	}
	span := longest(all)
	for i := range all {
		p.Outcomes = append(p.Outcomes, newPageOutcome(fmt.Sprintf("o%d", i+1), &all[i], span))
		for _, w := range all[i].Warnings {
			p.Warnings = append(p.Warnings, all[i].Protection+": "+w)
		}
	}
	for _, row := range s.rows(srv) {
		p.Configuration = append(p.Configuration, pageCell{Name: row[0].text, Value: row[1].text})
	}
	for _, f := range all[0].Summary.figures() {
		p.Counted = append(p.Counted, pageCell{Name: f.name, Value: f.counted})
	}
	return p
}

// longest is the end of the last strip of all timelines, which share one scale:
// else a quick herd would look like a slow one.
func longest(all []outcome) (ms float64) {
	for i := range all {
		for j := range all[i].Tests {
			d := &all[i].Tests[j].drawing
			ms = max(ms, d.killed)
			for _, b := range stripsOf(d.spans, &d.timing) {
				ms = max(ms, b.end)
			}
		}
	}
	return ms
}

var protectionTitles = map[string]string{
	protectNone: "Without protection", protectNaive: "With the textbook’s lock", protectFull: "With Bellwether",
}

func newPageOutcome(id string, o *outcome, span float64) pageOutcome {
	p := pageOutcome{ID: id, Title: protectionTitles[o.Protection]}
	for i := range o.Tests {
		p.Tests = append(p.Tests, newPageTest(fmt.Sprintf("%s-c%d", id, i+1), &o.Tests[i], span))
	}
	for _, f := range o.Summary.figures() {
		p.Figures = append(p.Figures, pageFigure{Name: f.name, Value: f.text(), Target: f.Target, Met: f.Met})
	}
	return p
}

func newPageTest(id string, t *test, span float64) pageTest {
	p := pageTest{
		ID: id, City: t.City, Verdict: t.verdict(), Prevented: t.Prevented, FirstError: t.FirstError,
		Waits: t.LockWaits > 0, Picture: t.drawing.layOut(id, t, span),
	}
	if t.Weather != nil {
		p.Weather = t.Weather.String()
	}
	if r := t.Recovery; r != nil {
		p.Recovery = &pageRecovery{Text: "P" + strings.TrimPrefix(t.killed(), "p") + ".", Promise: r.promise(), Held: r.Held}
	}
	for _, row := range t.tallies() {
		for i := 0; i+1 < len(row); i += 2 {
			p.Tallies = append(p.Tallies, pageCell{Name: row[i].text, Value: row[i+1].text, Mood: mood(row[i+1].style)})
		}
	}
	p.Has = p.Picture.has()
	return p
}

// mood is the CSS class for a style of the terminal.
func mood(style string) string {
	return map[string]string{red: "bad", green: "good"}[style]
}

// has says which kinds of marks there are.
func (p *picture) has() map[string]bool {
	has := map[string]bool{}
	for _, l := range p.Lines {
		has[l.Kind] = true
	}
	for i := range p.Lanes {
		for j := range p.Lanes[i].Rows {
			r := &p.Lanes[i].Rows[j]
			for _, part := range r.Parts {
				has[part.Kind] = true
			}
			has["woken"] = has["woken"] || r.Woken != nil
			has["looked"] = has["looked"] || len(r.Looks) > 0
		}
	}
	return has
}

// FoldedText counts the reads that have no row of their own.
func (p *picture) FoldedText() string { return count(p.Folded, "read is", "reads are") }
