package sqlstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// Options configure a [Store]. The zero value, and nil, mean the defaults.
type Options struct {
	// Table is where the entries are: a name, or a schema's and a name, each of
	// up to 48 of a-z, 0-9 and "_". Caches of different types must not share
	// one. Defaults to "bellwether".
	Table string

	// MaxValue is the largest entry, in bytes, that is written or accepted; a
	// larger one is a miss. Defaults to 1 MiB.
	MaxValue int

	// Logged makes Migrate create a table that survives a crash of the
	// database and is replicated, at the price of a log record for each write.
	Logged bool

	// SweepEvery is how often the store removes rows that are over, in the
	// background and until Close. Negative: never; call Cleanup. Defaults to
	// 10 minutes.
	SweepEvery time.Duration

	// OnSweep, if not nil, is told what a sweep has removed, or why it failed.
	// It must not block.
	OnSweep func(removed int64, err error)
}

// ErrTooLarge says that an entry exceeds Options.MaxValue. It was not stored.
var ErrTooLarge = errors.New("sqlstore: entry exceeds Options.MaxValue")

// Store is a [backend.Store] in a SQL database. It is safe for concurrent use.
type Store struct {
	db      *sql.DB
	sql     statements
	max     int
	logged  bool
	onSweep func(int64, error)
	closed  atomic.Bool
	time    serverTime

	stop  context.CancelFunc // of the sweep
	sweep sync.WaitGroup
}

var (
	_ backend.Store   = (*Store)(nil)
	_ backend.Swapper = (*Store)(nil)
	_ backend.Clock   = (*Store)(nil)
)

// New returns a store on a database of the caller's, which it will not close.
// It does not ask the database anything yet. The error is about the arguments.
func New(db *sql.DB, d Dialect, opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Table = cmp.Or(o.Table, "bellwether")
	o.MaxValue = cmp.Or(o.MaxValue, 1<<20)
	o.SweepEvery = cmp.Or(o.SweepEvery, 10*time.Minute)
	table, index, ok := quoted(o.Table)
	switch {
	case db == nil:
		return nil, errors.New("sqlstore: db: must not be nil")
	case d.statements == nil:
		return nil, errors.New("sqlstore: dialect: must be one of this package's")
	case !ok:
		return nil, errors.New("sqlstore: Options.Table: must be a name, or a schema's and a name, each of up to 48 of a-z, 0-9 and _")
	case o.MaxValue < 0:
		return nil, fmt.Errorf("sqlstore: Options.MaxValue: must not be negative, is %d", o.MaxValue)
	}
	s := &Store{db: db, sql: d.statements(table, index), max: o.MaxValue, logged: o.Logged, onSweep: o.OnSweep}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	if o.SweepEvery > 0 {
		s.sweep.Go(func() { s.sweepEvery(ctx, o.SweepEvery) }) // ends with Close
	}
	return s, nil
}

// quoted returns a table's name as SQL takes it, whatever words it reserves,
// and a name for its index.
func quoted(name string) (table, index string, ok bool) {
	parts := strings.Split(name, ".")
	if len(parts) > 2 {
		return "", "", false
	}
	for i, p := range parts {
		if p == "" || len(p) > 48 || p[0] >= '0' && p[0] <= '9' || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return "", "", false
		}
		index = `"` + p + `_keep_until"`
		parts[i] = `"` + p + `"`
	}
	return strings.Join(parts, "."), index, true
}

const maxKey = 1024

// column is what the key column holds for a key.
func column(key string) []byte {
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		return append([]byte{'#'}, sum[:]...)
	}
	return append([]byte{'='}, key...)
}

// Get implements backend.Store. It costs one SELECT.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	r, err := s.read(ctx, key)
	switch {
	case err != nil:
		return nil, err
	case !r.fresh():
		return nil, backend.ErrMiss
	}
	return r.value, nil
}

// Set implements backend.Store. It ends the key's lease in the same step.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if len(value) > s.max {
		return ErrTooLarge
	}
	_, err := s.exec(ctx, s.sql.set, column(key), some(value), micros(ttl))
	return err
}

// Delete implements backend.Store. It ends each key's lease in the same step
// as the key. The keys of one call go in statements of 500.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for len(keys) > 0 {
		n := min(len(keys), 500)
		args := make([]any, n)
		for i, key := range keys[:n] {
			args[i] = column(key)
		}
		if _, err := s.exec(ctx, s.sql.delete(n), args...); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return s.usable(ctx)
}

// Swap implements backend.Swapper.
func (s *Store) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	if len(value) > s.max {
		return false, ErrTooLarge
	}
	n, err := s.exec(ctx, s.sql.swap, column(key), some(old), some(value), micros(ttl))
	if err != nil || n > 0 {
		return err == nil, err
	}
	return s.holds(ctx, key, value)
}

// Close implements backend.Store. The database stays open.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.stop()
	s.sweep.Wait()
	return nil
}

// some keeps an empty value from becoming NULL.
func some(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func micros(d time.Duration) int64 { return max(d.Microseconds(), 1) }

func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return backend.ErrClosed
	}
	return context.Cause(ctx)
}
