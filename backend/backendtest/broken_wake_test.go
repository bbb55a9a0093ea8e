package backendtest

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
)

// failing changes what a Release says of a failure.
func failing(change func(f *backend.Failure)) func(b *broken, s *memstore.Store) {
	return func(b *broken, s *memstore.Store) {
		b.release = func(ctx context.Context, key, token string, f backend.Failure) (bool, error) {
			change(&f)
			return s.Release(ctx, key, token, f)
		}
	}
}

// TestBrokenFailuresFail breaks what a store does after a failed load.
func TestBrokenFailuresFail(t *testing.T) {
	all := []string{
		"lease/failure-cools", "lease/failure-doubles", "lease/failure-once", "lease/failure-row", "multi/lease", "wake/failure",
	}
	breakStores(t, map[string]breakage{
		"does not cool down": {all, failing(func(f *backend.Failure) { f.CoolDown = 0 })},
		"forgets why": {
			slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "multi/lease" }),
			failing(func(f *backend.Failure) { f.Text = "" }),
		},
		"does not double": {[]string{"lease/failure-doubles", "lease/failure-row"}, failing(func(f *backend.Failure) { f.CoolDownMax = f.CoolDown })},
		"does not cap":    {[]string{"lease/failure-doubles"}, failing(func(f *backend.Failure) { f.CoolDownMax = time.Hour })},
		"cools down for ever": {[]string{"lease/failure-ends", "lease/failure-cools", "lease/failure-doubles", "lease/failure-once", "lease/failure-row", "wake/failure"},
			failing(func(f *backend.Failure) {
				if f.CoolDown > 0 {
					f.CoolDown, f.CoolDownMax = 1000*time.Hour, 1000*time.Hour
				}
			})},
		"takes every release for a failure": {
			[]string{"lease/fence", "lease/release", "lease/failure-row", "wake/foreign", "wake/once", "wake/release", "wake/stopped"},
			failing(func(f *backend.Failure) {
				if f.CoolDown == 0 {
					f.CoolDown = time.Second
				}
			}),
		},
	})
}

// TestBrokenWakesFail breaks how a store wakes.
func TestBrokenWakesFail(t *testing.T) {
	through := func(change func(n *backend.Notice)) func(b *broken, s *memstore.Store) {
		return func(b *broken, s *memstore.Store) {
			b.watch = func(key string, wake func(backend.Notice)) func() {
				return s.Watch(key, func(n backend.Notice) {
					change(&n)
					wake(n)
				})
			}
		}
	}
	breakStores(t, map[string]breakage{
		"never wakes": {
			[]string{
				"wake/commit", "wake/commit-large", "wake/delete", "wake/failure", "wake/foreign", "wake/keys", "wake/once", "wake/race",
				"wake/release", "wake/revoked", "wake/set", "wake/stopped", "wake/swap",
			},
			func(b *broken, _ *memstore.Store) {
				b.watch = func(string, func(backend.Notice)) func() { return func() {} }
			},
		},
		"wakes without the value": {[]string{"wake/commit", "wake/keys", "wake/set"}, through(func(n *backend.Notice) { n.Value = nil })},
		"takes empty for none": {[]string{"wake/commit"}, through(func(n *backend.Notice) {
			if len(n.Value) == 0 {
				n.Value = nil
			}
		})},
		"wakes with a value always": {
			[]string{"wake/commit-large", "wake/delete", "wake/foreign", "wake/once", "wake/release", "wake/stopped", "wake/swap"},
			through(func(n *backend.Notice) {
				if n.Value == nil && n.Cooling == nil {
					n.Value = []byte("large")
				}
			}),
		},
		"wakes without the cool-down": {[]string{"wake/failure"}, through(func(n *backend.Notice) { n.Cooling = nil })},
		"wakes with one value for all": {[]string{"wake/commit"}, func(b *broken, s *memstore.Store) {
			var last []byte
			through(func(n *backend.Notice) {
				if bytes.Equal(last, n.Value) && n.Value != nil {
					n.Value = last
				}
				last = n.Value
			})(b, s)
		}},
		"wakes after stop": {[]string{"wake/stopped"}, func(b *broken, s *memstore.Store) {
			b.watch = func(key string, wake func(backend.Notice)) func() {
				s.Watch(key, wake)
				return func() {}
			}
		}},
		"wakes the first only": {[]string{"wake/commit", "wake/stopped"}, func(b *broken, s *memstore.Store) {
			first := map[string]bool{}
			b.watch = func(key string, wake func(backend.Notice)) func() {
				if first[key] {
					return func() {}
				}
				first[key] = true
				stop := s.Watch(key, wake)
				return func() { delete(first, key); stop() }
			}
		}},
		"wakes whatever happens": {[]string{"wake/foreign"}, func(b *broken, s *memstore.Store) {
			var last func(backend.Notice)
			through(func(*backend.Notice) {})(b, s)
			watch := b.watch
			b.watch = func(key string, wake func(backend.Notice)) func() {
				last = wake
				return watch(key, wake)
			}
			b.renew = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
				if last != nil {
					last(backend.Notice{})
				}
				return s.Renew(ctx, key, token, ttl)
			}
		}},
		"confuses keys": {[]string{"wake/own-key"}, func(b *broken, s *memstore.Store) {
			b.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
				req.Watch = true
				return s.Lease(ctx, key, req)
			}
		}},
		"promises no push": {
			[]string{
				"wake/commit", "wake/commit-large", "wake/delete", "wake/failure", "wake/foreign", "wake/keys", "wake/once",
				"wake/release", "wake/set", "wake/stopped", "wake/swap",
			},
			func(b *broken, s *memstore.Store) {
				b.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
					r, err := s.Lease(ctx, key, req)
					r.Pushed = false
					return r, err
				}
			},
		},
		"forgets what is usual": {[]string{"lease/fields", "lease/usual"}, func(b *broken, s *memstore.Store) {
			b.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
				req.Usual = 0
				return s.Lease(ctx, key, req)
			}
		}},
	})
}

// TestBrokenSwapsAndBatchesFail breaks what is asked of a store in one go.
func TestBrokenSwapsAndBatchesFail(t *testing.T) {
	breakStores(t, map[string]breakage{
		"does not compare": {[]string{"swap/compares", "swap/lease", "wake/swap"}, func(b *broken, s *memstore.Store) {
			b.swap = func(ctx context.Context, key string, _, v []byte, ttl time.Duration) (bool, error) {
				return true, s.Set(ctx, key, v, ttl)
			}
		}},
		"keeps the lease": {[]string{"swap/lease"}, func(b *broken, s *memstore.Store) {
			held := map[string]string{}
			b.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
				r, err := s.Lease(ctx, key, req)
				if r.Won {
					held[key] = req.Token
				}
				return r, err
			}
			b.swap = func(ctx context.Context, key string, old, v []byte, ttl time.Duration) (bool, error) {
				ok, err := s.Swap(ctx, key, old, v, ttl)
				if ok && held[key] != "" {
					_, err = s.Lease(ctx, key, backend.LeaseRequest{Token: held[key], TTL: time.Minute, Rejected: v})
				}
				return ok, err
			}
		}},
		"keeps the old ttl": {[]string{"swap/ttl"}, func(b *broken, s *memstore.Store) {
			b.swap = func(ctx context.Context, key string, old, v []byte, _ time.Duration) (bool, error) {
				return s.Swap(ctx, key, old, v, long)
			}
		}},
		"swaps in spite of its context": {[]string{"swap/context"}, func(b *broken, s *memstore.Store) {
			b.swap = func(ctx context.Context, key string, old, v []byte, ttl time.Duration) (bool, error) {
				return s.Swap(context.WithoutCancel(ctx), key, old, v, ttl)
			}
		}},
		"turns answers round": {[]string{"multi/commit", "multi/lease", "multi/many"}, func(b *broken, s *memstore.Store) {
			b.leases = func(ctx context.Context, asks []backend.LeaseAsk) []backend.LeaseAnswer {
				a := s.LeaseMulti(ctx, asks)
				slices.Reverse(a)
				return a
			}
			b.commits = func(ctx context.Context, asks []backend.CommitAsk) []backend.CommitAnswer {
				a := s.CommitMulti(ctx, asks)
				if len(a) > 0 {
					a = append(a[1:], a[0])
				}
				return a
			}
		}},
		"stops at five hundred": {[]string{"multi/many"}, func(b *broken, s *memstore.Store) {
			b.commits = func(ctx context.Context, asks []backend.CommitAsk) []backend.CommitAnswer {
				a := s.CommitMulti(ctx, asks[:min(len(asks), 500)])
				return append(a, make([]backend.CommitAnswer, len(asks)-len(a))...)
			}
		}},
		"hides errors": {[]string{"multi/context"}, func(b *broken, s *memstore.Store) {
			b.leases = func(ctx context.Context, asks []backend.LeaseAsk) []backend.LeaseAnswer {
				a := s.LeaseMulti(ctx, asks)
				for i := range a {
					a[i].Err = nil
				}
				return a
			}
		}},
	})
}
