// Package msgpack is the codec for MessagePack, for types that carry msgpack
// tags already and for stores that other languages read. Where neither holds,
// codec/cbor is faster and its library better maintained.
//
// It stands on github.com/vmihailenco/msgpack/v5, which trusts what it reads:
// five bytes make it allocate without limit, and deep nesting overflows the
// stack, neither of which a program survives. So every input is walked through
// first, without recursion or allocation by its claims, and the library sees
// only one complete value whose lengths and counts are covered by bytes that
// are there. Methods DecodeMsgpack of your own types, and extensions that you
// register, must read exactly what they are given for that to hold.
package msgpack

import (
	"bytes"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/bellwethercache/bellwether/codec"
)

const name = "msgpack"

// New returns the codec. Struct fields follow the tag msgpack. Strings survive
// as they are, valid UTF-8 or not. Times keep nanoseconds and lose their zone.
// In a value of type any, numbers come back as the smallest type that holds
// them.
//
// A value that contains itself must not be encoded: the process would die.
func New[V any]() codec.Codec[V] { return msgpackCodec[V]{} }

type msgpackCodec[V any] struct{}

func (msgpackCodec[V]) ID() uint16 { return codec.IDMsgpack }

func (msgpackCodec[V]) Append(dst []byte, v V) (out []byte, err error) {
	defer codec.Recover(name, "encode", &err)
	buf := bytes.NewBuffer(dst)
	enc := msgpack.GetEncoder()
	enc.Reset(buf)
	enc.UseCompactInts(true)
	err = enc.Encode(v)
	enc.Reset(nil) // the pool must not keep dst
	msgpack.PutEncoder(enc)
	if err == nil {
		err = scan(buf.Bytes()[len(dst):]) // or else every Decode would fail
	}
	if err != nil {
		return dst, &codec.Error{Codec: name, Op: "encode", Err: err}
	}
	return buf.Bytes(), nil
}

func (msgpackCodec[V]) Decode(data []byte) (_ V, err error) {
	defer codec.Recover(name, "decode", &err)
	var v, zero V
	if err := scan(data); err != nil {
		return zero, &codec.Error{Codec: name, Op: "decode", Err: err}
	}
	if err := msgpack.Unmarshal(data, &v); err != nil {
		return zero, &codec.Error{Codec: name, Op: "decode", Err: err}
	}
	return v, nil
}
