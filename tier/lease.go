package tier

import (
	"context"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// LeaseReply is one of three answers: Lookup.Found, Won, or neither.
type LeaseReply[V any] struct {
	Lookup Lookup[V]
	backend.LeaseReply
}

// Leases reports whether a tier of the stack leases: whether loads are
// coordinated between processes.
func (s *Stack[K, V]) Leases() bool { return s.leases != nil }

// Lease asks the shared tier for key's entry and, if it holds nothing but
// bytes that begin with req.Rejected, for the lease of its load.
func (s *Stack[K, V]) Lease(ctx context.Context, key string, req backend.LeaseRequest) (reply LeaseReply[V], err error) {
	r := s.leases
	began := r.begin()
	reply.LeaseReply, err = guarded(ctx, r.guard, func(ctx context.Context) (backend.LeaseReply, error) {
		return r.leaser.Lease(ctx, key, req)
	})
	if err == nil && reply.Value != nil {
		reply.Lookup, err = r.decode(ctx, key, reply.Value)
	}
	r.end(ctx, OpLease, began, err)
	return reply, err
}

// Commit writes the entry and ends the lease, if token holds it.
func (s *Stack[K, V]) Commit(ctx context.Context, key, token string, e *Entry[V]) (bool, error) {
	r := s.leases
	began := r.begin()
	ok, err := guarded(ctx, r.guard, func(ctx context.Context) (bool, error) {
		b, ttl, err := r.encode(ctx, key, e)
		if err != nil {
			return false, err
		}
		return r.leaser.Commit(ctx, key, token, b, ttl)
	})
	r.end(ctx, OpCommit, began, err)
	return ok, err
}

// Renew extends the lease if token holds it.
func (s *Stack[K, V]) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	r := s.leases
	began := r.begin()
	ok, err := guarded(ctx, r.guard, func(ctx context.Context) (bool, error) {
		return r.leaser.Renew(ctx, key, token, ttl)
	})
	r.end(ctx, OpRenew, began, err)
	return ok, err
}

// Release ends the lease if token holds it.
func (s *Stack[K, V]) Release(ctx context.Context, key, token string) (bool, error) {
	r := s.leases
	began := r.begin()
	ok, err := guarded(ctx, r.guard, func(ctx context.Context) (bool, error) {
		return r.leaser.Release(ctx, key, token)
	})
	r.end(ctx, OpRelease, began, err)
	return ok, err
}
