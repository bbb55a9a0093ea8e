package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// interact asks for the settings, runs, and asks what next, until its user has
// had enough or the input ends.
func interact(ctx context.Context, s *settings, c console, out *paper) error {
	q := &questions{in: bufio.NewScanner(c.in), out: out}
	var last error
	for change := true; ; {
		if change {
			if err := q.settings(ctx, s); err != nil {
				return quietEnd(err, last)
			}
		}
		if last = once(ctx, s, c, out); last != nil && !errors.Is(last, errNotPrevented) {
			return last
		}
		next, err := q.menu(ctx)
		if err != nil || next == "q" {
			return quietEnd(err, last)
		}
		change = next == "c"
	}
}

// quietEnd takes the end of the input for a wish to stop.
func quietEnd(err, last error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return last
	}
	return err
}

// questions are put on paper, a line at a time.
type questions struct {
	in  *bufio.Scanner
	out *paper
}

// ask returns the next line of input, or what an empty one stands for.
func (q *questions) ask(ctx context.Context, question, fallback string) (string, error) {
	fmt.Fprintf(q.out.w, "%s [%s]: ", question, fallback)
	q.out.flush()
	line := make(chan string, 1)
	go func() { // ends with a line; at the program's end one may still be awaited
		defer close(line)
		if q.in.Scan() {
			line <- strings.TrimSpace(q.in.Text())
		}
	}()
	select {
	case text, ok := <-line:
		switch {
		case !ok:
			q.out.line("")
			return "", io.EOF
		case text == "":
			return fallback, nil
		}
		return text, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// menu returns r, c or q.
func (q *questions) menu(ctx context.Context) (string, error) {
	for {
		answer, err := q.ask(ctx, "\n[r]un again, [c]hange the settings, [q]uit", "q")
		if err != nil {
			return "", err
		}
		switch next := strings.ToLower(answer[:1]); next {
		case "r", "c", "q":
			return next, nil
		}
		q.out.warning("must be r, c or q")
	}
}

// settings asks for what matters most. What makes no sense is asked for again.
func (q *questions) settings(ctx context.Context, s *settings) error {
	for {
		for _, item := range []struct {
			question, now string
			value         flag.Value
		}{
			{"Requests for each city", fmt.Sprint(s.requests), &whole{&s.requests, 1, 10000}},
			{"Threads", fmt.Sprint(s.threads), &whole{&s.threads, 1, 100}},
			{"Cities", fmt.Sprint(s.cities), &whole{&s.cities, 1, 5}},
			{"Processes", fmt.Sprint(s.processes), &whole{&s.processes, 1, 16}},
			{"Lock TTL in ms", fmt.Sprint(s.lockTTL.Milliseconds()), &millis{&s.lockTTL, 10 * time.Millisecond, time.Minute}},
			{"Protection (none, naive, full, compare)", s.protection,
				&oneOf{&s.protection, []string{protectNone, protectNaive, protectFull, protectCompare}}},
		} {
			if err := q.fill(ctx, item.question, item.now, item.value); err != nil {
				return err
			}
		}
		err := s.contradictions(nil)
		if err == nil {
			return nil
		}
		q.out.warning(err.Error())
	}
}

func (q *questions) fill(ctx context.Context, question, now string, v flag.Value) error {
	for {
		text, err := q.ask(ctx, question, now)
		if err != nil {
			return err
		}
		if err = v.Set(text); err == nil {
			return nil
		}
		q.out.warning(err.Error())
	}
}
