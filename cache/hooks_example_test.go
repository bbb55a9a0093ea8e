package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// logHooks logs what changes, not what happens: that the shared tier is no longer
// asked, and that it is again; that changes by others are heard of, or not; that the source fails, and that it has not failed
// for calm; each kind of advice once. So an outage costs two lines, however long
// it is and however many requests it meets.
//
// It logs no keys: they may be personal data. The source's error is the
// program's own: leave it out if it quotes what it should not.
func logHooks(log *slog.Logger, calm time.Duration) cache.Hooks {
	source := &health{calm: calm}
	var advised sync.Map // of lock.WarningCode
	return cache.Hooks{
		LoadDone: func(ctx context.Context, l cache.LoadDone) {
			failed := l.Err != nil && !errors.Is(l.Err, cache.ErrNotFound) && !errors.Is(l.Err, context.Canceled)
			switch changed := source.saw(failed); {
			case changed && failed:
				log.WarnContext(ctx, "the source fails", "error", l.Err)
			case changed:
				log.InfoContext(ctx, "the source works again")
			}
		},
		Tier: tier.Hooks{
			Breaker: func(ctx context.Context, b tier.Breaker) {
				if b.Open {
					log.WarnContext(ctx, "the shared tier is not asked for now", "tier", b.Tier)
				} else {
					log.InfoContext(ctx, "the shared tier is asked again", "tier", b.Tier)
				}
			},
			Hearing: func(ctx context.Context, h tier.Hearing) {
				if h.Heard {
					log.InfoContext(ctx, "changes by other processes are heard", "tier", h.Tier)
				} else {
					log.WarnContext(ctx, "changes by other processes are not heard for now", "tier", h.Tier)
				}
			},
		},
		Warn: func(ctx context.Context, w lock.Warning) {
			if _, before := advised.LoadOrStore(w.Code, true); !before {
				log.WarnContext(ctx, w.Message, "code", string(w.Code))
			}
		},
	}
}

// health is whether something works. One failure ends it; one success is not
// enough to restore it, or what fails half of the time would change all the time.
type health struct {
	calm time.Duration

	mu   sync.Mutex
	bad  bool
	last time.Time // of a failure
}

// saw takes a result and reports whether the health has changed.
func (h *health) saw(failed bool) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if failed {
		h.last = time.Now()
	} else if h.bad && time.Since(h.last) < h.calm {
		return false
	}
	changed = h.bad != failed
	h.bad = failed
	return changed
}

// outage is a store whose server can be away.
type outage struct {
	backend.Store
	down  atomic.Bool
	asked atomic.Int64 // while it was there
}

func (o *outage) call() error {
	if o.down.Load() {
		return backend.ErrUnavailable
	}
	o.asked.Add(1)
	return nil
}

func (o *outage) Get(ctx context.Context, key string) ([]byte, error) {
	if err := o.call(); err != nil {
		return nil, err
	}
	return o.Store.Get(ctx, key)
}

func (o *outage) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := o.call(); err != nil {
		return err
	}
	return o.Store.Set(ctx, key, value, ttl)
}

// A thousand reads meet an outage of the shared tier, and the log says it once.
func ExampleHooks() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{} // else no two runs print the same
			}
			return a
		},
	}))
	store := &outage{Store: memstore.NewStore()}
	store.down.Store(true)
	squares, err := cache.New(
		func(_ context.Context, n int) (int, error) { return n * n, nil },
		&cache.Options[int, int]{Name: "squares", Hooks: logHooks(logger.With("cache", "squares"), 10*time.Second)},
		tier.Remote(store, &tier.RemoteOptions{BreakerOpen: time.Millisecond}))
	if err != nil {
		log.Fatal(err)
	}
	defer squares.Close()
	n, answers := 0, 0
	read := func() {
		if v, err := squares.Get(context.Background(), n); err == nil && v == n*n {
			answers++
		}
		n++
	}
	for range 1000 {
		read()
	}
	store.down.Store(false)
	for end := time.Now().Add(10 * time.Second); store.asked.Load() == 0 && time.Now().Before(end); {
		read()
	}
	fmt.Println("all answered:", answers == n)
	// Output:
	// level=WARN msg="cache \"squares\": the farthest store does not lease (backend.Leaser), so each process loads for itself" cache=squares code=fallback
	// level=WARN msg="the shared tier is not asked for now" cache=squares tier=1
	// level=INFO msg="the shared tier is asked again" cache=squares tier=1
	// all answered: true
}
