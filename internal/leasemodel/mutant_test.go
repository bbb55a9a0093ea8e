package leasemodel

import (
	"context"
	"strings"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
)

// mutant is a store without one of its safeguards.
type mutant struct {
	*memstore.Store
	lease   func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error)
	commit  func(ctx context.Context, key, token string, v []byte, ttl time.Duration) (bool, error)
	renew   func(ctx context.Context, key, token string, ttl time.Duration) (bool, error)
	release func(ctx context.Context, key, token string, f backend.Failure) (bool, error)
	set     func(ctx context.Context, key string, v []byte, ttl time.Duration) error
	del     func(ctx context.Context, keys ...string) error
	swap    func(ctx context.Context, key string, old, v []byte, ttl time.Duration) (bool, error)

	deaf   bool   // wakes nobody
	clock  uint64 // where fences come from
	last   string // token
	counts int
}

func newMutant(s *memstore.Store) *mutant {
	return &mutant{
		Store: s, lease: s.Lease, commit: s.Commit, renew: s.Renew, release: s.Release, set: s.Set, del: s.Delete, swap: s.Swap,
		clock: 1e6,
	}
}

func (m *mutant) Lease(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	return m.lease(ctx, key, req)
}

func (m *mutant) Commit(ctx context.Context, key, token string, v []byte, ttl time.Duration) (bool, error) {
	return m.commit(ctx, key, token, v, ttl)
}

func (m *mutant) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return m.renew(ctx, key, token, ttl)
}

func (m *mutant) Release(ctx context.Context, key, token string, f backend.Failure) (bool, error) {
	return m.release(ctx, key, token, f)
}

func (m *mutant) Set(ctx context.Context, key string, v []byte, ttl time.Duration) error {
	return m.set(ctx, key, v, ttl)
}

func (m *mutant) Delete(ctx context.Context, keys ...string) error { return m.del(ctx, keys...) }

func (m *mutant) Swap(ctx context.Context, key string, old, v []byte, ttl time.Duration) (bool, error) {
	return m.swap(ctx, key, old, v, ttl)
}

func (m *mutant) Watch(key string, wake func(backend.Notice)) (stop func()) {
	return m.Store.Watch(key, func(n backend.Notice) {
		if !m.deaf {
			wake(n)
		}
	})
}

func (m *mutant) flushed() {
	m.counts++
	m.last = ""
}

// fences gives every new lease the fence that next says.
func (m *mutant) fences(next func() uint64) {
	given := map[string]uint64{}
	m.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
		again := holder(m.Store) == req.Token
		r, err := m.Store.Lease(ctx, key, req)
		if r.Won && !again {
			given[req.Token] = next()
		}
		if r.Won {
			r.Fence = given[req.Token]
		}
		return r, err
	}
}

// mutants each lack one safeguard; promise is what they break.
var mutants = []struct {
	name, promise string
	faults        fault // that are enough to find it; 0: among all
	procs         int   // 0: two
	sabotage      func(m *mutant)
}{
	{"commit does not compare", "S3", 0, 0, func(m *mutant) {
		m.commit = func(ctx context.Context, key, _ string, v []byte, ttl time.Duration) (bool, error) {
			return true, m.Store.Set(ctx, key, v, ttl)
		}
	}},
	{"commit writes without any lease", "S4", deleteIt, 0, func(m *mutant) {
		m.commit = func(ctx context.Context, key, token string, v []byte, ttl time.Duration) (bool, error) {
			if holder(m.Store) == "" {
				return true, m.Store.Set(ctx, key, v, ttl)
			}
			return m.Store.Commit(ctx, key, token, v, ttl)
		}
	}},
	{"commit names the request and not the lease", "S4", deleteIt | lateRepeat, 1, func(m *mutant) {
		m.commit = func(ctx context.Context, key, token string, v []byte, ttl time.Duration) (bool, error) {
			request, _, _ := strings.Cut(token, "|")
			return m.Store.Commit(ctx, key, request, v, ttl)
		}
	}},
	{"commit keeps the lease", "L", 0, 0, func(m *mutant) {
		m.commit = func(ctx context.Context, key, token string, v []byte, ttl time.Duration) (ok bool, err error) {
			keeping(m.Store, func() { ok, err = m.Store.Commit(ctx, key, token, v, ttl) })
			return ok, err
		}
	}},
	{"a repeated commit is refused", "S5", 0, 0, func(m *mutant) {
		m.commit = func(ctx context.Context, key, token string, v []byte, ttl time.Duration) (bool, error) {
			holds := holder(m.Store) == token
			ok, err := m.Store.Commit(ctx, key, token, v, ttl)
			return ok && holds, err
		}
	}},
	{"release does not compare", "S5", 0, 0, func(m *mutant) {
		m.release = func(ctx context.Context, key, _ string, f backend.Failure) (bool, error) {
			return m.Store.Release(ctx, key, holder(m.Store), f)
		}
	}},
	{"release takes no lease for ours", "S5", 0, 0, func(m *mutant) {
		m.release = func(ctx context.Context, key, token string, f backend.Failure) (bool, error) {
			ok, err := m.Store.Release(ctx, key, token, f)
			return ok || holder(m.Store) == "", err
		}
	}},
	{"renew creates", "S5", 0, 0, func(m *mutant) {
		m.renew = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			if ok, err := m.Store.Renew(ctx, key, token, ttl); ok || err != nil {
				return ok, err
			}
			r, err := m.Store.Lease(ctx, key, backend.LeaseRequest{Token: token, TTL: ttl, Rejected: []byte{}})
			return r.Won, err
		}
	}},
	{"renew creates and denies it", "S3", 0, 0, func(m *mutant) {
		m.renew = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			if ok, err := m.Store.Renew(ctx, key, token, ttl); ok || err != nil {
				return ok, err
			}
			_, err := m.Store.Lease(ctx, key, backend.LeaseRequest{Token: token, TTL: ttl, Rejected: []byte{}})
			return false, err
		}
	}},
	{"a lease lasts for ever", "L", 0, 0, func(m *mutant) {
		m.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
			req.TTL = valueTTL
			return m.Store.Lease(ctx, key, req)
		}
	}},
	{"set does not end the lease", "S3", 0, 0, func(m *mutant) {
		m.set = func(ctx context.Context, key string, v []byte, ttl time.Duration) (err error) {
			keeping(m.Store, func() { err = m.Store.Set(ctx, key, v, ttl) })
			return err
		}
	}},
	{"delete does not end the lease", "S4", deleteIt, 1, func(m *mutant) {
		m.del = func(ctx context.Context, keys ...string) (err error) {
			keeping(m.Store, func() { err = m.Store.Delete(ctx, keys...) })
			return err
		}
	}},
	{"swap does not end the lease", "S3", markStale, 0, func(m *mutant) {
		m.swap = func(ctx context.Context, key string, old, v []byte, ttl time.Duration) (ok bool, err error) {
			keeping(m.Store, func() { ok, err = m.Store.Swap(ctx, key, old, v, ttl) })
			return ok, err
		}
	}},
	{"the holder is refused when it asks again", "S5", 0, 0, func(m *mutant) {
		m.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
			r, err := m.Store.Lease(ctx, key, req)
			if r.Won && m.last == req.Token {
				r = backend.LeaseReply{Remaining: req.TTL}
			} else if r.Won {
				m.last = req.Token
			}
			return r, err
		}
	}},
	{"whoever asks wins", "S7", 0, 0, func(m *mutant) {
		m.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
			if h := holder(m.Store); h != "" && h != req.Token {
				forget(m.Store, "leases")
			}
			return m.Store.Lease(ctx, key, req)
		}
	}},
	{"leases over a value", "S7", 0, 0, func(m *mutant) {
		m.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
			req.Rejected = []byte{}
			return m.Store.Lease(ctx, key, req)
		}
	}},
	{"fences are counted from the last flush", "S6", 0, 0, func(m *mutant) {
		count, flush := uint64(0), 0
		m.fences(func() uint64 {
			if flush != m.counts {
				count, flush = 0, m.counts
			}
			count++
			return count
		})
	}},
	{"fences are the clock's", "S6", 0, 0, func(m *mutant) {
		m.fences(func() uint64 { m.clock++; return m.clock })
	}},
	{"commit wakes nobody", "L", 0, 0, func(m *mutant) {
		m.commit = func(ctx context.Context, key, token string, v []byte, ttl time.Duration) (bool, error) {
			m.deaf = true
			defer func() { m.deaf = false }()
			return m.Store.Commit(ctx, key, token, v, ttl)
		}
	}},
	{"release wakes nobody", "L", 0, 0, func(m *mutant) {
		m.release = func(ctx context.Context, key, token string, f backend.Failure) (bool, error) {
			m.deaf = true
			defer func() { m.deaf = false }()
			return m.Store.Release(ctx, key, token, f)
		}
	}},
	{"delete wakes nobody", "L", 0, 0, func(m *mutant) {
		m.del = func(ctx context.Context, keys ...string) error {
			m.deaf = true
			defer func() { m.deaf = false }()
			return m.Store.Delete(ctx, keys...)
		}
	}},
	{"a repeated release counts again", "D6", 0, 0, func(m *mutant) {
		m.release = func(ctx context.Context, key, token string, f backend.Failure) (bool, error) {
			ok, err := m.Store.Release(ctx, key, token, f)
			if !ok && f.CoolDown > 0 && m.last == token {
				m.counts++
			}
			m.last = token
			return ok, err
		}
		m.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
			r, err := m.Store.Lease(ctx, key, req)
			if r.Cooling != nil {
				r.Cooling.Failures += m.counts
			}
			return r, err
		}
	}},
	{"a failure does not cool down", "D6", 0, 0, func(m *mutant) {
		m.lease = func(ctx context.Context, key string, req backend.LeaseRequest) (backend.LeaseReply, error) {
			r, err := m.Store.Lease(ctx, key, req)
			if r.Cooling != nil {
				forget(m.Store, "leases")
				return m.Store.Lease(ctx, key, req)
			}
			return r, err
		}
	}},
}
