package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// The ways to put a cache before the API, and compare, which is all of them.
const (
	protectNone    = "none"
	protectNaive   = "naive"
	protectFull    = "full"
	protectCompare = "compare"
)

const (
	namespace = "stampede-demo" // begins every key that the demo writes
	entryTTL  = 5 * time.Minute
)

// protection answers requests from a cache before the API.
type protection interface {
	get(ctx context.Context, c city) (weather, error)
	close() error
}

// openProtection opens the one that the parent asks for.
func openProtection(ctx context.Context, s *setup, src *source, tracer trace.Tracer, hooks cache.Hooks) (protection, error) {
	switch s.Protection {
	case protectFull:
		return openFull(ctx, s, src, hooks)
	case protectNaive:
		return openNaive(s, src, tracer)
	}
	return openNone(s, src, tracer)
}

// full is Bellwether: two tiers, coalescing in the process, a lease between
// processes.
type full struct {
	cache *cache.Cache[city, weather]
}

func openFull(ctx context.Context, s *setup, src *source, hooks cache.Hooks) (*full, error) {
	memory, err := ristrettostore.New(&ristrettostore.Options{MaxEntries: 1000})
	if err != nil {
		return nil, err
	}
	store, err := valkeystore.Open(s.Valkey, &valkeystore.Options{Namespace: namespace})
	if err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	c, err := cache.New(src.load, &cache.Options[city, weather]{
		Name:   cacheName,
		Policy: cache.Policy{TTL: entryTTL},
		Key:    city.key,
		Lease: lock.Options{
			TTL:     s.LockTTL,
			MaxWait: max(30*time.Second, s.LockTTL+10*time.Second), // outlast the lease of a holder that died
			Owner:   fmt.Sprintf("stampede-%d", s.Process),
		},
		Hooks: hooks,
	}, tier.Local(memory, nil), tier.Remote(store, &tier.RemoteOptions{
		Budget: time.Second, // the herd may starve the server, which is on the same machine
	}))
	if err != nil {
		return nil, errors.Join(err, memory.Close(), store.Close())
	}
	// A service has been connected, and listened for the ends of leases, long
	// before its stampede. A server that is not there is given up on.
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	store.Listen(ctx)
	return &full{cache: c}, nil
}

func (f *full) get(ctx context.Context, c city) (weather, error) { return f.cache.Get(ctx, c) }

// live reports whether a tier tells its waiters that a holder has died.
func (f *full) live() bool {
	return slices.ContainsFunc(f.cache.Stats().Tiers, func(t tier.Stats) bool { return t.WakeMode == backend.WakeLive })
}

func (f *full) close() error { return f.cache.Close() }

// observe adds to hooks what fills the records of requests. A hit in this
// process's memory calls no hook: that is what a record says by default.
func observe(hooks cache.Hooks, warn func(string)) cache.Hooks {
	return cache.JoinHooks(hooks, cache.Hooks{
		GetDone: func(ctx context.Context, info cache.GetDone) {
			if info.Result == cache.ResultHit && info.Tier > 1 || info.Result == cache.ResultFilled {
				tracked(ctx).set(func(t *track) { t.remote = true })
			}
		},
		WaitDone: func(ctx context.Context, info cache.WaitDone) { tracked(ctx).waited(info.Waited) },
		Warn:     func(_ context.Context, w lock.Warning) { warn(w.Message) },
		Lock: lock.Hooks{
			Contended: func(ctx context.Context, _ lock.Contended) {
				tracked(ctx).set(func(t *track) { t.rec.Lock = lockHeld })
			},
			Retry: func(ctx context.Context, _ lock.Retry) {
				tracked(ctx).set(func(t *track) { t.rec.Retries++ })
			},
			AcquireDone: func(ctx context.Context, info lock.AcquireDone) {
				t := tracked(ctx)
				if info.Waited > 0 {
					t.waited(info.Waited)
				}
				t.set(func(t *track) {
					t.rec.TimedOut = info.Outcome == lock.OutcomeTimeout
					if info.Outcome == lock.OutcomeAcquired {
						t.rec.Lock = lockAcquired
					}
				})
			},
		},
	})
}
