package matrixtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/tier"
)

// TestMatrix runs a compact kit over every place with every stack of codecs.
func TestMatrix(t *testing.T) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel() // what takes time is servers that start, and entries that expire
			open := p.start(t)
			t.Run("with", func(t *testing.T) { // a group: the servers stay until all of it is done
				for _, s := range stacks(t) {
					t.Run(s.name, func(t *testing.T) {
						t.Parallel()
						s.run(t, &p, open)
					})
				}
			})
		})
	}
}

// soon is when what comes at once on an idle machine has come.
const soon = 20 * time.Second

var errSource = errors.New("source is down")

// kit is two processes' caches over one place: one writes, and the other, which
// has only bytes to go by, reads.
type kit[V any] struct {
	t      *testing.T
	near   func() (backend.Memory, error)
	open   func() backend.Store
	codec  codec.Codec[V]
	values []V
	raw    backend.Store
	writer *cache.Cache[string, V]
	reader *cache.Cache[string, V]
	loads  atomic.Int32 // of the reader
}

func newKit[V any](t *testing.T, p *place, open opener, c codec.Codec[V], values []V) *kit[V] {
	namespace := strings.NewReplacer("+", "_").Replace(t.Name()[strings.LastIndex(t.Name(), "/")+1:])
	k := &kit[V]{t: t, near: p.near, open: open(t, "ns_"+namespace), codec: c, values: values}
	k.raw = k.open()
	t.Cleanup(func() { _ = k.raw.Close() })
	k.writer = k.cache(c, nil, k.load(nil))
	k.reader = k.cache(c, p.near, k.load(&k.loads))
	return k
}

// cache opens a process's cache.
func (k *kit[V]) cache(c codec.Codec[V], near func() (backend.Memory, error), load cache.LoadFunc[string, V]) *cache.Cache[string, V] {
	k.t.Helper()
	var tiers []tier.Tier
	if near != nil {
		m, err := near()
		must(k.t, err)
		tiers = append(tiers, tier.Local(m, nil))
	}
	tiers = append(tiers, tier.Remote(k.open(), &tier.RemoteOptions{Budget: soon})) // a busy machine is no outage
	opts := &cache.Options[string, V]{
		Codec: c, Schema: 1, Policy: cache.Policy{TTL: time.Hour, AbsentTTL: time.Hour, StaleIfError: time.Hour},
	}
	made, err := cache.New(load, opts, tiers...)
	must(k.t, err)
	k.t.Cleanup(func() { _ = made.Close() })
	return made
}

// load gives the second value, and counts how often.
func (k *kit[V]) load(count *atomic.Int32) cache.LoadFunc[string, V] {
	return func(_ context.Context, key string) (v V, err error) {
		if count != nil {
			count.Add(1)
		}
		switch {
		case strings.HasPrefix(key, "absent"):
			return v, cache.ErrNotFound
		case strings.HasPrefix(key, "failing"):
			return v, errSource
		}
		return k.values[1], nil
	}
}

func (k *kit[V]) run() {
	k.round()
	k.absent()
	k.lifetimes()
	k.tags()
	k.damaged()
	k.foreign()
	for who, c := range map[string]*cache.Cache[string, V]{"writer": k.writer, "reader": k.reader} {
		if s := c.Stats(); s.Tiers[0].Errors != 0 || s.Errors != 0 {
			k.t.Errorf("%s: Stats = %+v, want no errors in all of this", who, s)
		}
	}
}

// gets reads, and wants a value and so many loads.
func (k *kit[V]) gets(what, key string, want V, loads int32) {
	k.t.Helper()
	before := k.loads.Load()
	v, err := k.reader.Get(k.t.Context(), key)
	if n := k.loads.Load() - before; err != nil || !same(v, want) || n != loads {
		k.t.Errorf("%s: Get = %.60q, %v, and %d loads; want %.60q and %d", what, fmt.Sprint(v), err, n, fmt.Sprint(want), loads)
	}
}

// until waits for what is bound to happen.
func (k *kit[V]) until(what string, ok func() bool) {
	k.t.Helper()
	for late := time.After(soon); !ok(); {
		select {
		case <-late:
			k.t.Fatalf("no %s within %v", what, soon)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// round: each value comes back as it was set, also under keys of any bytes.
func (k *kit[V]) round() {
	for i, v := range k.values {
		key := fmt.Sprintf("value %d \x00\xff{é}:", i)
		must(k.t, k.writer.Set(k.t.Context(), key, v))
		k.gets(fmt.Sprint("value ", i), key, v, 0)
		k.gets(fmt.Sprint("value ", i, " again"), key, v, 0)
	}
	must(k.t, k.writer.Delete(k.t.Context(), "value 0 \x00\xff{é}:"))
	if _, err := k.writer.Peek(k.t.Context(), "value 0 \x00\xff{é}:"); !errors.Is(err, cache.ErrMiss) {
		k.t.Errorf("Peek = %v after Delete, want a miss", err)
	}
	// What one loads, the other has.
	v, err := k.writer.Get(k.t.Context(), "loaded")
	if want := k.values[1]; err != nil || !same(v, want) {
		k.t.Errorf("Get = %v, want it loaded", err)
	}
	k.gets("loaded elsewhere", "loaded", v, 0)
}

// absent: that the source has none is known to all.
func (k *kit[V]) absent() {
	for who, c := range map[string]*cache.Cache[string, V]{"writer": k.writer, "reader": k.reader} {
		if _, err := c.With(nil).Get(k.t.Context(), "absent"); !errors.Is(err, cache.ErrNotFound) {
			k.t.Errorf("%s: Get = %v, want ErrNotFound", who, err)
		}
	}
	if a, b := k.writer.Stats(), k.reader.Stats(); a.Loads+b.Loads != 2 { // with "loaded"
		k.t.Errorf("%d and %d loads so far, want one of a value and one of what is absent", a.Loads, b.Loads)
	}
}

// lifetimes: an entry is there until its time is over; stale, it rides out a
// failure of the source.
func (k *kit[V]) lifetimes() {
	ctx, v := k.t.Context(), k.values[2]
	short := cache.SetOptions{TTL: 50 * time.Millisecond, StaleFor: -1}
	must(k.t, k.writer.SetWith(ctx, "short", v, short))
	must(k.t, k.writer.SetWith(ctx, "failing", v, cache.SetOptions{TTL: time.Millisecond, StaleFor: time.Hour}))
	k.until("stale value", func() bool {
		e, err := k.reader.GetEntry(ctx, "failing")
		if err != nil || !same(e.Value, v) {
			k.t.Fatalf("GetEntry = %+v, %v, want the value, fresh or stale", e, err)
		}
		return e.Stale
	})
	k.until("end of a lifetime", func() bool {
		_, err := k.reader.Peek(ctx, "short")
		return errors.Is(err, cache.ErrMiss)
	})
	k.gets("after its lifetime", "short", k.values[1], 1)
}

// tags: entries with a tag are removed, and no others.
func (k *kit[V]) tags() {
	ctx, v := k.t.Context(), k.values[1]
	must(k.t, k.writer.SetWith(ctx, "red", v, cache.SetOptions{Tags: []string{"red", "all"}}))
	must(k.t, k.writer.SetWith(ctx, "blue", v, cache.SetOptions{Tags: []string{"blue", "all"}}))
	k.gets("before its tag is removed", "red", v, 0)
	must(k.t, k.reader.DeleteTags(ctx, "red"))
	if _, err := k.reader.Peek(ctx, "red"); !errors.Is(err, cache.ErrMiss) {
		k.t.Errorf("Peek = %v after DeleteTags, want a miss", err)
	}
	k.until("removal by tag elsewhere", func() bool {
		_, err := k.writer.Peek(ctx, "red")
		return errors.Is(err, cache.ErrMiss)
	})
	k.gets("with another tag", "blue", v, 0)
}

// rejected counts what the reader has found and could not use.
func (k *kit[V]) rejected() (corrupt, foreign uint64) {
	s := k.reader.Stats()
	return s.Tiers[0].Corrupt, s.Tiers[0].Foreign
}

// misses puts bytes under a key, and wants them to be a miss that is counted, and
// replaced by what is loaded.
func (k *kit[V]) misses(what, key string, data []byte, foreign bool) {
	k.t.Helper()
	must(k.t, k.raw.Set(k.t.Context(), key, data, time.Hour))
	corrupt0, foreign0 := k.rejected()
	k.gets(what, key, k.values[1], 1)
	corrupt1, foreign1 := k.rejected()
	if (corrupt1 > corrupt0) == foreign || (foreign1 > foreign0) != foreign {
		k.t.Errorf("%s: %d more corrupt, %d more foreign, want it counted once, as foreign: %t", what, corrupt1-corrupt0, foreign1-foreign0, foreign)
	}
	if v, err := k.writer.Peek(k.t.Context(), key); err != nil || !same(v, k.values[1]) {
		k.t.Errorf("%s: Peek = %v, want what was loaded in its place", what, err)
	}
}

// damaged: bytes that were changed, cut or never ours are a miss.
func (k *kit[V]) damaged() {
	ctx := k.t.Context()
	whole := func(key string) []byte {
		must(k.t, k.writer.Set(ctx, key, k.values[0]))
		b, err := k.raw.Get(ctx, key)
		must(k.t, err)
		return b
	}
	k.misses("no bytes", "bad 1", nil, false)
	k.misses("rubbish", "bad 2", []byte(hostile), false)
	b := whole("bad 3")
	k.misses("cut", "bad 3", b[:len(b)-1], false)
	b = append(whole("bad 4"), 0)
	k.misses("a byte more", "bad 4", b, false)
	for i, at := range []int{0, 3, 40, 66, -1} { // magic, flags, a time, the checksum, the last
		key := fmt.Sprint("flipped ", i)
		b := whole(key)
		b[(at+len(b))%len(b)] ^= 0x40
		k.misses(key, key, b, false)
	}
	if !takesAll(k.codec) { // sound bytes around what does not decode
		liar := k.cache(lying[V]{k.codec}, nil, nil)
		must(k.t, liar.Set(ctx, "lie", k.values[0]))
		b, err := k.raw.Get(ctx, "lie")
		must(k.t, err)
		k.misses("a payload that does not decode", "lie", b, false)
	}
}

// foreign: sound bytes of another key, codec or schema are a miss.
func (k *kit[V]) foreign() {
	ctx := k.t.Context()
	must(k.t, k.writer.Set(ctx, "here", k.values[0]))
	b, err := k.raw.Get(ctx, "here")
	must(k.t, err)
	k.misses("another key's", "there", b, true)

	other := k.cache(renamed[V]{k.codec}, nil, nil)
	must(k.t, other.Set(ctx, "other codec", k.values[0]))
	b, err = k.raw.Get(ctx, "other codec")
	must(k.t, err)
	k.misses("another codec's", "other codec", b, true)
	if _, err := other.Peek(ctx, "other codec"); !errors.Is(err, cache.ErrMiss) {
		k.t.Errorf("Peek by the other codec = %v, want a miss in turn", err)
	}
}

// takesAll reports whether a codec decodes whatever it is given.
func takesAll[V any](c codec.Codec[V]) bool {
	return c.ID() == codec.IDBytes || c.ID() == codec.IDString
}

// lying is a codec that writes what it cannot read.
type lying[V any] struct{ codec.Codec[V] }

func (lying[V]) Append(dst []byte, _ V) ([]byte, error) {
	return append(dst, bytes.Repeat([]byte{0xff}, 40)...), nil
}

// renamed is a codec that another program uses.
type renamed[V any] struct{ codec.Codec[V] }

func (renamed[V]) ID() uint16 { return codec.MaxID }
