package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/bellwethercache/bellwether/otelx"
)

// spansOf are the spans that go with aTrial: process 1 loads, one follows there,
// process 2 has a wait that is woken and one that gives up.
func spansOf(t *trial) []span {
	at := func(ms float64) int64 { return t.zero.UnixMicro() + int64(1000*ms) }
	wait := func(scope, outcome string) map[string]string {
		return map[string]string{otelx.AttrLockScope: scope, otelx.AttrLockOutcome: outcome, otelx.AttrLockPushed: "true"}
	}
	return []span{
		{process: 1, Trace: "a", ID: "a1", Name: otelx.SpanGet, Start: at(0), End: at(305)},
		{process: 1, Trace: "a", ID: "a2", Parent: "a1", Name: otelx.SpanLockAcquire, Start: at(0.5), End: at(1)},
		{process: 1, Trace: "a", ID: "a3", Parent: "a1", Name: otelx.SpanLoad, Start: at(1), End: at(301),
			Attrs: map[string]string{otelx.AttrFillRole: roleHolder}},
		{process: 1, Trace: "b", ID: "b1", Name: otelx.SpanGet, Start: at(1), End: at(305)},
		{process: 1, Trace: "b", ID: "b2", Parent: "b1", Name: otelx.SpanLockWait, Start: at(1), End: at(305), Links: []string{"a"},
			Attrs: wait("process", "shared")},
		{process: 2, Trace: "c", ID: "c1", Name: otelx.SpanGet, Start: at(2), End: at(422)},
		{process: 2, Trace: "c", ID: "c2", Parent: "c1", Name: otelx.SpanLockWait, Start: at(3), End: at(421), Links: []string{"a"},
			Retries: []int64{at(3), at(105)}, Attrs: wait("distributed", outcomeFilled)},
		{process: 2, Trace: "d", ID: "d1", Name: otelx.SpanGet, Start: at(3), End: at(503), Failed: true},
		{process: 2, Trace: "d", ID: "d2", Parent: "d1", Name: otelx.SpanLockWait, Start: at(4), End: at(502), Links: []string{"a"}, Failed: true,
			Attrs: wait("distributed", outcomeTimeout)},
	}
}

// drawn is aTrial with its spans.
func drawn(protection string, change func(*trial)) outcome {
	tr := aTrial()
	tr.spans.spans = spansOf(tr)
	if change != nil {
		change(tr)
	}
	tests := []test{tr.measure(3, time.Second)}
	return outcome{Protection: protection, Tests: tests, Summary: summarize(tests)}
}

// doc is a page, parsed.
type doc struct {
	*html.Node
	text string
}

func render(t *testing.T, s *settings, all ...outcome) doc {
	t.Helper()
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, newPage(s, &server{what: "a server", fresh: true}, all)); err != nil {
		t.Fatal(err)
	}
	return parseDoc(t, b.String())
}

func parseDoc(t *testing.T, text string) doc {
	t.Helper()
	n, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc{n, text}
}

// all returns the elements with a name, or with .class.
func all(n *html.Node, what string) (found []*html.Node) {
	class, byClass := strings.CutPrefix(what, ".")
	for c := range n.Descendants() {
		if c.Type != html.ElementNode {
			continue
		}
		if byClass && strings.Contains(" "+attr(c, "class")+" ", " "+class+" ") || !byClass && c.Data == what {
			found = append(found, c)
		}
	}
	return found
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// byID maps ids to elements, and complains of two with one id.
func (d doc) byID(t *testing.T) map[string]*html.Node {
	t.Helper()
	ids := make(map[string]*html.Node)
	for n := range d.Descendants() {
		if id := attr(n, "id"); id != "" {
			if ids[id] != nil {
				t.Errorf("two elements with the id %q", id)
			}
			ids[id] = n
		}
	}
	return ids
}

func TestPageRows(t *testing.T) {
	s := someSettings(protectFull)
	d := render(t, &s, drawn(protectFull, nil))
	rows := all(d.Node, ".row")
	var got []string
	for _, r := range rows {
		got = append(got, attr(r, "class")+": "+text(all(r, ".vh")[0]))
	}
	want := []string{
		"row load: Process 1, at 0 ms: API call 300 ms, holding the lease.",
		"row follow: Process 1, at 1 ms: waited 304 ms, for another request of its process, woken by a message.",
		"row hit fold: Process 1: 5 answers from memory.",
		"row failed: Process 2, at 3 ms: gave up after 498 ms, for process 1, error: timeout.",
		"row wait: Process 2, at 2 ms: waited 418 ms, for process 1, woken by a message, looked again 1 time.",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("rows:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	ids := d.byID(t)
	if holder := "#" + attr(all(rows[0], "a")[0], "id"); attr(all(rows[4], "a")[0], "href") != holder || attr(all(rows[1], "a")[0], "href") != holder {
		t.Error("a wait does not lead to the strip it waited for")
	}
	for _, a := range all(d.Node, "a") {
		if ref, ok := strings.CutPrefix(attr(a, "href"), "#"); !ok || ids[ref] == nil {
			t.Errorf("a link leads to %q, which is not there", attr(a, "href"))
		}
	}
	if n := len(all(d.Node, ".link")); n != 3 {
		t.Errorf("%d lines, want 3", n)
	}
	if n := len(all(d.Node, ".holder")); n != 1 {
		t.Errorf("%d lanes are the holder's, want 1", n)
	}
	if h := text(all(d.Node, "h1")[0]); !strings.Contains(h, "10 requests in 2 processes, 3 API calls where 1 would do") {
		t.Errorf("headline %q", h)
	}
}

// A kill is drawn from what the parent knows: the spans that the dead process
// had open have no end.
func TestPageKill(t *testing.T) {
	s := someSettings(protectFull)
	s.killHolder = true
	d := render(t, &s, drawn(protectFull, func(tr *trial) {
		at := func(ms float64) int64 { return tr.zero.UnixMicro() + int64(1000*ms) }
		tr.kill = &killing{victim: 1, at: tr.zero.Add(150 * msec), live: true}
		tr.loads = []int64{at(1), at(260)}
		tr.spans.spans = []span{
			{process: 1, Trace: "a", ID: "a1", Name: otelx.SpanGet, Start: at(0)},
			{process: 1, Trace: "a", ID: "a2", Parent: "a1", Name: otelx.SpanLoad, Start: at(1), Attrs: map[string]string{otelx.AttrFillRole: roleHolder}},
			{process: 1, Trace: "b", ID: "b1", Name: otelx.SpanGet, Start: at(1)},
			{process: 1, Trace: "b", ID: "b2", Parent: "b1", Name: otelx.SpanLockWait, Start: at(1), Attrs: map[string]string{otelx.AttrLockScope: "process"}},
			{process: 2, Trace: "c", ID: "c1", Name: otelx.SpanGet, Start: at(2), End: at(561)},
			{process: 2, Trace: "c", ID: "c2", Parent: "c1", Name: otelx.SpanLockWait, Start: at(3), End: at(260), Links: []string{"a"},
				Attrs: map[string]string{otelx.AttrLockScope: "distributed", otelx.AttrLockTookOver: "true", otelx.AttrLockPushed: "true"}},
			{process: 2, Trace: "c", ID: "c3", Parent: "c1", Name: otelx.SpanLoad, Start: at(260), End: at(560),
				Attrs: map[string]string{otelx.AttrFillRole: roleHolder}},
			{process: 2, Trace: "d", ID: "d1", Name: otelx.SpanGet, Start: at(2), End: at(563)},
			{process: 2, Trace: "d", ID: "d2", Parent: "d1", Name: otelx.SpanLockWait, Start: at(3), End: at(562), Links: []string{"a", "c"},
				Attrs: map[string]string{otelx.AttrLockScope: "distributed"}},
		}
	}))
	var got []string
	for _, r := range all(d.Node, ".row") {
		got = append(got, attr(r, "class")+": "+text(all(r, ".vh")[0]))
	}
	want := []string{
		"row lost: Process 1, at 0 ms: API call, killed after 149 ms, holding the lease.",
		"row lost: Process 1, at 1 ms: killed after 149 ms.",
		"row hit fold: Process 1: 5 answers from memory.",
		"row load: Process 2, at 2 ms: waited 257 ms, then took over, 300 ms of API call, for process 1, woken by a message, holding the lease.",
		"row wait: Process 2, at 2 ms: waited 559 ms, for another request of its process.",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("rows:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for class, n := range map[string]int{".kill": 2, ".cut": 1, ".over": 2, ".first": 1, ".dead": 1} { // with the legend's
		if got := len(all(d.Node, class)); got != n {
			t.Errorf("%d of %s, want %d", got, class, n)
		}
	}
	for _, want := range []string{"Process 1 was killed in mid-load; another took over 110 ms later", "recovery within 250 ms and one load"} {
		if !strings.Contains(d.text, want) {
			t.Errorf("no %q", want)
		}
	}
}

// What the page says in figures is what the terminal says.
func TestPageFigures(t *testing.T) {
	s := someSettings(protectFull)
	o := drawn(protectFull, nil)
	terminal := strings.Join(strings.Fields(printed(&s, false, o)), " ")
	d := render(t, &s, o)
	n := 0
	for _, li := range all(all(d.Node, ".figures")[0], "li") {
		n++
		line := text(all(li, ".name")[0]) + " " + text(all(li, "strong")[0]) + " " +
			strings.TrimPrefix(strings.Split(text(all(li, ".target")[0]), ",")[0][len("✓"):], " target ")
		if !strings.Contains(terminal, line+" "+text(all(li, ".target")[0])[:len("✓")]) {
			t.Errorf("the terminal does not say %q", line)
		}
	}
	for _, div := range all(all(d.Node, ".tallies")[0], "div") {
		n++
		if line := text(all(div, "dt")[0]) + " " + text(all(div, "dd")[0]); !strings.Contains(terminal, line) {
			t.Errorf("the terminal does not say %q", line)
		}
	}
	if n != 5+12 {
		t.Errorf("%d figures and tallies, want 17", n)
	}
}

func TestPageCompare(t *testing.T) {
	s := someSettings(protectCompare)
	quick := func(tr *trial) { tr.spans.spans = tr.spans.spans[:3] }
	d := render(t, &s, drawn(protectNone, nil), drawn(protectNaive, nil), drawn(protectFull, quick))
	if n := len(all(d.Node, ".timeline")); n != 3 {
		t.Fatalf("%d timelines, want 3", n)
	}
	rows := comparison([]outcome{drawn(protectNone, nil), drawn(protectNaive, nil), drawn(protectFull, nil)})
	if n := len(all(all(d.Node, ".compared")[0], "tr")); n != len(rows) {
		t.Errorf("%d rows side by side, the terminal has %d", n, len(rows))
	}
	// One scale for all: 300 of the 503 ms that the longest takes.
	wide := all(all(d.Node, ".timeline")[2], ".load")
	for _, n := range wide {
		if m := regexp.MustCompile(`width:([\d.]+)%`).FindStringSubmatch(attr(n, "style")); m != nil {
			if w, _ := strconv.ParseFloat(m[1], 64); w < 58 || w > 60 {
				t.Errorf("a load of 300 ms is %v %% wide, want 59 as in the others", w)
			}
		}
	}
	d.byID(t)
}

// Whatever a name is, it is text.
func TestPageEscapes(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}`
	s := someSettings(protectFull)
	s.api = "http://" + evil
	o := drawn(protectFull, func(tr *trial) {
		tr.city.Name = evil
		tr.weather.Conditions[0].Description = evil
		for i := range tr.records {
			if tr.records[i].Err != "" {
				tr.records[i].Err = evil
			}
		}
		for i := range tr.spans.spans {
			sp := &tr.spans.spans[i]
			if sp.Failed {
				sp.Attrs = map[string]string{otelx.AttrErrorType: evil, otelx.AttrLockScope: evil}
			}
			if sp.Trace == "a" {
				sp.Trace = evil
			}
		}
	})
	o.Warnings = []string{evil}
	d := render(t, &s, o)
	if n := len(all(d.Node, "script")); n != 1 {
		t.Errorf("%d scripts, want only ours", n)
	}
	if len(all(d.Node, "img")) != 0 {
		t.Error("a name became an element")
	}
	for n := range d.Descendants() {
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") {
				t.Errorf("a name became a handler: %s", a.Key)
			}
		}
	}
	if n := strings.Count(text(d.Node), evil); n < 5 {
		t.Errorf("the name is there %d times as it was given, want it in the title, the warning, the city, the error and the weather", n)
	}
}

// The page is one file: nothing is fetched.
func TestPageSelfContained(t *testing.T) {
	s := someSettings(protectFull)
	d := render(t, &s, drawn(protectFull, nil))
	for n := range d.Descendants() {
		for _, a := range n.Attr {
			if (a.Key == "src" || a.Key == "href" || a.Key == "srcset") && !strings.HasPrefix(a.Val, "#") && a.Val != "data:," {
				t.Errorf("<%s %s=%q> leads elsewhere", n.Data, a.Key, a.Val)
			}
		}
	}
	for _, word := range []string{"url(", "@import", "fetch(", "XMLHttpRequest", "import("} {
		if strings.Contains(pageCSS+pageJS, word) {
			t.Errorf("%s in the style or the script", word)
		}
	}
}

// Ten thousand waiters fit: who has no strip is counted in a row that says so.
func TestPageBounded(t *testing.T) {
	const herd, processes = 10_000, 4
	tr := aTrial()
	tr.records = nil
	spans := spansOf(tr)[:3]
	for i := range herd {
		p := i%processes + 1
		start := tr.zero.UnixMicro() + int64(i)
		id := fmt.Sprint(i)
		tr.records = append(tr.records, record{Process: p, Status: statusFilled, Lock: lockHeld, Waited: true, Wait: 300 * msec})
		spans = append(spans,
			span{process: p, Trace: id, ID: id, Name: otelx.SpanGet, Start: start, End: start + 300_000},
			span{process: p, Trace: id, ID: id + "w", Parent: id, Name: otelx.SpanLockWait, Start: start, End: start + 300_000, Links: []string{"a"},
				Attrs: map[string]string{otelx.AttrLockScope: "distributed"}})
	}
	tr.spans.spans = spans
	tests := []test{tr.measure(1, time.Second)}
	s := someSettings(protectFull)
	d := render(t, &s, outcome{Protection: protectFull, Tests: tests, Summary: summarize(tests)})
	if len(d.text) > 150_000 {
		t.Errorf("the page has %d bytes, want 150,000 at most", len(d.text))
	}
	shown := 0
	for _, r := range all(d.Node, ".row") {
		sentence := text(all(r, ".vh")[0])
		if m := regexp.MustCompile(`and ([\d,]+) more waits for another process like these, p50 300 ms, p99 300 ms`).FindStringSubmatch(sentence); m != nil {
			n, _ := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
			shown += n
		} else if strings.Contains(sentence, "waited 300 ms") {
			shown++
		}
	}
	if shown != herd {
		t.Errorf("the rows account for %d waits, want %d", shown, herd)
	}
	if !strings.Contains(text(d.Node), "9,952 reads are drawn together") {
		t.Error("the page does not say how much is folded")
	}
}
