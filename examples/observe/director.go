package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// director plays the scenes and says where to look.
type director struct {
	*herd
	place  *place
	out    io.Writer
	began  time.Time
	run    string // tells this run's keys from an earlier one's
	round  int
	traces *sdktrace.TracerProvider // of the parent's own spans
	tracer trace.Tracer
}

func newDirector(ctx context.Context, h *herd, p *place, out io.Writer) (*director, error) {
	traces, err := startTraces(ctx, "gateway", p.otlp)
	if err != nil {
		return nil, err
	}
	d := &director{
		herd: h, place: p, out: out, began: time.Now(), traces: traces, tracer: traces.Tracer("examples/observe"),
	}
	if h.settings.valkey != "" {
		d.run = "-" + strconv.FormatInt(d.began.Unix(), 36)
	}
	return d, nil
}

// intermission is how long the herd is left to its usual business.
const intermission = 5 * time.Second

// play plays all scenes over and over until ctx ends.
func (d *director) play(ctx context.Context) error {
	for {
		d.round++
		for _, s := range scenes {
			if err := d.fill(ctx); err != nil { // one may have been killed
				return err
			}
			if err := s.play(d, ctx); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if err := pause(ctx, 300*time.Millisecond); err != nil {
				return err
			}
		}
		if err := pause(ctx, intermission); err != nil {
			return err
		}
	}
}

// say prints a scene's line, and below it where to look.
func (d *director) say(name, format string, args ...any) {
	t := time.Since(d.began).Round(time.Second)
	fmt.Fprintf(d.out, "\n%2d:%02d  %-15s %s\n", int(t.Minutes()), int(t.Seconds())%60, name, fmt.Sprintf(format, args...))
}

func (d *director) look(what, url string) {
	if url != "" {
		fmt.Fprintf(d.out, "       %-15s %s\n", what, url)
	}
}

// key names something that no earlier round has asked for.
func (d *director) key(name string) string { return fmt.Sprintf("%s%s-%d", name, d.run, d.round) }

// all gives every worker the same order, to begin at once, and waits.
func (d *director) all(ctx context.Context, o order) (collected, error) {
	o.At = time.Now().Add(50 * time.Millisecond).UnixMicro()
	ids := make(map[int]int)
	for i := range d.members {
		id, err := d.tell(i, o)
		if err != nil {
			return collected{}, err
		}
		ids[id] = i
	}
	return d.collect(ctx, ids)
}

// one gives worker i an order and waits.
func (d *director) one(ctx context.Context, i int, o order) (collected, error) {
	id, err := d.tell(i, o)
	if err != nil {
		return collected{}, err
	}
	return d.collect(ctx, map[int]int{id: i})
}

func (d *director) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = d.traces.Shutdown(ctx) // a Jaeger that is not there is in the SDK's messages
}
