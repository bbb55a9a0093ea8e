package locktest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/internal/kit"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/lock/memlock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReferencePasses(t *testing.T) {
	Run(t, Harness{New: func(testing.TB) lock.Driver { return new(memlock.Driver) }, Bubble: true, Wakes: true})
}

// broken is a driver with one thing wrong.
type broken struct {
	memlock.Driver
	acquire func(ctx context.Context, key string, req lock.Request) (lock.Grant, error)
	renew   func(ctx context.Context, key, token string, ttl time.Duration) (bool, error)
	release func(ctx context.Context, key, token string) (bool, error)
	watch   func(key string, wake func()) (stop func())
	wake    func() // of the last watch
}

func (b *broken) Watch(key string, wake func()) (stop func()) {
	if b.watch != nil {
		return b.watch(key, wake)
	}
	return b.Driver.Watch(key, wake)
}

func (b *broken) Acquire(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
	if b.acquire != nil {
		return b.acquire(ctx, key, req)
	}
	return b.Driver.Acquire(ctx, key, req)
}

func (b *broken) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if b.renew != nil {
		return b.renew(ctx, key, token, ttl)
	}
	return b.Driver.Renew(ctx, key, token, ttl)
}

func (b *broken) Release(ctx context.Context, key, token string) (bool, error) {
	if b.release != nil {
		return b.release(ctx, key, token)
	}
	return b.Driver.Release(ctx, key, token)
}

// TestBrokenDriversFail breaks one rule at a time and expects the cases that
// are meant for it, and no others.
func TestBrokenDriversFail(t *testing.T) {
	for name, tc := range map[string]struct {
		fails []string
		wreck func(b *broken)
	}{
		"forgets who holds": {[]string{"exclusive"}, func(b *broken) {
			b.acquire = func(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
				g, err := b.Driver.Acquire(ctx, key, req)
				g.Holder = lock.Holder{Remaining: g.Holder.Remaining}
				return g, err
			}
		}},
		"refuses its own token": {[]string{"idempotent"}, func(b *broken) {
			b.acquire = func(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
				if ok, _ := b.Driver.Renew(ctx, key, req.Token, req.TTL); ok {
					return lock.Grant{Status: lock.Held}, nil
				}
				return b.Driver.Acquire(ctx, key, req)
			}
		}},
		"one fence for all": {[]string{"fence"}, func(b *broken) {
			b.acquire = func(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
				g, err := b.Driver.Acquire(ctx, key, req)
				if g.Status == lock.Won {
					g.Fence = 1
				}
				return g, err
			}
		}},
		"creates leases by renewing": {[]string{"expire", "late-request", "renew"}, func(b *broken) {
			b.renew = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
				g, err := b.Driver.Acquire(ctx, key, lock.Request{Token: token, TTL: ttl})
				return g.Status == lock.Won && err == nil, err
			}
		}},
		"renews for nothing": {[]string{"renew"}, func(b *broken) {
			b.renew = func(ctx context.Context, key, token string, _ time.Duration) (bool, error) {
				return b.Driver.Renew(ctx, key, token, time.Millisecond)
			}
		}},
		"says it released": {[]string{"expire", "late-request", "release", "wake-foreign"}, func(b *broken) {
			b.release = func(ctx context.Context, key, token string) (bool, error) {
				_, err := b.Driver.Release(ctx, key, token)
				return true, err
			}
		}},
		"never expires": {[]string{"expire", "tiny-ttl"}, func(b *broken) {
			b.acquire = func(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
				ttl := req.TTL
				req.TTL = 1000 * time.Hour
				g, err := b.Driver.Acquire(ctx, key, req)
				g.Holder.Remaining = min(g.Holder.Remaining, ttl)
				return g, err
			}
		}},
		"refuses tiny ttls": {[]string{"tiny-ttl"}, func(b *broken) {
			b.acquire = func(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
				if req.TTL < time.Millisecond {
					return lock.Grant{}, errors.New("invalid expire time")
				}
				return b.Driver.Acquire(ctx, key, req)
			}
		}},
		"cuts keys": {[]string{"keys"}, func(b *broken) {
			b.acquire = func(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
				return b.Driver.Acquire(ctx, key[:min(len(key), 100)], req)
			}
		}},
		"lets everybody win": {[]string{"exclusive", "expire", "race", "release", "renew", "wake-foreign", "wake-release", "wake-stopped"}, func(b *broken) {
			b.acquire = func(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
				g, err := b.Driver.Acquire(ctx, key, req)
				if err == nil && g.Status != lock.Won {
					g = lock.Grant{Status: lock.Won, Fence: 1 << 40}
				}
				return g, err
			}
		}},
		"never wakes": {[]string{"wake-release", "wake-race", "wake-stopped"}, func(b *broken) {
			b.watch = func(string, func()) func() { return func() {} }
		}},
		"wakes at every turn": {[]string{"wake-foreign"}, func(b *broken) {
			b.renew = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
				ok, err := b.Driver.Renew(ctx, key, token, ttl)
				if b.wake != nil {
					b.wake()
				}
				return ok, err
			}
			b.watch = func(key string, wake func()) func() {
				b.wake = wake
				return b.Driver.Watch(key, wake)
			}
		}},
		"wakes after stop": {[]string{"wake-stopped"}, func(b *broken) {
			b.watch = func(key string, wake func()) func() {
				b.Driver.Watch(key, wake)
				return func() {}
			}
		}},
		"wakes the first only": {[]string{"wake-release", "wake-stopped"}, func(b *broken) {
			first := map[string]bool{}
			b.watch = func(key string, wake func()) func() {
				if first[key] {
					return func() {}
				}
				first[key] = true
				return b.Driver.Watch(key, wake)
			}
		}},
		"promises no push": {[]string{"wake-foreign", "wake-release", "wake-stopped"}, func(b *broken) {
			b.acquire = func(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
				g, err := b.Driver.Acquire(ctx, key, req)
				g.Pushed = false
				return g, err
			}
		}},
		"ignores contexts": {[]string{"context"}, func(b *broken) {
			b.release = func(ctx context.Context, key, token string) (bool, error) {
				return b.Driver.Release(context.WithoutCancel(ctx), key, token)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := kit.Failed(t, Harness{Bubble: true, Wakes: true, New: func(testing.TB) lock.Driver {
				b := new(broken)
				tc.wreck(b)
				return b
			}}, Harness{Wakes: true}.cases())
			slices.Sort(got)
			slices.Sort(tc.fails)
			if !slices.Equal(got, tc.fails) {
				t.Errorf("fails %q, want %q", got, tc.fails)
			}
		})
	}
}
