package main

import (
	"context"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/bellwethercache/bellwether/otelx"
)

// span is what the timeline needs of an OpenTelemetry span. All processes are
// on one machine, so its wall-clock times are comparable.
type span struct {
	Trace  string `json:"t"`
	ID     string `json:"i"`
	Parent string `json:"p,omitempty"`
	Name   string `json:"n"` // without the cache's name
	Start  int64  `json:"s"` // µs
	End    int64  `json:"e,omitempty"`

	Attrs   map[string]string `json:"a,omitempty"` // of drawnAttrs
	Links   []string          `json:"l,omitempty"` // to traces
	Retries []int64           `json:"r,omitempty"` // µs
	Failed  bool              `json:"f,omitempty"`

	process int
}

// drawnAttrs are the attributes that the timeline knows how to draw.
var drawnAttrs = map[attribute.Key]bool{
	otelx.AttrLockOutcome: true, otelx.AttrLockScope: true, otelx.AttrLockPushed: true, otelx.AttrLockTookOver: true,
	otelx.AttrFillRole: true, otelx.AttrResult: true, otelx.AttrErrorType: true,
}

// spanFeed is a span processor that passes a worker's spans on to the parent,
// beside whatever exports them. A span is told of when it starts as well: one
// that a killed process had open would else be unknown.
type spanFeed struct {
	send func([]span)

	sending sync.Mutex // keeps the order
	mu      sync.Mutex
	pending []span
	ready   chan struct{}
	stop    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
}

func newSpanFeed(send func([]span)) *spanFeed {
	f := &spanFeed{send: send, ready: make(chan struct{}, 1), stop: make(chan struct{})}
	f.wg.Go(func() {
		for {
			select {
			case <-f.ready:
				f.flush()
			case <-f.stop:
				return
			}
		}
	})
	return f
}

// OnStart implements sdktrace.SpanProcessor.
func (f *spanFeed) OnStart(_ context.Context, s sdktrace.ReadWriteSpan) { f.add(s, false) }

// OnEnd implements sdktrace.SpanProcessor.
func (f *spanFeed) OnEnd(s sdktrace.ReadOnlySpan) { f.add(s, true) }

// ForceFlush implements sdktrace.SpanProcessor.
func (f *spanFeed) ForceFlush(context.Context) error {
	f.flush()
	return nil
}

// Shutdown implements sdktrace.SpanProcessor.
func (f *spanFeed) Shutdown(context.Context) error {
	f.once.Do(func() { close(f.stop) })
	f.wg.Wait()
	f.flush()
	return nil
}

func (f *spanFeed) add(s sdktrace.ReadOnlySpan, ended bool) {
	one := wireSpan(s, ended)
	f.mu.Lock()
	f.pending = append(f.pending, one)
	f.mu.Unlock()
	select {
	case f.ready <- struct{}{}:
	default: // the goroutine has yet to come for what is there
	}
}

// flush sends what is pending: more at once, the slower the parent reads.
func (f *spanFeed) flush() {
	f.sending.Lock()
	defer f.sending.Unlock()
	f.mu.Lock()
	batch := f.pending
	f.pending = nil
	f.mu.Unlock()
	if len(batch) > 0 {
		f.send(batch)
	}
}

func wireSpan(s sdktrace.ReadOnlySpan, ended bool) span {
	name, _, _ := strings.Cut(s.Name(), " ")
	w := span{
		Trace: s.SpanContext().TraceID().String(), ID: s.SpanContext().SpanID().String(),
		Name: name, Start: s.StartTime().UnixMicro(), Failed: s.Status().Code == codes.Error,
	}
	if s.Parent().IsValid() {
		w.Parent = s.Parent().SpanID().String()
	}
	if ended {
		w.End = s.EndTime().UnixMicro()
	}
	for _, a := range s.Attributes() {
		if drawnAttrs[a.Key] {
			if w.Attrs == nil {
				w.Attrs = make(map[string]string)
			}
			w.Attrs[string(a.Key)] = a.Value.String()
		}
	}
	for _, l := range s.Links() {
		w.Links = append(w.Links, l.SpanContext.TraceID().String())
	}
	for _, e := range s.Events() {
		if e.Name == otelx.EventRetry {
			w.Retries = append(w.Retries, e.Time.UnixMicro())
		}
	}
	return w
}

// spanBook is the spans of one herd, from the parent's side.
type spanBook struct {
	byID  map[string]int
	spans []span
}

// add takes the news of a process: a span's end replaces its start.
func (b *spanBook) add(process int, news []span) {
	if b.byID == nil {
		b.byID = make(map[string]int)
	}
	for _, s := range news {
		s.process = process
		if i, ok := b.byID[s.ID]; ok {
			b.spans[i] = s
			continue
		}
		b.byID[s.ID] = len(b.spans)
		b.spans = append(b.spans, s)
	}
}

// since returns the spans that began at or after a time, in µs: those of an
// earlier herd may still have ended during this one.
func (b *spanBook) since(zero int64) []span {
	var all []span
	for _, s := range b.spans {
		if s.Start >= zero {
			all = append(all, s)
		}
	}
	return all
}
