package tier

import (
	"errors"
	"fmt"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/internal/wire"
)

// Migration reads a cache's entries of another schema, or another codec, as
// values of its own: those of programs before a change, that run beside it or
// whose entries are still there. Make it with [MigrateFrom].
type Migration[V any] struct {
	from   shape
	decode func(data []byte, key string) (V, error)
	bad    error
}

// shape is what must be the same for bytes to be decoded.
type shape struct {
	schema uint32
	codec  uint16
}

// MigrateFrom returns the Migration of entries that were stored under a schema
// by a codec, which may bind them to their keys (codec.Keyed). What to makes of
// their values is served for the rest of their lifetimes; the entries stay as
// they are in the tier that they came from. to is called concurrently. An entry
// that does not decode, or for which to returns an error or panics, is a miss,
// counted in Stats.Foreign. Only what is sound and was stored under the same key
// comes so far.
//
// The schema is what Options.Schema of the cache was, or cache.SchemaOf its type
// if that was not set.
func MigrateFrom[Old, V any](schema uint32, c codec.Codec[Old], to func(Old) (V, error)) Migration[V] {
	switch {
	case schema == 0:
		return Migration[V]{bad: errors.New("tier: MigrateFrom: schema must not be 0: where none was set, it was cache.SchemaOf the value's type")}
	case c == nil:
		return Migration[V]{bad: errors.New("tier: MigrateFrom: codec must not be nil: give that which the entries were stored by")}
	case to == nil:
		return Migration[V]{bad: errors.New("tier: MigrateFrom: func must not be nil: with a codec of the same type, let it return what it gets")}
	}
	decode := func(data []byte, _ string) (Old, error) { return c.Decode(data) }
	if keyed, ok := c.(codec.Keyed[Old]); ok {
		decode = keyed.DecodeKey
	}
	return Migration[V]{from: shape{schema, c.ID()}, decode: func(data []byte, key string) (v V, err error) {
		defer recovered(&err)
		old, err := decode(data, key)
		if err != nil {
			return v, err
		}
		return to(old)
	}}
}

// migrations are those of cfg by what they read.
func migrations[K comparable, V any](cfg *Config[K, V]) (map[shape]*Migration[V], error) {
	all := make(map[shape]*Migration[V], len(cfg.Migrations))
	for i := range cfg.Migrations {
		m := &cfg.Migrations[i]
		switch {
		case m.bad != nil:
			return nil, m.bad
		case m.decode == nil:
			return nil, fmt.Errorf("tier: Migration %d is empty; make it with MigrateFrom", i)
		case m.from == shape{cfg.Schema, cfg.Codec.ID()}:
			return nil, fmt.Errorf("tier: Migration %d is from the cache's own schema (%d) and codec (%d), whose entries it reads itself: "+
				"give the new shape another Schema", i, m.from.schema, m.from.codec)
		case all[m.from] != nil:
			return nil, fmt.Errorf("tier: Migration %d is the second from schema %d and codec %d", i, m.from.schema, m.from.codec)
		}
		all[m.from] = m
	}
	return all, nil
}

// migration finds who reads raw, which is of no shape of ours.
func (r *remote[V]) migration(raw []byte, key string) (h wire.Header, payload []byte, m *Migration[V], err error) {
	if h, payload, err = wire.ParseAny(raw, key); err != nil {
		return h, nil, nil, err
	}
	if m = r.old[shape{h.Schema, h.Codec}]; m == nil {
		err = wire.ErrForeign
	}
	return h, payload, m, err
}

// migrate reads the value of an entry, of which an absent one has none, and counts
// what came of it.
func (r *remote[V]) migrate(m *Migration[V], h *wire.Header, payload []byte, key string) (v V, err error) {
	if !h.Absent {
		v, err = m.decode(payload, key)
	}
	if err != nil {
		r.count.Foreign.Add(1)
		return v, err
	}
	r.count.Migrated.Add(1)
	return v, nil
}
