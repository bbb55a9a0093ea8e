package diskstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/bellwethercache/bellwether/backend"
)

var (
	// ErrInUse says that another store, in this process or another, has the
	// file open.
	ErrInUse = errors.New("diskstore: the file is in use by another store")

	// ErrDamaged says that the file is damaged, or cannot be trusted after the
	// machine went down with it open.
	ErrDamaged = errors.New("diskstore: the file is damaged")

	// ErrTooLarge says that an entry exceeds a 128th part of Options.MaxBytes.
	ErrTooLarge = errors.New("diskstore: the entry is too large")
)

// Options configure a [Store]. The zero value, and nil, mean the defaults.
type Options struct {
	// MaxBytes is how large the file gets, give or take a few percent: beyond
	// it the oldest writes are evicted. An entry may have a 128th part of it.
	// It is at least 4 MiB. Defaults to 1 GiB.
	MaxBytes int64

	// SweepEvery is how often expired entries are looked for; until then they
	// only take room. Defaults to 5 minutes.
	SweepEvery time.Duration

	// FailIfDamaged makes Open fail, and calls of an open store, with
	// [ErrDamaged] where they would otherwise put the file aside and go on
	// with an empty one.
	FailIfDamaged bool

	// Warn is called when something was lost and the store went on. It must
	// not block. Defaults to doing nothing.
	Warn func(Warning)
}

// Warning is what Options.Warn is told.
type Warning struct {
	Err   error  // what is wrong; wraps ErrDamaged
	Aside string // where the damaged file is now; empty if a single entry was dropped
}

const (
	minBytes   = 4 << 20
	entryShare = 128 // the largest entry is this part of MaxBytes
)

// Exclusive implements backend.Exclusive: the file is locked.
func (s *Store) Exclusive() bool { return true }

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	d.MaxBytes = cmp.Or(d.MaxBytes, 1<<30)
	d.SweepEvery = cmp.Or(d.SweepEvery, 5*time.Minute)
	if d.Warn == nil {
		d.Warn = func(Warning) {}
	}
	return d
}

func (o *Options) validate() error {
	switch {
	case o.MaxBytes < minBytes:
		return fmt.Errorf("diskstore: Options.MaxBytes: must be at least %d, is %d", minBytes, o.MaxBytes)
	case o.SweepEvery < 0:
		return fmt.Errorf("diskstore: Options.SweepEvery: must not be negative, is %v", o.SweepEvery)
	}
	return nil
}

// Store is a [backend.Store] in a file. It is safe for concurrent use.
type Store struct {
	path   string
	opts   Options
	opened time.Time

	mu  sync.RWMutex // write: db is replaced or closed
	db  *bbolt.DB    // nil: closed, or bad
	bad error        // why db could not be replaced

	ops   chan *op // to the writer
	stop  chan struct{}
	ends  sync.WaitGroup // of the writer and the sweeper
	done  chan struct{}  // the writer has ended
	close func() error
}

var (
	_ backend.Store   = (*Store)(nil)
	_ backend.Swapper = (*Store)(nil)
	_ Lister          = (*Store)(nil)
)

// Open opens the store in the file at path, or makes one. Its folder must
// exist. While it is open, no other store can have it: Open then fails at once
// with [ErrInUse]. It starts two goroutines that Close ends.
func Open(path string, opts *Options) (*Store, error) {
	o := opts.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if path == "" || strings.ContainsRune(path, 0) {
		return nil, errors.New("diskstore: path: must name a file")
	}
	s := &Store{
		path: path, opts: o, opened: time.Now(),
		ops: make(chan *op, maxBatch), stop: make(chan struct{}), done: make(chan struct{}),
	}
	s.close = sync.OnceValue(s.shut)
	db, err := s.open()
	if errors.Is(err, ErrDamaged) && !o.FailIfDamaged {
		db, err = s.anew(err)
	}
	if err != nil {
		return nil, err
	}
	s.db = db
	s.ends.Go(s.writeAll)
	s.ends.Go(s.sweepAll)
	return s, nil
}

// now is the time in microseconds since the Unix epoch. A wall clock that steps
// while the store is open does not move it.
func (s *Store) now() int64 { return s.opened.Add(time.Since(s.opened)).UnixMicro() }

// Close implements backend.Store. What was written before it is kept.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	close(s.stop)
	s.ends.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	db := s.db
	s.db, s.bad = nil, nil
	if db == nil {
		return nil
	}
	return s.seal(db)
}

// view runs fn in a read transaction.
func (s *Store) view(ctx context.Context, fn func(t *tables) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.mu.RLock()
	db, err := s.current()
	if err == nil {
		err = safely(func() error {
			return db.View(func(tx *bbolt.Tx) error { return fn(newTables(tx)) })
		})
	}
	s.mu.RUnlock()
	if errors.Is(err, ErrDamaged) {
		return s.heal(db, err)
	}
	return err
}

// current returns the open file. The mutex is held.
func (s *Store) current() (*bbolt.DB, error) {
	switch {
	case s.db != nil:
		return s.db, nil
	case s.bad != nil:
		return nil, s.bad
	}
	return nil, backend.ErrClosed
}

// heal replaces a file that was found damaged while open. It returns nil if
// there is one to go on with.
func (s *Store) heal(db *bbolt.DB, why error) error {
	if s.opts.FailIfDamaged {
		return why
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != db { // somebody else has, or it is closed
		_, err := s.current()
		return err
	}
	_ = closeFile(db)
	s.db, s.bad = s.anew(why)
	return s.bad
}
