package codec_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/aead"
	"github.com/bellwethercache/bellwether/codec/cbor"
	"github.com/bellwethercache/bellwether/codec/compress"
	"github.com/bellwethercache/bellwether/codec/gob"
	"github.com/bellwethercache/bellwether/codec/internal/testpb"
	"github.com/bellwethercache/bellwether/codec/msgpack"
	"github.com/bellwethercache/bellwether/codec/protobuf"
)

func ring(tb testing.TB) *aead.Keyring {
	tb.Helper()
	k, err := aead.NewKey(1, bytes.Repeat([]byte("k"), aead.KeySize))
	if err != nil {
		tb.Fatal(err)
	}
	r, err := aead.NewKeyring(k)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// wrapped returns c in each wrapper, by name.
func wrapped[V any](tb testing.TB, c codec.Codec[V]) map[string]codec.Codec[V] {
	tb.Helper()
	s2, err1 := compress.S2(c, nil)
	zstd, err2 := compress.Zstd(c, nil)
	sealed, err3 := aead.Seal(c, ring(tb))
	if err1 != nil || err2 != nil || err3 != nil {
		tb.Fatal(err1, err2, err3)
	}
	return map[string]codec.Codec[V]{"S2": s2, "Zstd": zstd, "Seal": sealed}
}

// stacks adds the IDs of c, alone and in one and two wrappers.
func stacks[V any](t *testing.T, seen map[uint16]string, name string, c codec.Codec[V]) {
	t.Helper()
	add := func(name string, id uint16) {
		if other, taken := seen[id]; taken {
			t.Errorf("%s and %s have the ID %d", name, other, id)
		}
		seen[id] = name
	}
	add(name, c.ID())
	for first, one := range wrapped(t, c) {
		add(first+" "+name, one.ID())
		for second, two := range wrapped(t, one) {
			add(second+" "+first+" "+name, two.ID())
			_, keyed := two.(codec.Keyed[V])
			if want := first == "Seal" || second == "Seal"; keyed != want {
				t.Errorf("%s %s: Keyed is %v, want %v", second, first, keyed, want)
			}
		}
	}
}

func TestStacksNeverShareAnID(t *testing.T) {
	seen := map[uint16]string{}
	stacks(t, seen, "JSON", codec.JSON[int]())
	stacks(t, seen, "Bytes", codec.Bytes())
	stacks(t, seen, "String", codec.String())
	stacks(t, seen, "CBOR", cbor.New[int]())
	stacks(t, seen, "protobuf", protobuf.New[wrapperspb.Int64Value]())
	stacks(t, seen, "msgpack", msgpack.New[int]())
	stacks(t, seen, "gob", gob.New[int]())
	if want := 7 * (1 + 3 + 9); len(seen) != want {
		t.Errorf("%d IDs, want %d", len(seen), want)
	}
}

// Entries in a store outlive the program that wrote them.
func TestIDsNeverChange(t *testing.T) {
	for want, got := range []uint16{
		1: codec.IDJSON, 2: codec.IDBytes, 3: codec.IDString, 4: codec.IDCBOR, 5: codec.IDProtobuf, 6: codec.IDMsgpack, 7: codec.IDGob,
	} {
		if int(got) != want {
			t.Errorf("the ID is %d, want %d", got, want)
		}
	}
	if id := gob.New[int]().ID(); id != codec.IDGob {
		t.Errorf("gob's ID is %d, want %d", id, codec.IDGob)
	}
}

// account is what the table in the package comment was measured with.
type account struct {
	ID     int64            `json:"id"`
	Name   string           `json:"name"`
	Score  float64          `json:"score"`
	Active bool             `json:"active"`
	Tags   []string         `json:"tags"`
	Counts map[string]int64 `json:"counts"`
	Next   *account         `json:"next,omitempty"`
}

// accounts returns one account of about 300 bytes of JSON, or 4 KiB.
func accounts(n int) *account {
	var a *account
	for i := range n {
		a = &account{
			ID: 1_000_000 + int64(i), Name: fmt.Sprintf("Augusta Ada King, countess %d of Lovelace", i), Score: 12.5 * float64(i),
			Active: true, Tags: []string{"mathematics", "poetry", fmt.Sprintf("engine-%d", i)},
			Counts: map[string]int64{"logins": 4711 + int64(i), "orders": int64(i), "refunds": -1}, Next: a,
		}
		a.Name += strings.Repeat(fmt.Sprintf(" line %d", i), 17)
	}
	return a
}

func message(a *account) *testpb.User {
	if a == nil {
		return nil
	}
	return &testpb.User{
		Id: a.ID, Name: a.Name, Score: a.Score, Active: a.Active, Tags: a.Tags, Counts: a.Counts, Next: message(a.Next),
	}
}

func bench[V any](b *testing.B, name string, c codec.Codec[V], v V) {
	data, err := c.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run(name+"/encode", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 2*len(data)+64)
		for b.Loop() {
			if _, err := c.Append(buf, v); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(data)), "size")
	})
	b.Run(name+"/decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCodecs(b *testing.B) {
	for name, n := range map[string]int{"300B": 1, "4KiB": 14} {
		b.Run(name, func(b *testing.B) {
			v := accounts(n)
			bench(b, "JSON", codec.JSON[*account](), v)
			bench(b, "CBOR", cbor.New[*account](), v)
			bench(b, "protobuf", protobuf.New[testpb.User](), message(v))
			bench(b, "msgpack", msgpack.New[*account](), v)
			bench(b, "gob", gob.New[*account](), v)
			for wrapper, c := range wrapped(b, codec.JSON[*account]()) {
				bench(b, wrapper+"-JSON", c, v)
			}
		})
	}
}
