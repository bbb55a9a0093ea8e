// Package gob is the codec for encoding/gob, for types that have methods for
// gob already (GobEncode, MarshalBinary) or that JSON does not fit: maps with
// any keys, complex numbers, interfaces whose types are registered. A field
// that is new, or gone, does no harm. Elsewhere codec/cbor is faster and, for
// values below some KiB, smaller: each gob says what its types look like. If V
// holds interfaces, a codec compiles that anew for each value, which takes some
// ten times as long; otherwise once, so make one codec and keep it.
//
// The library trusts what it reads: 20 bytes make it allocate 853 MiB for a
// map, and deep nesting overflows the stack, which no program survives. So
// every input is walked through first, without recursion or allocation by its
// claims, and the library sees only definitions, of a bounded number, and one
// complete value whose lengths and counts are covered by bytes that are there.
// Methods GobDecode and UnmarshalBinary of your own types must be as careful
// themselves.
package gob

import (
	"reflect"
	"sync"

	"github.com/bellwethercache/bellwether/codec"
)

const name = "gob"

// ErrNil is the cause when there is no value to encode.
const ErrNil = codec.Reason("gob has no nil pointers")

// New returns the codec. Exported fields survive, strings as they are, valid
// UTF-8 or not, and times with nanoseconds and offset. As gob has it, an empty
// slice, and in a struct a pointer to a zero that is no struct, come back nil;
// a nil pointer, as V or as an element, is an error.
//
// What is in an interface must be registered with gob.Register by whoever
// encodes and whoever decodes; a hostile input can have any registered type
// made. A stream of gob's own encoder decodes only if all definitions in it
// stand before the value, as they do in what this codec writes.
//
// A value that contains itself must not be encoded: the process would die.
func New[V any]() codec.Codec[V] {
	return &gobCodec[V]{keep: !hasInterface(reflect.TypeFor[V](), map[reflect.Type]bool{})}
}

type gobCodec[V any] struct {
	keep    bool      // what has seen the definitions
	writers sync.Pool // of *writer
	forms   forms
}

func (*gobCodec[V]) ID() uint16 { return codec.IDGob }

func (c *gobCodec[V]) Append(dst []byte, v V) (out []byte, err error) {
	defer codec.Recover(name, "encode", &err)
	if isNil(reflect.ValueOf(&v).Elem()) {
		return dst, &codec.Error{Codec: name, Op: "encode", Err: ErrNil}
	}
	w, ok := c.writers.Get().(*writer)
	if !ok {
		w = newWriter()
	}
	if out, err = w.append(dst, &v); err != nil {
		return dst, &codec.Error{Codec: name, Op: "encode", Err: err}
	}
	if c.keep && w.types != nil {
		c.writers.Put(w)
	}
	return out, nil
}

func (c *gobCodec[V]) Decode(data []byte) (_ V, err error) {
	defer codec.Recover(name, "decode", &err)
	var v, zero V
	if err := c.decode(data, &v); err != nil {
		return zero, &codec.Error{Codec: name, Op: "decode", Err: err}
	}
	return v, nil
}

func (c *gobCodec[V]) decode(data []byte, v *V) error {
	if f := c.forms.find(data); f != nil {
		return f.decode(data, v)
	}
	head, types, err := scan(data)
	if err != nil {
		return err
	}
	s := newSource()
	if err := s.decode(data, v); err != nil {
		return err
	}
	if c.keep {
		c.forms.learn(data[:head], types, s)
	}
	return nil
}

// isNil reports whether v is a nil pointer, or a pointer to one.
func isNil(v reflect.Value) bool {
	for range MaxDepth { // a type may be a pointer to itself
		if v.Kind() != reflect.Pointer {
			return false
		}
		if v.IsNil() {
			return true
		}
		v = v.Elem()
	}
	return false
}
