package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// workerEnv is set for a process that is a worker of another one.
const workerEnv = "OBSERVE_WORKER"

// worker is one process of the herd.
type worker struct {
	out       *lines
	telemetry *telemetry
	shop      *shop
}

// serveWorker does what the lines in in say until in ends.
func serveWorker(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{out: newLines(out)}
	err := w.serve(ctx, json.NewDecoder(in), cancel)
	if err != nil {
		_ = w.out.send(news{Error: err.Error()}) // the parent may be gone
	}
	if w.shop != nil {
		err = errors.Join(err, w.shop.close())
	}
	if w.telemetry != nil {
		// A Jaeger that is not there is the user's to see in the SDK's messages.
		_ = w.telemetry.stop()
	}
	return err
}

func (w *worker) serve(ctx context.Context, in *json.Decoder, cancel func()) (err error) {
	defer cancel()
	var s setup
	if err := in.Decode(&s); err != nil {
		return err
	}
	if w.telemetry, err = startTelemetry(ctx, &s); err != nil {
		return err
	}
	report := func(l *loading) { _ = w.out.send(news{Loading: l}) }
	if w.shop, err = openShop(ctx, &s, w.telemetry, report); err != nil {
		return err
	}
	if err := w.out.send(news{Ready: w.telemetry.addr}); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // first: what runs is wanted no more
	wg.Go(func() { w.shop.bustle(ctx, s.Rate) })
	for {
		var o order
		if in.Decode(&o) != nil {
			return nil // the parent has no more, or is gone
		}
		wg.Go(func() { _ = w.out.send(news{Done: w.obey(ctx, &o)}) })
	}
}

// obey lets the order's callers do its work at once.
func (w *worker) obey(ctx context.Context, o *order) *done {
	if o.Parent != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": o.Parent})
	}
	if o.At != 0 {
		_ = pause(ctx, time.Until(time.UnixMicro(o.At)))
	}
	d := &done{ID: o.ID}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range max(o.Callers, 1) {
		wg.Go(func() { // ends with its request
			stale, id, err := w.request(ctx, o)
			mu.Lock()
			defer mu.Unlock()
			if stale {
				d.Stale++
			}
			if d.Trace == "" || err != nil {
				d.Trace = id
			}
			if err != nil {
				d.Failed++
			} else {
				d.OK++
			}
		})
	}
	wg.Wait()
	return d
}

// request is one request to the shop. What the cache does is in its trace.
func (w *worker) request(ctx context.Context, o *order) (stale bool, id string, err error) {
	if o.Patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Patience)
		defer cancel()
	}
	ctx, span := w.telemetry.tracer.Start(ctx, "shop."+o.Do, trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	switch o.Do {
	case doMany:
		_, err = w.shop.products.GetMany(ctx, o.Keys)
	case doSet:
		err = w.shop.products.Set(ctx, o.Keys[0], item{Name: o.Keys[0]})
	case doExpire:
		err = w.shop.products.Expire(ctx, o.Keys...)
	default:
		got, e := w.shop.products.GetEntry(ctx, o.Keys[0])
		stale, err = got.Stale, e
	}
	if err != nil {
		span.SetStatus(codes.Error, "no answer")
	}
	return stale, span.SpanContext().TraceID().String(), err
}
