package backendtest

import (
	"context"
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
		Leases: true, Clock: true, Wakes: true, Multi: true, Swaps: true, Bubble: true,
		Tags: true, Peer: func(_ testing.TB, s backend.Store) backend.Store {
			return s.(interface{ Peer() *memstore.Store }).Peer() //nolint:forcetypeassert // wrap embeds one
		},
	}
}

func TestReferenceStorePasses(t *testing.T) {
	RunStore(t, storeHarness(func(s *memstore.Store) backend.Store { return s }))
}

func TestReferenceMemoryPasses(t *testing.T) {
	RunMemory(t, MemoryHarness{
		New: func(testing.TB) backend.Memory { return memstore.NewMemory(1000) }, Capacity: 1000, Ranges: true, Bubble: true, Counted: true,
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
	release func(ctx context.Context, key, token string, f backend.Failure) (bool, error)
	close   func() error
	watch   func(key string, wake func(backend.Notice)) (stop func())
	swap    func(ctx context.Context, key string, old, v []byte, ttl time.Duration) (bool, error)
	leases  func(ctx context.Context, asks []backend.LeaseAsk) []backend.LeaseAnswer
	commits func(ctx context.Context, asks []backend.CommitAsk) []backend.CommitAnswer
	tells   func(what backend.Interest, on func(backend.Invalidation)) (stop func())
	mode    backend.CoherenceMode
	stamp   func(ctx context.Context, expire bool, tags ...string) (uint64, error)
	stamps  func(ctx context.Context, tags ...string) ([]backend.TagStamp, error)
	asOf    func(ctx context.Context) (uint64, error)
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

func (b *broken) Release(ctx context.Context, key, token string, f backend.Failure) (bool, error) {
	if b.release != nil {
		return b.release(ctx, key, token, f)
	}
	return b.Store.Release(ctx, key, token, f)
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.Store.Close()
}

func (b *broken) Watch(key string, wake func(backend.Notice)) (stop func()) {
	if b.watch != nil {
		return b.watch(key, wake)
	}
	return b.Store.Watch(key, wake)
}

func (b *broken) Swap(ctx context.Context, key string, old, v []byte, ttl time.Duration) (bool, error) {
	if b.swap != nil {
		return b.swap(ctx, key, old, v, ttl)
	}
	return b.Store.Swap(ctx, key, old, v, ttl)
}

func (b *broken) LeaseMulti(ctx context.Context, asks []backend.LeaseAsk) []backend.LeaseAnswer {
	if b.leases != nil {
		return b.leases(ctx, asks)
	}
	return b.Store.LeaseMulti(ctx, asks)
}

func (b *broken) CommitMulti(ctx context.Context, asks []backend.CommitAsk) []backend.CommitAnswer {
	if b.commits != nil {
		return b.commits(ctx, asks)
	}
	return b.Store.CommitMulti(ctx, asks)
}

// breakage is what is wrong with a store, and the cases that find it.
type breakage struct {
	fails []string
	wreck func(b *broken, s *memstore.Store)
}

// byChance names the case that finds what is wrong with a store now and then.
var byChance = map[string]string{"takes every release for a failure": "wake/race"}

func breakStores(t *testing.T, all map[string]breakage) {
	t.Helper()
	for name, tc := range all {
		t.Run(name, func(t *testing.T) {
			h := storeHarness(func(s *memstore.Store) backend.Store {
				b := &broken{Store: s}
				tc.wreck(b, s)
				return b
			})
			got := kit.Failed(t, h, h.cases())
			got = slices.DeleteFunc(got, func(found string) bool { return byChance[name] == found })
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
	backend.Memory
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
				m := memstore.NewMemory(1000)
				w := &wrong{Memory: m}
				tc.wreck(w, m)
				return w
			}}
			if got := kit.Failed(t, h, memoryCases); !slices.Equal(sorted(got), tc.fails) {
				t.Errorf("fails %q, want %q", got, tc.fails)
			}
		})
	}
	t.Run("unbounded", func(t *testing.T) {
		h := MemoryHarness{Capacity: 1000, New: func(testing.TB) backend.Memory { return &wrong{Memory: memstore.NewMemory(1 << 40)} }}
		if got := kit.Failed(t, h, memoryCases); !slices.Equal(got, []string{"memory/bounded"}) {
			t.Errorf("fails %q, want memory/bounded", got)
		}
	})
}

// miscounts is a memory that counts its nodes wrongly.
type miscounts struct {
	*memstore.Memory
	held func() int
	gone func() uint64
}

func (m *miscounts) Len() int        { return m.held() }
func (m *miscounts) Evicted() uint64 { return m.gone() }

func TestWrongCountsFail(t *testing.T) {
	for name, wreck := range map[string]func(w *miscounts){
		"does not count what it holds": func(w *miscounts) { w.held = func() int { return 0 } },
		"does not count evictions":     func(w *miscounts) { w.gone = func() uint64 { return 0 } },
		"counts what was never there":  func(w *miscounts) { w.held = func() int { return w.Memory.Len() + 1 } },
		"counts the deleted": func(w *miscounts) {
			most := 0
			w.held = func() int { most = max(most, w.Memory.Len()); return most }
		},
		"counts the expired": func(w *miscounts) { w.gone = func() uint64 { return 2 * w.Memory.Evicted() } },
		"falls": func(w *miscounts) {
			w.gone = func() uint64 { return w.Memory.Evicted() * uint64(min(1, w.Memory.Len())) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := MemoryHarness{Capacity: 1000, Counted: true, New: func(testing.TB) backend.Memory {
				m := memstore.NewMemory(1000)
				w := &miscounts{Memory: m, held: m.Len, gone: m.Evicted}
				wreck(w)
				return w
			}}
			if got := kit.Failed(t, h, memoryCases); !slices.Equal(got, []string{"memory/counted"}) {
				t.Errorf("fails %q, want memory/counted", got)
			}
		})
	}
	t.Run("does not count, and says it does", func(t *testing.T) {
		h := MemoryHarness{Capacity: 1000, Counted: true, New: func(testing.TB) backend.Memory { return &wrong{Memory: memstore.NewMemory(1000)} }}
		if got := kit.Failed(t, h, memoryCases); !slices.Equal(got, []string{"memory/counted"}) {
			t.Errorf("fails %q, want memory/counted", got)
		}
	})
}

var sink atomic.Pointer[[1024]byte]

func sorted(s []string) []string { slices.Sort(s); return s }
