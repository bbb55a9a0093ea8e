package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/internal/kit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func storeHarness(wrap func(*memstore.Store) backend.Store) StoreHarness {
	return StoreHarness{
		New:    func(testing.TB) backend.Store { return wrap(memstore.NewStore()) },
		Leases: true, Clock: true, Bubble: true,
	}
}

func TestReferenceStorePasses(t *testing.T) {
	RunStore(t, storeHarness(func(s *memstore.Store) backend.Store { return s }))
}

func TestReferenceMemoryPasses(t *testing.T) {
	RunMemory(t, MemoryHarness{
		New: func(testing.TB) backend.Memory { return memstore.NewMemory(1000) }, Capacity: 1000, Bubble: true,
	})
}

// broken is a store with one thing wrong.
type broken struct {
	*memstore.Store
	get     func(ctx context.Context, key string) ([]byte, error)
	set     func(ctx context.Context, key string, v []byte, ttl time.Duration) error
	del     func(ctx context.Context, keys ...string) error
	lease   func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error)
	commit  func(ctx context.Context, key, token string, v []byte, ttl time.Duration) (bool, error)
	renew   func(ctx context.Context, key, token string, ttl time.Duration) (bool, error)
	release func(ctx context.Context, key, token string) (bool, error)
	close   func() error
}

func (b *broken) Get(ctx context.Context, key string) ([]byte, error) {
	if b.get != nil {
		return b.get(ctx, key)
	}
	return b.Store.Get(ctx, key)
}

func (b *broken) Set(ctx context.Context, key string, v []byte, ttl time.Duration) error {
	if b.set != nil {
		return b.set(ctx, key, v, ttl)
	}
	return b.Store.Set(ctx, key, v, ttl)
}

func (b *broken) Delete(ctx context.Context, keys ...string) error {
	if b.del != nil {
		return b.del(ctx, keys...)
	}
	return b.Store.Delete(ctx, keys...)
}

func (b *broken) Lease(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	if b.lease != nil {
		return b.lease(ctx, key, req)
	}
	return b.Store.Lease(ctx, key, req)
}

func (b *broken) Commit(ctx context.Context, key, token string, v []byte, ttl time.Duration) (bool, error) {
	if b.commit != nil {
		return b.commit(ctx, key, token, v, ttl)
	}
	return b.Store.Commit(ctx, key, token, v, ttl)
}

func (b *broken) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if b.renew != nil {
		return b.renew(ctx, key, token, ttl)
	}
	return b.Store.Renew(ctx, key, token, ttl)
}

func (b *broken) Release(ctx context.Context, key, token string) (bool, error) {
	if b.release != nil {
		return b.release(ctx, key, token)
	}
	return b.Store.Release(ctx, key, token)
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.Store.Close()
}

// TestBrokenStoresFail breaks one rule at a time and expects the cases that are
// meant for it, and no others.
func TestBrokenStoresFail(t *testing.T) {
	for name, tc := range map[string]struct {
		fails []string
		wreck func(b *broken, s *memstore.Store)
	}{
		"wraps ErrMiss": {
			[]string{"get/miss", "delete/all", "ttl/ends", "ttl/tiny", "lease/commit-foreign", "lease/delete-wins", "lease/expire", "lease/keys"},
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
			[]string{"lease/found", "lease/commit-foreign", "lease/set-wins", "lease/delete-wins", "lease/expire"},
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
		"lets anybody release": {[]string{"lease/release", "lease/expire"}, func(b *broken, s *memstore.Store) {
			b.release = func(ctx context.Context, key, _ string) (bool, error) { return true, s.Delete(ctx, key) }
		}},
		"forgets who holds": {[]string{"lease/exclusive"}, func(b *broken, s *memstore.Store) {
			b.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
				r, err := s.Lease(ctx, key, req)
				r.Owner, r.Tag = "", ""
				return r, err
			}
		}},
		"ignores Rejected": {[]string{"lease/rejected"}, func(b *broken, s *memstore.Store) {
			b.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
				req.Rejected = nil
				return s.Lease(ctx, key, req)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := storeHarness(func(s *memstore.Store) backend.Store {
				b := &broken{Store: s}
				tc.wreck(b, s)
				return b
			})
			got := kit.Failed(t, h, h.cases())
			slices.Sort(got)
			slices.Sort(tc.fails)
			if !slices.Equal(got, tc.fails) {
				t.Errorf("fails %q, want %q", got, tc.fails)
			}
		})
	}
}

// wrong is a memory with one thing wrong.
type wrong struct {
	*memstore.Memory
	get func(hash uint64) backend.Node
	set func(hash uint64, n backend.Node, cost int64, ttl time.Duration)
	del func(hash uint64)
}

func (w *wrong) Get(hash uint64) backend.Node {
	if w.get != nil {
		return w.get(hash)
	}
	return w.Memory.Get(hash)
}

func (w *wrong) Set(hash uint64, n backend.Node, cost int64, ttl time.Duration) {
	if w.set != nil {
		w.set(hash, n, cost, ttl)
		return
	}
	w.Memory.Set(hash, n, cost, ttl)
}

func (w *wrong) Delete(hash uint64) {
	if w.del != nil {
		w.del(hash)
		return
	}
	w.Memory.Delete(hash)
}

func TestBrokenMemoriesFail(t *testing.T) {
	for name, tc := range map[string]struct {
		fails []string
		wreck func(w *wrong, m *memstore.Memory)
	}{
		"keeps the first of two writes": {[]string{"memory/newest"}, func(w *wrong, m *memstore.Memory) {
			w.set = func(hash uint64, n backend.Node, cost int64, ttl time.Duration) {
				if m.Get(hash) == nil {
					m.Set(hash, n, cost, ttl)
				}
			}
		}},
		"does not delete": {[]string{"memory/deleted"}, func(w *wrong, m *memstore.Memory) {
			w.del = func(uint64) {}
		}},
		"stores nothing": {[]string{"memory/bounded", "memory/set"}, func(w *wrong, m *memstore.Memory) {
			w.set = func(uint64, backend.Node, int64, time.Duration) {}
		}},
		"allocates": {[]string{"memory/no-alloc"}, func(w *wrong, m *memstore.Memory) {
			w.get = func(hash uint64) backend.Node {
				sink.Store(new([1024]byte))
				return m.Get(hash)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := MemoryHarness{Capacity: 1000, New: func(testing.TB) backend.Memory {
				w := &wrong{Memory: memstore.NewMemory(1000)}
				tc.wreck(w, w.Memory)
				return w
			}}
			if got := kit.Failed(t, h, memoryCases); !slices.Equal(sorted(got), tc.fails) {
				t.Errorf("fails %q, want %q", got, tc.fails)
			}
		})
	}
	t.Run("unbounded", func(t *testing.T) {
		h := MemoryHarness{Capacity: 1000, New: func(testing.TB) backend.Memory { return memstore.NewMemory(1 << 40) }}
		if got := kit.Failed(t, h, memoryCases); !slices.Equal(got, []string{"memory/bounded"}) {
			t.Errorf("fails %q, want memory/bounded", got)
		}
	})
}

var sink atomic.Pointer[[1024]byte]

func sorted(s []string) []string { slices.Sort(s); return s }
