package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// paper is what text is written on, coloured only on a terminal.
type paper struct {
	w      *bufio.Writer
	colour bool
}

func (p *paper) flush() { _ = p.w.Flush() } // a reader that has gone wants no more

func (p *paper) line(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

// The styles, as SGR codes.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (p *paper) style(code, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// heading is a line over a section.
func (p *paper) heading(text string) {
	p.line("")
	p.line("%s", p.style(bold, text))
	p.line("%s", p.style(dim, strings.Repeat("─", utf8.RuneCountInString(text))))
}

// verdict is a tick or a cross and a text, coloured alike.
func (p *paper) verdict(ok bool, text string) string {
	if ok {
		return p.style(green, "✓ "+text)
	}
	return p.style(red, "✗ "+text)
}

func (p *paper) warning(text string) { p.line("  %s", p.style(yellow, "! "+text)) }

// cell is a text of a table and the style it is written in.
type cell struct{ text, style string }

func plain(texts ...string) []cell {
	row := make([]cell, len(texts))
	for i, t := range texts {
		row[i].text = t
	}
	return row
}

// table writes rows in columns. right says which columns are aligned right.
func (p *paper) table(rows [][]cell, right ...bool) {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		b.WriteString("  ")
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			text := c.text
			if c.style != "" {
				text = p.style(c.style, text)
			}
			switch {
			case i < len(right) && right[i]:
				text = pad + text
			case i < len(row)-1:
				text += pad
			}
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(text)
		}
		p.line("%s", strings.TrimRight(b.String(), " "))
	}
}

// bar shows progress on a line of its own that it clears at the end. Without a
// writer it shows nothing.
type bar struct {
	w     io.Writer
	label string
	total int
	shown int
}

const barWidth = 30

func (b *bar) begin(label string, total int) {
	b.label, b.total, b.shown = label, total, -1
	b.set(0)
}

func (b *bar) set(done int) {
	if b.w == nil || done == b.shown || b.total == 0 {
		return
	}
	b.shown = done
	full := barWidth * min(done, b.total) / b.total
	fmt.Fprintf(b.w, "\r\x1b[K  %s  %s%s  %d/%d", b.label,
		strings.Repeat("█", full), strings.Repeat("░", barWidth-full), done, b.total)
}

func (b *bar) end() {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

// number writes a figure with at most one decimal, without a needless one.
func number(x float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(x, 'f', 1, 64), ".0")
}

// millisText writes milliseconds as people read them.
func millisText(x float64) string {
	switch {
	case x == 0:
		return "–"
	case x < 0.001:
		return strconv.FormatFloat(1e6*x, 'f', 0, 64) + " ns"
	case x < 1:
		return strconv.FormatFloat(1000*x, 'f', 0, 64) + " µs"
	case x < 10:
		return strconv.FormatFloat(x, 'f', 1, 64) + " ms"
	}
	return strconv.FormatFloat(x, 'f', 0, 64) + " ms"
}
