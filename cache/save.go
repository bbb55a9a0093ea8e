package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bellwethercache/bellwether/internal/savefile"
	"github.com/bellwethercache/bellwether/tier"
)

var (
	// ErrSaved says that what was to be restored is no save, or a damaged or
	// truncated one.
	ErrSaved = savefile.ErrDamaged

	// ErrSavedLater says that a save is of a time that has not come yet: the
	// machine's clock was set back, and nobody knows how old its entries are.
	ErrSavedLater = errors.New("cache: saved later than now: the machine's clock was set back; let the cache fill itself")

	errParseKey = errors.New("cache: Options.ParseKey: must be set to save or restore, because Options.Key is: " +
		"a save has keys as strings")
)

// SaveOptions configure a [Cache.Save]. The zero value saves all there is.
type SaveOptions struct {
	MaxEntries int   // 0: no bound
	MaxBytes   int64 // of what is written; 0: no bound

	// KeysOnly leaves the values out. Where a shared tier holds them, Restore
	// asks it in any case.
	KeysOnly bool
}

// Save writes what the nearest tier holds to w, hottest first: what was read in
// the most seconds of the last minutes. It ends before the entry that would go
// beyond a bound. Values are written by the cache's codec, keys in the clear; the
// whole is neither encrypted nor signed (see codec/aead for the values). The cache
// goes on meanwhile; of what is written during a Save, some is saved. n is how many
// entries were.
//
// It needs a memory that can list what it holds (backend.Ranger, else
// [tier.ErrNoRange]). Entries that cannot be encoded, or are larger than 64 MiB,
// are left out, and the error says so; what was written is sound all the same. After
// any other error it is of no use: write to a temporary file and rename it.
func (c *Cache[K, V]) Save(ctx context.Context, w io.Writer, opts SaveOptions) (n int, err error) {
	if err := c.usable(ctx); err != nil {
		return 0, err
	}
	switch {
	case opts.MaxEntries < 0:
		return 0, fmt.Errorf("cache: SaveOptions.MaxEntries: must not be negative, is %d", opts.MaxEntries)
	case opts.MaxBytes < 0:
		return 0, fmt.Errorf("cache: SaveOptions.MaxBytes: must not be negative, is %d", opts.MaxBytes)
	case c.parse == nil:
		return 0, errParseKey
	}
	list, err := c.stack.Held()
	if err != nil {
		return 0, fmt.Errorf("cache %q: save: %w", c.opts.Name, err)
	}
	now := time.Now()
	out, err := savefile.NewWriter(w, savefile.Header{KeysOnly: opts.KeysOnly, Saved: now.UnixMicro()})
	if err != nil {
		return 0, fmt.Errorf("cache %q: save: %w", c.opts.Name, err)
	}
	s := &saver[K, V]{cache: c, opts: opts, out: out, began: now, size: savefile.HeaderSize + savefile.EndSize,
		seal: tier.NewSealer(c.opts.Codec, c.opts.Schema, now)}
	if err = s.all(ctx, list); err == nil {
		err = out.Close()
	}
	switch {
	case err != nil:
		return s.n, fmt.Errorf("cache %q: save: %w", c.opts.Name, err)
	case s.left > 0:
		return s.n, fmt.Errorf("cache %q: save: %d entries were left out; why one was: %w", c.opts.Name, s.left, s.why)
	}
	return s.n, nil
}

// saver is one Save.
type saver[K comparable, V any] struct {
	cache *Cache[K, V]
	opts  SaveOptions
	out   *savefile.Writer
	seal  *tier.Sealer[V]
	began time.Time

	n    int
	size int64
	left int
	why  error
}

var (
	errBig     = errors.New("its key or value is too large")
	errInverse = errors.New("Options.ParseKey is not the inverse of Options.Key")
)

func (s *saver[K, V]) all(ctx context.Context, list []tier.Held[K, V]) error {
	for i := range list {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s.opts.MaxEntries > 0 && s.n >= s.opts.MaxEntries {
			return nil
		}
		rec, ok, err := s.record(ctx, &list[i])
		list[i] = tier.Held[K, V]{} // its memory is free to go
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			s.left++
			s.why = err
			continue
		case !ok:
			continue
		}
		if s.size += rec.Size(); s.opts.MaxBytes > 0 && s.size > s.opts.MaxBytes {
			return nil
		}
		if err := s.out.Add(&rec); err != nil {
			return err
		}
		s.n++
	}
	return nil
}

// record makes an entry's record, if it lives.
func (s *saver[K, V]) record(ctx context.Context, h *tier.Held[K, V]) (rec savefile.Record, ok bool, err error) {
	e, ok := h.Entry()
	if !ok {
		return rec, false, nil
	}
	rec = savefile.Record{Key: s.cache.key(h.Key()), Heat: h.Heat}
	if _, ok := s.cache.parsed(rec.Key); !ok {
		return rec, false, errInverse
	}
	if !s.opts.KeysOnly {
		// Its durations are as of now, the file's as of when it began.
		lag := time.Since(s.began)
		e.Age, e.FreshFor, e.LivesFor = e.Age-lag, e.FreshFor+lag, e.LivesFor+lag
		if rec.Entry, err = s.seal.Seal(ctx, rec.Key, &e); err != nil {
			return rec, false, err
		}
	}
	if !rec.Fits() {
		return rec, false, errBig
	}
	return rec, true, nil
}

// parsed is the key whose string is s, if there is one. Options.ParseKey may panic
// on what nobody vouches for.
func (c *core[K, V]) parsed(s string) (key K, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	key, ok = c.parse(s)
	return key, ok && (!c.panics || canCompare(key)) && c.key(key) == s
}
