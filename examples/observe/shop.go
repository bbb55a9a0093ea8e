package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/otelx"
	"github.com/bellwethercache/bellwether/tier"
)

// item is what the shop's source has.
type item struct {
	Name  string
	Price int
}

// shop is a process's caches: one whose entries may be stale for a while, so
// that hardly anybody waits, and one whose entries may not.
type shop struct {
	products, prices *cache.Cache[string, item]
	watches          []func() error
	latency          time.Duration
	tracer           trace.Tracer
	loading          func(*loading)
}

var (
	productPolicy = cache.Policy{TTL: 4 * time.Second, StaleWhileRevalidate: 4 * time.Second, StaleIfError: time.Minute, RefreshAhead: 0.8}
	pricePolicy   = cache.Policy{TTL: 4 * time.Second, Jitter: 0.2}
)

func openShop(ctx context.Context, s *setup, t *telemetry, loading func(*loading)) (*shop, error) {
	sh := &shop{latency: s.Latency, tracer: t.tracer, loading: loading}
	var err error
	if sh.products, err = sh.open(ctx, s, t, "products", productPolicy); err != nil {
		return nil, err
	}
	if sh.prices, err = sh.open(ctx, s, t, "prices", pricePolicy); err != nil {
		return nil, errors.Join(err, sh.close())
	}
	return sh, nil
}

func (sh *shop) open(ctx context.Context, s *setup, t *telemetry, name string, p cache.Policy) (*cache.Cache[string, item], error) {
	memory, err := ristrettostore.New(&ristrettostore.Options{MaxEntries: 1000})
	if err != nil {
		return nil, err
	}
	store, err := valkeystore.Open(s.Valkey, &valkeystore.Options{Namespace: "observe-demo-" + name})
	if err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	telemetry := &otelx.Options{
		CacheName: name, TracerProvider: t.traces, MeterProvider: t.metrics,
		Key: func(key string) string { return key }, // it is nobody's secret what a shop sells
	}
	c, err := cache.New(sh.load, &cache.Options[string, item]{
		Name: name, Policy: p, LoadMany: sh.loadMany,
		Lease: lock.Options{Owner: s.Service},
		Hooks: otelx.Hooks(telemetry),
	}, tier.Local(memory, nil), tier.Remote(store, &tier.RemoteOptions{Budget: 250 * time.Millisecond}))
	if err != nil {
		return nil, errors.Join(err, memory.Close(), store.Close())
	}
	stop, err := otelx.Observe(telemetry, c.Stats)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	sh.watches = append(sh.watches, stop)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	store.Listen(ctx) // a service has been connected long before its stampede
	return c, nil
}

// hot begins the keys that are read all the time, of whose loads the parent
// need not know.
const hot = "hot-"

func (sh *shop) load(ctx context.Context, key string) (item, error) {
	if !strings.HasPrefix(key, hot) {
		sh.loading(&loading{Key: key, Trace: trace.SpanContextFromContext(ctx).TraceID().String()})
	}
	// The source's own span, as a database's client would make it.
	ctx, span := sh.tracer.Start(ctx, "SELECT item", trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	if err := pause(ctx, time.Duration(float64(sh.latency)*(0.8+0.4*rand.Float64()))); err != nil {
		return item{}, err
	}
	return item{Name: key, Price: len(key)}, nil
}

func (sh *shop) loadMany(ctx context.Context, keys []string) (map[string]item, error) {
	sh.loading(&loading{Key: keys[0], Trace: trace.SpanContextFromContext(ctx).TraceID().String()})
	ctx, span := sh.tracer.Start(ctx, "SELECT items", trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	if err := pause(ctx, sh.latency); err != nil {
		return nil, err
	}
	items := make(map[string]item, len(keys))
	for _, key := range keys {
		items[key] = item{Name: key, Price: len(key)}
	}
	return items, nil
}

const tick = 10 * time.Millisecond

// bustle reads hot keys, rate times a second, until ctx ends.
func (sh *shop) bustle(ctx context.Context, rate int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	every := time.NewTicker(tick)
	defer every.Stop()
	for owed := 0.0; ; {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		for owed += float64(rate) * tick.Seconds(); owed >= 1; owed-- {
			wg.Go(func() { // ends with its read
				c, n := sh.products, 40
				if rand.IntN(4) == 0 {
					c, n = sh.prices, 4
				}
				// The product of two makes some keys hotter than others. An error would be in the metrics.
				_, _ = c.Get(ctx, fmt.Sprint(hot, int(float64(n)*rand.Float64()*rand.Float64())))
			})
		}
	}
}

func (sh *shop) close() error {
	var errs []error
	for _, stop := range sh.watches {
		errs = append(errs, stop())
	}
	for _, c := range []*cache.Cache[string, item]{sh.products, sh.prices} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
