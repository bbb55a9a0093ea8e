package tier_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/aead"
	"github.com/bellwethercache/bellwether/codec/cbor"
	"github.com/bellwethercache/bellwether/tier"
)

// stackOf is a stack of one shape on a store that it shares with others. In these
// tests the old shape is a text under schema 1, the new one a number under schema 2.
func stackOf[V any](t *testing.T, s *memstore.Store, schema uint32, c codec.Codec[V], old ...tier.Migration[V]) *tier.Stack[string, V] {
	t.Helper()
	st, err := tier.NewStack(tier.Config[string, V]{
		Key: func(s string) string { return s }, Codec: c, Schema: schema, Hooks: &tier.Hooks{}, Migrations: old,
	}, tier.Remote(s, nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func keep[V any](t *testing.T, s *tier.Stack[string, V], key string, e *tier.Entry[V]) {
	t.Helper()
	if err := s.SetRemote(t.Context(), key, e, 0); err != nil {
		t.Fatal(err)
	}
}

func sealed[V any](t *testing.T, c codec.Codec[V]) codec.Codec[V] {
	t.Helper()
	key, err := aead.NewKey(1, bytes.Repeat([]byte("s"), aead.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := aead.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := aead.Seal(c, ring)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestMigration(t *testing.T) {
	for name, tc := range map[string]struct {
		old codec.Codec[string]
		new codec.Codec[int]
	}{
		"plain":        {codec.String(), cbor.New[int]()},
		"sealed later": {codec.String(), sealed(t, cbor.New[int]())},
		"sealed":       {sealed(t, codec.String()), sealed(t, cbor.New[int]())},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memstore.NewStore()
				before := stackOf(t, s, 1, tc.old)
				after := stackOf(t, s, 2, tc.new, tier.MigrateFrom(1, tc.old, strconv.Atoi))
				e := entry("42", time.Minute, time.Hour)
				e.Fence, e.Cost, e.Meta = 7, time.Second, &tier.Meta{ETag: "e"}
				keep(t, before, "k", e)
				keep(t, before, "none", &tier.Entry[string]{Absent: true, FreshFor: time.Minute, LivesFor: time.Minute})
				time.Sleep(10 * time.Second)

				l, err := after.Look(t.Context(), "k", false, nil)
				if got := l.Entry; err != nil || !l.Found || got.Value != 42 || got.FreshFor != 50*time.Second || got.Age != 10*time.Second ||
					got.Fence != 7 || got.Cost != time.Second || got.Meta.ETag != "e" {
					t.Errorf("Look = %+v, %v, want 42 and all that was known of it", l, err)
				}
				if l, err := after.Look(t.Context(), "none", false, nil); err != nil || !l.Found || !l.Entry.Absent {
					t.Errorf("Look = %+v, %v, want what the source has none of", l, err)
				}
				if got := after.Stats()[0]; got.Migrated != 2 || got.Hits != 2 || got.Foreign+got.Corrupt+got.Errors != 0 {
					t.Errorf("Stats = %+v, want 2 hits, migrated", got)
				}

				// To make it stale writes it anew, in our shape.
				if err := after.ExpireRemote(t.Context(), "k"); err != nil {
					t.Fatal(err)
				}
				stats := after.Stats()[0]
				if l, err := after.Look(t.Context(), "k", false, nil); err != nil || l.Entry.Value != 42 || l.Entry.Fresh() {
					t.Errorf("Look = %+v, %v, want 42, stale", l, err)
				}
				now := after.Stats()[0]
				if d := now.Sub(&stats); d.Migrated != 0 || d.Hits != 1 {
					t.Errorf("Stats = %+v, want a hit of our own shape", d)
				}
				if l, err := before.Look(t.Context(), "k", false, nil); err != nil || l.Found || before.Stats()[0].Foreign != 1 {
					t.Errorf("Look = %+v, %v, Stats = %+v, want a counted miss before the change", l, err, before.Stats()[0])
				}
			})
		})
	}
}

// TestMigrationRefuses: what no migration reads is a miss, counted as foreign or
// as corrupt, and nothing but sound bytes of the right key come to one.
func TestMigrationRefuses(t *testing.T) {
	var came []string
	read := tier.MigrateFrom(1, codec.String(), func(s string) (int, error) {
		came = append(came, s)
		if s == "panic" {
			panic("secret")
		}
		return strconv.Atoi(s)
	})
	for name, tc := range map[string]struct {
		put     func(t *testing.T, s *memstore.Store)
		came    string
		corrupt uint64
	}{
		"an error":       {put: putOld(1, codec.String(), "no number"), came: "no number"},
		"a panic":        {put: putOld(1, codec.String(), "panic"), came: "panic"},
		"another schema": {put: putOld(3, codec.String(), "42")},
		"another codec":  {put: putOld(1, codec.JSON[string](), "42")},
		"another key": {put: func(t *testing.T, s *memstore.Store) {
			putOld(1, codec.String(), "42")(t, s)
			b, _ := s.Get(t.Context(), "k")
			_ = s.Set(t.Context(), "other", b, time.Hour)
			_ = s.Delete(t.Context(), "k")
		}},
		"damaged": {corrupt: 1, put: func(t *testing.T, s *memstore.Store) {
			putOld(1, codec.String(), "42")(t, s)
			b, _ := s.Get(t.Context(), "k")
			b[len(b)-1]++
			_ = s.Set(t.Context(), "k", b, time.Hour)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			came = nil
			s := memstore.NewStore()
			tc.put(t, s)
			after := stackOf(t, s, 2, codec.JSON[int](), read)
			key := "k"
			if name == "another key" {
				key = "other"
			}
			l, err := after.Look(t.Context(), key, false, nil)
			if err != nil || l.Found || l.Entry.Value != 0 || l.Seen == nil {
				t.Errorf("Look = %+v, %v, want a miss that says what it has seen", l, err)
			}
			if got := after.Stats()[0]; got.Foreign != 1-tc.corrupt || got.Corrupt != tc.corrupt || got.Misses != 1 || got.Migrated+got.Errors != 0 {
				t.Errorf("Stats = %+v, want one miss, counted", got)
			}
			if got := strings.Join(came, " "); got != tc.came {
				t.Errorf("the migration got %q, want %q", got, tc.came)
			}
		})
	}
}

// putOld stores a text under k.
func putOld(schema uint32, c codec.Codec[string], v string) func(t *testing.T, s *memstore.Store) {
	return func(t *testing.T, s *memstore.Store) {
		t.Helper()
		keep(t, stackOf(t, s, schema, c), "k", entry(v, time.Hour, time.Hour))
	}
}

func TestMigrationsThatMakeNoSense(t *testing.T) {
	same := func(n int) (int, error) { return n, nil }
	for text, old := range map[string][]tier.Migration[int]{ // nothing in the text: they do
		"schema must not be 0":  {tier.MigrateFrom(0, codec.JSON[int](), same)},
		"codec must not be nil": {tier.MigrateFrom(1, nil, same)},
		"func must not be nil":  {tier.MigrateFrom[int, int](1, codec.JSON[int](), nil)},
		"is empty":              {{}},
		"from the cache's own":  {tier.MigrateFrom(2, codec.JSON[int](), same)},
		"second from schema 1":  {tier.MigrateFrom(1, codec.JSON[int](), same), tier.MigrateFrom(1, codec.JSON[int](), same)},
		"":                      {tier.MigrateFrom(1, codec.JSON[int](), same)},
		" ":                     {tier.MigrateFrom(2, cbor.New[int](), same)},
	} {
		s, err := tier.NewStack(tier.Config[string, int]{
			Key: func(s string) string { return s }, Codec: codec.JSON[int](), Schema: 2, Hooks: &tier.Hooks{}, Migrations: old,
		}, tier.Remote(memstore.NewStore(), nil))
		if err == nil {
			_ = s.Close()
		}
		if wanted := strings.TrimSpace(text); (wanted == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), wanted) {
			t.Errorf("NewStack = %v, want %q", err, wanted)
		}
	}
}
