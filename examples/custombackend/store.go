package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// dir is a backend.Store over a folder, with a file for each entry: the time at
// which it ends, and its bytes. The folder may be shared by processes.
type dir struct {
	path   string
	closed atomic.Bool
}

// file names a key's file. Any string is a key, but not any is a file's name.
func (d *dir) file(key string) string {
	return filepath.Join(d.path, fmt.Sprintf("%x", sha256.Sum256([]byte(key))))
}

func (d *dir) check(ctx context.Context) error {
	if d.closed.Load() {
		return backend.ErrClosed
	}
	return ctx.Err()
}

// Get implements backend.Store.
func (d *dir) Get(ctx context.Context, key string) ([]byte, error) {
	if err := d.check(ctx); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(d.file(key))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, backend.ErrMiss
	case err != nil:
		return nil, err
	case len(b) < 8 || uint64(time.Now().UnixNano()) >= binary.BigEndian.Uint64(b):
		return nil, backend.ErrMiss
	}
	return b[8:], nil
}

// Set implements backend.Store. The file takes its name when it is whole, so that
// nobody reads a half.
func (d *dir) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := d.check(ctx); err != nil {
		return err
	}
	f, err := os.CreateTemp(d.path, "new-*")
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(ttl).UnixNano()))
	_, err = f.Write(append(b, value...))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), d.file(key))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// Delete implements backend.Store.
func (d *dir) Delete(ctx context.Context, keys ...string) error {
	err := d.check(ctx)
	for i := 0; i < len(keys) && err == nil; i++ {
		if err = os.Remove(d.file(keys[i])); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return err
}

// Close implements backend.Store.
func (d *dir) Close() error {
	d.closed.Store(true)
	return nil
}
