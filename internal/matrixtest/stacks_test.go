package matrixtest

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/aead"
	"github.com/bellwethercache/bellwether/codec/cbor"
	"github.com/bellwethercache/bellwether/codec/compress"
	"github.com/bellwethercache/bellwether/codec/gob"
	"github.com/bellwethercache/bellwether/codec/msgpack"
	"github.com/bellwethercache/bellwether/codec/protobuf"
)

// document is what codecs of any type are given.
type document struct {
	Name   string
	N      int64
	Tags   []string
	Counts map[string]int64
	Blob   []byte
	Next   *document
}

// documents survive in every codec: strings are valid UTF-8.
func documents() []document {
	return []document{
		{},
		{
			Name: "\x00<>&'\"\u2028👋{}\\%s\r\n", N: -1 << 63, Tags: []string{"", "a"}, Counts: map[string]int64{"": 1<<53 + 1},
			Blob: []byte("\x00\xffBW\x01"), Next: &document{Name: "null"},
		},
		{Name: large, Blob: []byte(large)},
	}
}

const hostile = "\x00\xff\xfeBW\x01\x00{\"a\":\xdd\xff\xff\xff\xff"

var large = strings.Repeat("large and compressible ", 1<<10)

// stack is a stack of codecs; run runs the kit with it.
type stack struct {
	name string
	run  func(t *testing.T, p *place, open opener)
}

func stacks(t *testing.T) []stack {
	json, zstdCBOR := codec.JSON[document](), codecs(compress.Zstd(cbor.New[document](), nil))(t)
	return []stack{
		of("json", json, documents()),
		of("cbor", cbor.New[document](), documents()),
		of("msgpack", msgpack.New[document](), documents()),
		of("gob", gob.New[document](), documents()),
		of("zstd+json", codecs(compress.Zstd(json, nil))(t), documents()),
		of("s2+json", codecs(compress.S2(json, nil))(t), documents()),
		of("aead+json", sealed(t, json), documents()),
		of("aead+zstd+cbor", sealed(t, zstdCBOR), documents()),
		of("protobuf", protobuf.New[wrapperspb.BytesValue](), []*wrapperspb.BytesValue{
			{}, wrapperspb.Bytes([]byte(hostile)), wrapperspb.Bytes([]byte(large)),
		}),
		of("bytes", codec.Bytes(), [][]byte{{}, []byte(hostile), []byte(large)}),
		of("string", codec.String(), []string{"", hostile, large}),
	}
}

func of[V any](name string, c codec.Codec[V], values []V) stack {
	return stack{name, func(t *testing.T, p *place, open opener) { newKit(t, p, open, c, values).run() }}
}

func codecs[V any](c codec.Codec[V], err error) func(t *testing.T) codec.Codec[V] {
	return func(t *testing.T) codec.Codec[V] {
		t.Helper()
		must(t, err)
		return c
	}
}

func sealed[V any](t *testing.T, c codec.Codec[V]) codec.Codec[V] {
	t.Helper()
	key, err := aead.NewKey(1, bytes.Repeat([]byte("k"), aead.KeySize))
	must(t, err)
	ring, err := aead.NewKeyring(key)
	must(t, err)
	s, err := aead.Seal(c, ring)
	must(t, err)
	return s
}

func same[V any](a, b V) bool {
	if m, ok := any(a).(proto.Message); ok {
		other, _ := any(b).(proto.Message)
		return proto.Equal(m, other)
	}
	return reflect.DeepEqual(a, b)
}
