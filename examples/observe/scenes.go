package main

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// scenes are what the herd does beside its usual business, in this order.
var scenes = []struct {
	name string
	play func(*director, context.Context) error
}{
	{"cold key", (*director).coldKey},
	{"one page", (*director).onePage},
	{"stale", (*director).stale},
	{"batch", (*director).batch},
	{"impatience", (*director).impatience},
	{"kill -9", (*director).killedHolder},
	{"outage", (*director).outage},
}

const crowd = 20 // callers in each process

// coldKey: everybody wants at once what nobody has. Each request is a trace of
// its own; links lead from those who wait to the one that loads.
func (d *director) coldKey(ctx context.Context) error {
	c, err := d.all(ctx, order{Do: doGet, Keys: []string{d.key("kettle")}, Callers: crowd})
	if err != nil {
		return err
	}
	d.say("cold key", "%d reads at once in %d processes: %s", c.OK+c.Failed, len(d.members), d.count(c))
	for _, l := range c.loads {
		d.look("the load", d.place.trace(l.Trace))
		for i := range d.members {
			d.look("waited, "+serviceName(i), d.place.waiters(serviceName(i), l.Trace))
		}
	}
	return nil
}

// onePage: three processes want it for the sake of one request, so that all is
// in one trace.
func (d *director) onePage(ctx context.Context) error {
	sctx, span := d.tracer.Start(ctx, "GET /checkout", trace.WithSpanKind(trace.SpanKindServer))
	parent := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(sctx, parent)
	c, err := d.all(ctx, order{Do: doGet, Keys: []string{d.key("toaster")}, Callers: 2, Parent: parent["traceparent"]})
	span.End()
	if err != nil {
		return err
	}
	d.say("one page", "one request that asks all %d processes: %s", len(d.members), d.count(c))
	d.look("its trace", d.place.trace(span.SpanContext().TraceID().String()))
	return nil
}

// stale: what has expired is served while one process refreshes it.
func (d *director) stale(ctx context.Context) error {
	keys := []string{d.key("lamp")}
	for _, do := range []string{doSet, doExpire} {
		if _, err := d.one(ctx, 0, order{Do: do, Keys: keys}); err != nil {
			return err
		}
	}
	c, err := d.all(ctx, order{Do: doGet, Keys: keys, Callers: 3})
	if err != nil {
		return err
	}
	if len(c.loads) == 0 {
		l, err := d.awaitLoad(ctx, keys[0])
		if err != nil {
			return err
		}
		c.loads = append(c.loads, l)
	}
	d.say("stale", "%d reads of an expired key, %d of them served stale at once; %s, in the background", c.OK+c.Failed, c.Stale, d.count(c))
	d.look("the refresh", d.place.trace(c.loads[0].Trace))
	return nil
}

// batch: two processes want several, some of them the same.
func (d *director) batch(ctx context.Context) error {
	var keys []string
	for _, name := range []string{"fork", "knife", "spoon", "plate", "bowl", "cup", "glass", "jug", "tray"} {
		keys = append(keys, d.key(name))
	}
	ids := make(map[int]int)
	for i, want := range [][]string{keys[:6], keys[3:]} {
		id, err := d.tell(i, order{Do: doMany, Keys: want})
		if err != nil {
			return err
		}
		ids[id] = i
	}
	c, err := d.collect(ctx, ids)
	if err != nil {
		return err
	}
	d.say("batch", "two processes want 6 keys each, 3 of them the same: %d calls of the loader", len(c.loads))
	for _, l := range c.loads {
		d.look(serviceName(l.by), d.place.trace(l.Trace))
	}
	return nil
}

// impatience: a caller's deadline is shorter than the load that it waits for.
func (d *director) impatience(ctx context.Context) error {
	keys := []string{d.key("clock")}
	id, err := d.tell(0, order{Do: doGet, Keys: keys})
	if err != nil {
		return err
	}
	l, err := d.awaitLoad(ctx, keys[0])
	if err != nil {
		return err
	}
	c, err := d.one(ctx, 1, order{Do: doGet, Keys: keys, Patience: d.settings.latency / 5})
	if err != nil {
		return err
	}
	d.say("impatience", "%d of 1 callers gave up on a load of %v with %v to spare", c.Failed, d.settings.latency, d.settings.latency/5)
	d.look("gave up", d.place.trace(c.Trace))
	d.look("the load", d.place.trace(l.Trace))
	_, err = d.collect(ctx, map[int]int{id: 0})
	return err
}

// killedHolder: the process that loads is killed; another takes over.
func (d *director) killedHolder(ctx context.Context) error {
	keys := []string{d.key("mirror")}
	victim := d.round % len(d.members)
	last, err := d.tell(victim, order{Do: doGet, Keys: keys})
	if err != nil {
		return err
	}
	if _, err := d.awaitLoad(ctx, keys[0]); err != nil {
		return err
	}
	ids := map[int]int{last: victim} // which ends with it
	for i := range d.members {
		if i == victim {
			continue
		}
		id, err := d.tell(i, order{Do: doGet, Keys: keys, Callers: 3})
		if err != nil {
			return err
		}
		ids[id] = i
	}
	if err := pause(ctx, d.settings.latency/3); err != nil { // until they wait
		return err
	}
	killed := time.Now()
	if err := d.kill(victim); err != nil {
		return err
	}
	c, err := d.collect(ctx, ids)
	if err != nil {
		return err
	}
	d.say("kill -9", "%s held the lease and was killed: %s, %v later all had their answer", serviceName(victim), d.count(c),
		time.Since(killed).Round(time.Millisecond))
	for _, l := range c.loads {
		d.look("took over", d.place.trace(l.Trace))
	}
	return nil
}

// outage: Valkey stands still. Every process loads for itself.
func (d *director) outage(ctx context.Context) error {
	if d.place.hang == nil {
		d.say("outage", "not played: the Valkey is yours")
		return nil
	}
	if err := d.place.hang(); err != nil {
		return err
	}
	c, err := d.all(ctx, order{Do: doGet, Keys: []string{d.key("candle")}, Callers: 3})
	if e := d.place.heal(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	d.say("outage", "Valkey stood still: %d reads answered, %d failed, %d loads in %d processes", c.OK, c.Failed, len(c.loads), len(d.members))
	d.look("degraded", d.place.trace(c.Trace))
	return pause(ctx, 2*time.Second) // until the breakers have closed
}

// count says how many loads there were, and whose.
func (d *director) count(c collected) string {
	switch len(c.loads) {
	case 0:
		return "no load"
	case 1:
		return "1 load, by " + serviceName(c.loads[0].by)
	}
	return fmt.Sprintf("%d loads", len(c.loads))
}
