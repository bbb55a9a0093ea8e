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

// RestoreOptions configure a [Cache.Restore]. The zero value restores all that can
// be vouched for.
type RestoreOptions struct {
	// MaxEntries ends it after so many entries of the file; 0: no bound. Give
	// the memory's capacity where the file may hold more: it has the hottest
	// first, and those after them might take their place.
	MaxEntries int

	// KeepUnverified keeps the saved value of a key that the shared tier cannot
	// be asked for. It may have been changed or deleted while this process was
	// down, and is served until its lifetime is over, or until changes by other
	// processes begin to be told, when all of that is dropped. Without it such
	// keys are left out.
	KeepUnverified bool
}

// RestoreStats count the entries of a file.
type RestoreStats struct {
	Read       int // the sum of the others
	Restored   int // in memory now
	Unverified int // in memory now, as RestoreOptions.KeepUnverified says
	Missing    int // the shared tier holds nothing fresh for them
	Expired    int // while they were in the file
	Newer      int // something newer is in memory or under way, or was written meanwhile
	Failed     int // the shared tier could not be asked for them
	Damaged    int // not of this cache, or of another codec or schema, or damaged
}

// Restore brings into memory what Save has written. Call it before the cache is
// used: what is written to the cache meanwhile is kept, but what was written to it
// before, and is not in memory, is not known.
//
// What has changed while the process was down is not known either. So where there
// is a tier outside of this process, Restore asks it for the keys, loads nothing,
// and keeps what it holds: the file then is a list of what was hot
// (SaveOptions.KeysOnly). Before that it waits up to a second for changes by other
// processes to be told. Without such a tier the saved values are kept, for what is
// left of their lifetime by this machine's clock. One that was set back since
// can make that longer by as much, but if it says that the file is of the future
// nothing is kept, and the error is [ErrSavedLater].
//
// Nothing of the file is believed. What is damaged, or not of this cache, codec
// and schema, is left out and counted; if the file as a whole is not sound, what
// was sound of it is kept and the error is [ErrSaved]. Who can write to the file
// can write sound entries, though, unless the codec seals them (codec/aead). A few
// hundred entries are in memory at once. Restore stops, with the cause, when ctx
// ends.
func (c *Cache[K, V]) Restore(ctx context.Context, r io.Reader, opts RestoreOptions) (RestoreStats, error) {
	if err := c.usable(ctx); err != nil {
		return RestoreStats{}, err
	}
	switch {
	case opts.MaxEntries < 0:
		return RestoreStats{}, fmt.Errorf("cache: RestoreOptions.MaxEntries: must not be negative, is %d", opts.MaxEntries)
	case c.parse == nil:
		return RestoreStats{}, errParseKey
	case !c.stack.Near():
		return RestoreStats{}, fmt.Errorf("cache %q: restore: there is no tier in this process to restore to", c.opts.Name)
	}
	now := time.Now()
	x := &restorer[K, V]{
		cache: c, opts: opts, now: now, began: c.stack.Instant(), shared: c.stack.Shared(),
	}
	var end func()
	x.news, end = c.readers.begin()
	defer end()
	in, err := savefile.NewReader(r)
	if err != nil {
		return x.stats, fmt.Errorf("cache %q: restore: %w", c.opts.Name, err)
	}
	if x.future = in.Saved > now.UnixMicro(); x.future && !x.shared {
		return x.stats, ErrSavedLater
	}
	c.stack.AwaitNews(ctx, newsWait)
	if err := x.all(ctx, in); err != nil {
		return x.stats, fmt.Errorf("cache %q: restore: %w", c.opts.Name, err)
	}
	return x.stats, nil
}

// restorer is one Restore.
type restorer[K comparable, V any] struct {
	cache  *Cache[K, V]
	opts   RestoreOptions
	stats  RestoreStats
	news   *news
	now    time.Time // when it began, by this machine's clock
	began  int64     // the same by clock.Now
	shared bool
	future bool // the file's time has not come

	batch []saved[K]
	bytes int64
}

// saved is a record whose key is one of the cache's.
type saved[K comparable] struct {
	key K
	rec savefile.Record
}

// A batch is so many entries, or so many bytes, if one more does not make it much
// more.
const (
	restoreBatch = 256
	restoreBytes = 8 << 20
)

func (x *restorer[K, V]) all(ctx context.Context, in *savefile.Reader) error {
	in.SkipEntries = x.shared && (!x.opts.KeepUnverified || x.future)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rec, err := in.Next()
		if err == nil {
			x.stats.Read++
			err = x.take(ctx, rec)
		}
		if err == nil && x.stats.Read == x.opts.MaxEntries {
			err = io.EOF
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			return x.flush(ctx)
		}
		return errors.Join(x.flush(ctx), err)
	}
}

// take adds a record to the batch.
func (x *restorer[K, V]) take(ctx context.Context, rec savefile.Record) error {
	key, ok := x.cache.parsed(rec.Key)
	if !ok {
		x.stats.Damaged++
		return nil
	}
	rec.Entry = append([]byte(nil), rec.Entry...) // the reader's
	x.batch = append(x.batch, saved[K]{key, rec})
	if x.bytes += rec.Size(); len(x.batch) < restoreBatch && x.bytes < restoreBytes {
		return nil
	}
	return x.flush(ctx)
}

// flush brings a batch into memory.
func (x *restorer[K, V]) flush(ctx context.Context) error {
	batch := x.batch
	x.batch, x.bytes = nil, 0
	if len(batch) == 0 {
		return nil
	}
	if x.cache.closed.Load() {
		return ErrClosed
	}
	if !x.shared {
		return x.keep(ctx, batch, &x.stats.Restored)
	}
	keys := make([]K, len(batch))
	for i := range batch {
		keys[i] = batch[i].key
	}
	placed, err := x.cache.promote(ctx, keys)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if placed == nil {
		return err
	}
	var unknown []saved[K]
	for i, p := range placed {
		switch {
		case p == placedValue, p == placedAbsent:
			x.stats.Restored++
			x.cache.stack.SetHeat(batch[i].key, batch[i].rec.Heat)
		case p == placedNot:
			x.stats.Missing++
		case len(batch[i].rec.Entry) > 0:
			unknown = append(unknown, batch[i])
		default:
			x.stats.Failed++
		}
	}
	return x.keep(ctx, unknown, &x.stats.Unverified)
}

// keep brings the saved values of a batch into memory.
func (x *restorer[K, V]) keep(ctx context.Context, batch []saved[K], count *int) error {
	list := make([]kept[K, V], 0, len(batch))
	heat := make([]uint32, 0, len(batch))
	seal := tier.NewSealer[V](x.cache.opts.Codec, x.cache.opts.Schema, x.now.Add(time.Since(x.now))) // lives go on meanwhile
	for _, b := range batch {
		if len(b.rec.Entry) == 0 { // the file has keys alone
			x.stats.Missing++
			continue
		}
		switch e, alive, sound := seal.Open(ctx, b.rec.Key, b.rec.Entry); {
		case !sound:
			x.stats.Damaged++
		case !alive:
			x.stats.Expired++
		default:
			e.Begun = x.began // what was stamped or flushed since concerns it
			list, heat = append(list, kept[K, V]{b.key, e}), append(heat, b.rec.Heat)
		}
	}
	done, err := x.cache.keep(ctx, list, x.news)
	for i := range done {
		if !done[i] {
			x.stats.Newer++
			continue
		}
		*count++
		x.cache.stack.SetHeat(list[i].key, heat[i])
	}
	return err
}
