package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// picture is a herd, laid out: widths are shares of the timeline's, heights are
// in rem, so that it scales with the window and with the reader's letters.
type picture struct {
	Name   string // begins the ids of its rows
	Lanes  []lane
	Ticks  []tick
	Lines  []line
	Height rem
	Killed *tick // the kill; nil: none
	Folded int   // reads that have no row of their own
	Known  bool  // whom waiters waited for
}

// lane is a process.
type lane struct {
	Process int
	Badges  []string
	Counts  string
	Holder  bool
	Rows    []row
}

// row is a strip, or what is said of several that are like each other.
type row struct {
	ID, Target string // ids; no target: to its line in the table
	Kind       string
	Parts      []stretch
	Looks      []share100
	Woken      *share100
	Where      string // process and time
	Sentence   string
	Start, End string
	Fold       bool

	middle rem
	strip  *strip
}

// stretch is a part of a row.
type stretch struct {
	Kind        string
	Left, Width share100
	Label       string
	Before      bool // the label stands before it, there is no room behind
	Clip        bool // another stretch follows: the label must not cover it
	Cut         bool
	Text        share100 // where the label begins
	Rest        share100
}

type tick struct {
	At   share100
	Text string
	Weak bool // goes first where there is no room
}

type line struct {
	Kind   string // link; first, to a holder that did not end the wait; over, from a dead holder to its successor
	X1, X2 share100
	Y1, Y2 rem
}

// share100 is a share in percent, rem a length.
type (
	share100 float64
	rem      float64
)

func (s share100) String() string { return strconv.FormatFloat(float64(s), 'f', 3, 64) }
func (r rem) String() string      { return strconv.FormatFloat(float64(r), 'f', 2, 64) }

// The heights of page.css.
const (
	axisHeight rem = 1.75
	laneHead   rem = 3
	rowHeight  rem = 1.5
	laneFoot   rem = 0.75
)

// maxRows bounds what is drawn of a herd. What is beyond is counted.
const maxRows = 96

// drawing is what the report keeps of a trial.
type drawing struct {
	timing
	spans []span
}

// layOut draws a herd in a span of time, in ms. Hits in memory make no spans:
// they come from the records.
func (d *drawing) layOut(name string, t *test, span float64) *picture {
	strips := stripsOf(d.spans, &d.timing)
	who := make(map[string]*strip, len(strips))
	for _, b := range strips {
		who[b.trace] = b
	}
	p := &painter{
		picture: &picture{Name: name}, who: who, scale: max(span*1.01, 0.001), rows: make(map[*strip]*row),
		start: d.timing,
	}
	p.lanes(strips, t)
	p.axis()
	p.lines()
	return p.picture
}

type painter struct {
	*picture
	who   map[string]*strip
	scale float64 // ms
	rows  map[*strip]*row
	start timing
	next  int
}

func (p *painter) share(ms float64) share100 { return share100(100 * min(max(ms/p.scale, 0), 1)) }

// lanes gives each process its rows, of each kind not more than there is room for.
func (p *painter) lanes(strips []*strip, t *test) {
	records := make(map[int][]*record)
	for i := range t.records {
		r := &t.records[i]
		records[r.Process] = append(records[r.Process], r)
	}
	byProcess := make(map[int][]*strip)
	for _, b := range strips {
		byProcess[b.process] = append(byProcess[b.process], b)
	}
	var processes []int
	for id := range records {
		processes = append(processes, id)
	}
	slices.Sort(processes)
	limit := min(max(maxRows/max(len(processes), 1)/2, 3), 12)
	p.Height = axisHeight
	for _, id := range processes {
		l := lane{Process: id, Counts: counted(records[id])}
		for _, kind := range kindOrder {
			var some []*strip
			for _, b := range byProcess[id] {
				if b.kind == kind {
					some = append(some, b)
				}
			}
			p.addRows(&l, kind, some, limit)
		}
		if r, ok := p.memory(records[id]); ok {
			l.Rows = append(l.Rows, r)
		}
		l.badges(byProcess[id], &p.start)
		p.place(&l)
		p.Lanes = append(p.Lanes, l)
	}
	for i := range p.Lanes {
		for j := range p.Lanes[i].Rows {
			if r := &p.Lanes[i].Rows[j]; r.strip != nil {
				p.rows[r.strip] = r
			}
		}
	}
}

func (p *painter) addRows(l *lane, kind string, strips []*strip, limit int) {
	if kind == kindHit {
		limit = 1 // one hit is like another
	}
	if len(strips) == limit+1 {
		limit++ // a row that says "and one more" takes the room of that one
	}
	for _, b := range strips[:min(limit, len(strips))] {
		l.Rows = append(l.Rows, p.row(b))
	}
	if len(strips) > limit {
		l.Rows = append(l.Rows, p.fold(kind, strips[limit:]))
		p.Folded += len(strips) - limit
	}
}

func (p *painter) id() string {
	p.next++
	return fmt.Sprintf("%s-%d", p.Name, p.next)
}

func (p *painter) row(b *strip) row {
	r := row{ID: p.id(), Kind: b.kind, Sentence: b.sentence(p.who), Start: atText(b.start), End: atText(b.end), strip: b}
	r.Where = fmt.Sprintf("Process %d, at %s", b.process, r.Start)
	for i, part := range b.parts {
		r.Parts = append(r.Parts, p.stretch(part, i < len(b.parts)-1))
	}
	for _, at := range b.looks {
		r.Looks = append(r.Looks, p.share(at))
	}
	if b.woken && b.kind != kindLost {
		for _, part := range b.parts {
			if part.kind == kindWait || part.kind == kindFollow {
				at := p.share(part.end)
				r.Woken = &at
			}
		}
	}
	return r
}

func (p *painter) stretch(part part, more bool) stretch {
	s := stretch{Kind: part.kind, Left: p.share(part.start), Label: part.text, Clip: more, Cut: part.cut}
	s.Width = p.share(part.end) - s.Left
	s.Before = s.Left > 50 && !more
	s.Rest, s.Text = 100-s.Left, s.Left
	if end := s.Left + s.Width; (part.cut || part.kind == kindLost) && end < 50 {
		s.Text = end // the mark of the end stays free
	}
	return s
}

// fold is one row for many strips.
func (p *painter) fold(kind string, strips []*strip) row {
	lengths := make([]float64, len(strips))
	all := part{kind: kind, start: strips[0].start}
	for i, b := range strips {
		lengths[i] = b.length()
		all.start, all.end = min(all.start, b.start), max(all.end, b.end)
	}
	slices.Sort(lengths)
	rank := func(q float64) string { return millisText(lengths[int(math.Ceil(q*float64(len(lengths))))-1]) }
	all.text = fmt.Sprintf("and %s more %s like these, p50 %s, p99 %s",
		grouped(len(strips)), plural(len(strips), kindNames[kind][0], kindNames[kind][1]), rank(0.5), rank(0.99))
	return p.summary(all, strips[0].process)
}

func (p *painter) summary(all part, process int) row {
	return row{
		ID: p.id(), Kind: all.kind, Parts: []stretch{p.stretch(all, false)}, Fold: true,
		Where: fmt.Sprintf("Process %d", process), Sentence: all.text + ".", Start: atText(all.start), End: atText(all.end),
	}
}

// memory is one row for the hits in a process's memory.
func (p *painter) memory(records []*record) (row, bool) {
	all := part{kind: kindHit, start: math.Inf(1)}
	n := 0
	for _, r := range records {
		if r.Status == statusL1 {
			n++
			all.start, all.end = min(all.start, ms(r.Start)), max(all.end, ms(r.Start+r.Latency))
		}
	}
	if n == 0 {
		return row{}, false
	}
	all.text = count(n, "answer", "answers") + " from memory"
	return p.summary(all, records[0].Process), true
}

// place gives the rows of l their heights.
func (p *painter) place(l *lane) {
	p.Height += laneHead
	for i := range l.Rows {
		l.Rows[i].middle = p.Height + rowHeight/2
		p.Height += rowHeight
	}
	p.Height += laneFoot
}

func (l *lane) badges(strips []*strip, t *timing) {
	tookOver := false
	for _, b := range strips {
		l.Holder = l.Holder || b.holder
		tookOver = tookOver || b.tookOver
	}
	switch {
	case tookOver:
		l.Badges = append(l.Badges, "took over")
	case l.Holder:
		l.Badges = append(l.Badges, "holder")
	}
	if t.victim == l.Process {
		l.Badges = append(l.Badges, "killed")
	}
}

// counted says what became of a process's requests.
func counted(records []*record) string {
	n := make(map[string]int)
	for _, r := range records {
		n[r.Status]++
	}
	texts := []string{count(len(records), "request", "requests")}
	for _, c := range []struct{ status, one, many string }{
		{statusAPI, "API call", "API calls"}, {statusFilled, "waited for another process", "waited for another process"},
		{statusCoalesced, "waited in the process", "waited in the process"}, {statusL2, "L2 hit", "L2 hits"}, {statusL1, "L1 hit", "L1 hits"},
		{statusError, "error", "errors"}, {statusKilled, "lost", "lost"},
	} {
		if k := n[c.status]; k > 0 {
			texts = append(texts, count(k, c.one, c.many))
		}
	}
	return strings.Join(texts, " · ")
}

// axis puts ticks at round times, and the kill where it was.
func (p *painter) axis() {
	step := math.Pow(10, math.Floor(math.Log10(p.scale/4)))
	for _, m := range []float64{5, 2} {
		if p.scale/(step*m) >= 4 {
			step *= m
			break
		}
	}
	if p.start.victim != 0 {
		p.Killed = &tick{At: p.share(p.start.killed), Text: millisText(p.start.killed)}
	}
	for i := 0; float64(i)*step <= p.scale*0.97; i++ {
		t := tick{At: p.share(float64(i) * step), Text: number(float64(i) * step), Weak: i%2 == 1}
		if p.Killed != nil && i > 0 { // its mark needs room
			away := math.Abs(float64(t.At - p.Killed.At))
			t.Weak = t.Weak || away < 20
			if away < 7 {
				t.Text = ""
			}
		}
		p.Ticks = append(p.Ticks, t)
	}
}

// lines lead from the end of a wait to the end of the load that ended it, and
// from its beginning to a holder that did not live to end it.
func (p *painter) lines() {
	for i := range p.Lanes {
		for j := range p.Lanes[i].Rows {
			r := &p.Lanes[i].Rows[j]
			if r.strip == nil {
				continue
			}
			last := r.strip.waitsFor(p.who)
			if last == nil {
				continue
			}
			p.Known = true
			if t := p.rows[last]; t != nil {
				r.Target = t.ID
				end := r.strip.end
				for _, part := range r.strip.parts {
					if part.kind == kindWait || part.kind == kindFollow || part.kind == kindLost {
						end = part.end
					}
				}
				kind := "link"
				if r.strip.tookOver {
					kind = "over"
				}
				p.Lines = append(p.Lines, line{Kind: kind, X1: p.share(min(loaded(last), end)), Y1: t.middle, X2: p.share(end), Y2: r.middle})
			}
			if t := p.rows[p.who[r.strip.waitedFor[0]]]; t != nil && t.strip != last && t != r {
				x := p.share(r.strip.start)
				p.Lines = append(p.Lines, line{Kind: "first", X1: x, Y1: t.middle, X2: x, Y2: r.middle})
			}
		}
	}
}

// loaded is when what b did for others was done.
func loaded(b *strip) float64 {
	at := b.end
	for _, p := range b.parts {
		at = p.end
	}
	return at
}

// grouped writes 2480 as 2,480.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
