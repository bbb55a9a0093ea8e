package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
)

// TestBrokenStoresFail breaks one rule at a time and expects the cases that are
// meant for it, and no others.
func TestBrokenStoresFail(t *testing.T) {
	breakStores(t, map[string]breakage{
		"wraps ErrMiss": {
			[]string{"get/miss", "delete/all", "ttl/ends", "ttl/tiny", "lease/commit-foreign", "lease/delete-wins", "lease/expire", "lease/keys", "lease/late-request", "multi/commit", "swap/compares", "swap/ttl"},
			func(b *broken, s *memstore.Store) {
				b.get = func(ctx context.Context, key string) ([]byte, error) {
					v, err := s.Get(ctx, key)
					if err != nil {
						err = fmt.Errorf("get: %w", err)
					}
					return v, err
				}
			},
		},
		"takes empty for none": {[]string{"set/bytes"}, func(b *broken, s *memstore.Store) {
			b.get = func(ctx context.Context, key string) ([]byte, error) {
				v, err := s.Get(ctx, key)
				if err == nil && len(v) == 0 {
					err = backend.ErrMiss
				}
				return v, err
			}
		}},
		"cuts keys": {[]string{"set/keys"}, func(b *broken, s *memstore.Store) {
			cut := func(key string) string { return key[:min(len(key), 1024)] }
			b.get = func(ctx context.Context, key string) ([]byte, error) { return s.Get(ctx, cut(key)) }
			b.set = func(ctx context.Context, key string, v []byte, ttl time.Duration) error {
				return s.Set(ctx, cut(key), v, ttl)
			}
		}},
		"aliases what it returns": {[]string{"get/owned"}, func(b *broken, s *memstore.Store) {
			var last []byte
			b.get = func(ctx context.Context, key string) ([]byte, error) {
				v, err := s.Get(ctx, key)
				if err == nil && bytes.Equal(v, []byte("value")) {
					if last == nil {
						last = v
					}
					v = last
				}
				return v, err
			}
		}},
		"retains what it is given": {[]string{"set/not-retained"}, func(b *broken, s *memstore.Store) {
			var kept []byte
			b.set = func(ctx context.Context, key string, v []byte, ttl time.Duration) error {
				if string(v) == "value" {
					kept = v
				}
				return s.Set(ctx, key, v, ttl)
			}
			b.get = func(ctx context.Context, key string) ([]byte, error) {
				v, err := s.Get(ctx, key)
				if err == nil && string(v) == "value" {
					v = bytes.Clone(kept)
				}
				return v, err
			}
		}},
		"deletes the first key only": {[]string{"delete/all"}, func(b *broken, s *memstore.Store) {
			b.del = func(ctx context.Context, keys ...string) error { return s.Delete(ctx, keys[:min(1, len(keys))]...) }
		}},
		"never expires": {[]string{"ttl/ends", "ttl/tiny"}, func(b *broken, s *memstore.Store) {
			b.set = func(ctx context.Context, key string, v []byte, _ time.Duration) error {
				return s.Set(ctx, key, v, 1000*long)
			}
		}},
		"keeps the old ttl": {[]string{"ttl/replaced"}, func(b *broken, s *memstore.Store) {
			first := map[string]time.Duration{}
			b.set = func(ctx context.Context, key string, v []byte, ttl time.Duration) error {
				if old, ok := first[key]; ok && string(v) == "new" {
					ttl = old
				} else if string(v) == "old" {
					first[key] = ttl
				}
				return s.Set(ctx, key, v, ttl)
			}
		}},
		"refuses tiny ttls": {[]string{"ttl/tiny"}, func(b *broken, s *memstore.Store) {
			b.set = func(ctx context.Context, key string, v []byte, ttl time.Duration) error {
				if ttl < time.Millisecond {
					return errors.New("invalid expire time")
				}
				return s.Set(ctx, key, v, ttl)
			}
		}},
		"ignores contexts": {[]string{"context/canceled"}, func(b *broken, s *memstore.Store) {
			b.get = func(ctx context.Context, key string) ([]byte, error) { return s.Get(context.WithoutCancel(ctx), key) }
		}},
		"fails a second Close": {[]string{"close/idempotent"}, func(b *broken, s *memstore.Store) {
			closed := false
			b.close = func() error {
				if closed {
					return errors.New("closed twice")
				}
				closed = true
				return s.Close()
			}
		}},
		"lets anybody commit": {
			[]string{
				"lease/found", "lease/commit-foreign", "lease/set-wins", "lease/delete-wins", "lease/expire",
				"lease/failure-cools", "lease/failure-row", "lease/late-request", "swap/lease", "wake/foreign", "wake/revoked",
			},
			func(b *broken, s *memstore.Store) {
				b.commit = func(ctx context.Context, key, _ string, v []byte, ttl time.Duration) (bool, error) {
					return true, s.Set(ctx, key, v, ttl)
				}
			},
		},
		"creates leases by renewing": {[]string{"lease/commit", "lease/expire", "lease/renew"}, func(b *broken, s *memstore.Store) {
			b.renew = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
				if ok, err := s.Renew(ctx, key, token, ttl); ok || err != nil {
					return ok, err
				}
				r, err := s.Lease(ctx, key, backend.LeaseRequest{Token: token, TTL: ttl, Rejected: []byte{}})
				return r.Won, err
			}
		}},
		"lets anybody release": {[]string{
			"lease/release", "lease/expire", "lease/failure-cools", "lease/failure-doubles", "lease/failure-once", "lease/failure-row",
			"lease/late-request", "multi/lease", "wake/failure", "wake/foreign",
		}, func(b *broken, s *memstore.Store) {
			b.release = func(ctx context.Context, key, _ string, _ backend.Failure) (bool, error) {
				return true, s.Delete(ctx, key)
			}
		}},
		"names the request and not the lease": {[]string{"lease/late-request"}, func(b *broken, s *memstore.Store) {
			b.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
				r, err := s.Lease(ctx, key, req)
				if r.Won {
					r.Token = req.Token
				}
				return r, err
			}
		}},
		"forgets who holds": {[]string{"lease/exclusive"}, func(b *broken, s *memstore.Store) {
			b.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
				r, err := s.Lease(ctx, key, req)
				r.Owner, r.Tag = "", ""
				return r, err
			}
		}},
		"ignores Rejected": {[]string{"lease/rejected", "lease/failure-set", "swap/lease", "tell/written", "wake/swap"}, func(b *broken, s *memstore.Store) {
			b.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
				req.Rejected = nil
				return s.Lease(ctx, key, req)
			}
		}},
	})
}
