package diskstore

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The file has three buckets: what is known of the file, where the entry of a
// key is, and the entries in the order of their writing.
var (
	aboutBucket = []byte("about")
	indexBucket = []byte("index")
	dataBucket  = []byte("data")

	formatKey = []byte("format")
	bootKey   = []byte("boot")
)

const (
	format = "1"
	clean  = "clean" // in place of the boot: the file was closed, and is on the disk
)

// bootID tells one run of the machine from the next; empty where it is not
// known.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// safely turns what a damaged file does to bbolt, panics and faults in mapped
// memory, into ErrDamaged.
func safely(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			// Not the panic's own text: it may quote a key.
			err = fmt.Errorf("%w: bbolt panicked (%T)", ErrDamaged, p)
		}
	}()
	return fn()
}

// open opens the file as it is.
func (s *Store) open() (*bbolt.DB, error) {
	var db *bbolt.DB
	var file *os.File
	err := safely(func() (err error) {
		db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
			Timeout:         time.Nanosecond, // at once
			NoSync:          true,            // see the package comment
			NoGrowSync:      true,
			FreelistType:    bbolt.FreelistMapType,
			InitialMmapSize: s.mapSize(),
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, mode)
				file = f
				return f, err
			},
		})
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, ErrInUse
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	case errors.Is(err, ErrDamaged):
		unlock(file) // what bbolt has mapped stays so, and would keep the lock
		_ = file.Close()
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("diskstore: %w", err)
	}
	if err := safely(func() error { return s.check(db, file) }); err != nil {
		_ = closeFile(db)
		return nil, err
	}
	return db, nil
}

// mapSize is how much is mapped from the beginning, so that a file that grows
// need not wait for its readers.
func (s *Store) mapSize() int {
	if runtime.GOOS == "windows" || strconv.IntSize < 64 { // there it takes room
		return 0
	}
	return int(s.opts.MaxBytes + s.opts.MaxBytes/4)
}

// check finds out whether the file can be trusted, and marks it as open.
func (s *Store) check(db *bbolt.DB, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("diskstore: %w", err)
	}
	boot := bootID()
	db.NoSync = false // the mark must be on the disk before anything else is
	defer func() { db.NoSync = true }()
	return db.Update(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w: %d bytes are missing at its end", ErrDamaged, tx.Size()-info.Size())
		}
		about := tx.Bucket(aboutBucket)
		if about != nil {
			was := string(about.Get(bootKey))
			switch {
			case string(about.Get(formatKey)) != format:
				return fmt.Errorf("%w: its format is not known", ErrDamaged)
			case was != clean && (was != boot || boot == ""):
				return fmt.Errorf("%w: the machine went down while it was open", ErrDamaged)
			case tx.Bucket(indexBucket) == nil || tx.Bucket(dataBucket) == nil:
				return fmt.Errorf("%w: a bucket is missing", ErrDamaged)
			}
			return about.Put(bootKey, []byte(boot))
		}
		if name, _ := tx.Cursor().First(); name != nil {
			return fmt.Errorf("%w: it is not a store's", ErrDamaged)
		}
		about, err := tx.CreateBucket(aboutBucket)
		if err != nil {
			return err
		}
		for _, name := range [][]byte{indexBucket, dataBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return errors.Join(about.Put(formatKey, []byte(format)), about.Put(bootKey, []byte(boot)))
	})
}

// anew puts the file aside and opens an empty one.
func (s *Store) anew(why error) (*bbolt.DB, error) {
	aside := s.path + ".damaged" // the last one is enough
	if err := os.Rename(s.path, aside); err != nil {
		return nil, fmt.Errorf("diskstore: %w: %w", why, err)
	}
	db, err := s.open()
	if err == nil {
		s.opts.Warn(Warning{Err: why, Aside: aside})
	}
	return db, err
}

const (
	syncFor  = time.Second
	closeFor = 500 * time.Millisecond
)

// seal brings the file to the disk, says so in it and closes it. A disk that is
// too slow for that leaves it as a crash of the process would.
func (s *Store) seal(db *bbolt.DB) error {
	if s.flushed() {
		_ = safely(func() error {
			db.NoSync = false
			return db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(aboutBucket).Put(bootKey, []byte(clean)) })
		})
	}
	if err := closeFile(db); err != nil {
		return fmt.Errorf("diskstore: %w", err)
	}
	return nil
}

// closeFile does not wait for ever for the locks of a bbolt that has panicked.
func closeFile(db *bbolt.DB) error {
	done := make(chan error, 1)
	go func() { done <- safely(db.Close) }() // ends at once, or bbolt is stuck and lost
	limit := time.NewTimer(closeFor)
	defer limit.Stop()
	select {
	case err := <-done:
		return err
	case <-limit.C:
		return ErrDamaged
	}
}

// flushed reports whether the file was brought to the disk in time. It opens it
// anew: a call that outlives bbolt's own file must not hold that.
func (s *Store) flushed() bool {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	done := make(chan error, 1)
	go func() { // ends when the disk has answered
		done <- f.Sync()
		_ = f.Close()
	}()
	limit := time.NewTimer(syncFor)
	defer limit.Stop()
	select {
	case err := <-done:
		return err == nil
	case <-limit.C:
		return false
	}
}
