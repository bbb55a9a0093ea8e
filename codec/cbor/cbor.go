// Package cbor is the codec for CBOR (RFC 8949): smaller and faster than JSON,
// binary strings survive, and types need no schema and no generated code. It
// is the first choice where JSON costs too much.
//
// It stands on github.com/fxamacker/cbor/v2, which checks that an input is
// well formed, without recursion into values and before it allocates.
package cbor

import (
	"bytes"
	"math"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/bellwethercache/bellwether/codec"
)

// MaxDepth is how deep arrays, maps and tags may nest in what is decoded.
const MaxDepth = 1000

const name = "CBOR"

// New returns the codec. Struct fields follow the tags cbor and json. Equal
// values have equal encodings: map keys are sorted, numbers are as short as
// they can be without loss. Times keep nanoseconds and the zone's offset. In a
// value of type any, maps come back as map[string]any and integers as uint64
// or int64.
//
// A value that contains itself must not be encoded: the process would die.
func New[V any]() codec.Codec[V] { return cborCodec[V]{} }

type cborCodec[V any] struct{}

func (cborCodec[V]) ID() uint16 { return codec.IDCBOR }

func (cborCodec[V]) Append(dst []byte, v V) (out []byte, err error) {
	defer codec.Recover(name, "encode", &err)
	m, err := modes()
	if err != nil {
		return dst, err
	}
	buf := bytes.NewBuffer(dst)
	if err := m.enc.MarshalToBuffer(v, buf); err != nil {
		return dst, &codec.Error{Codec: name, Op: "encode", Err: err}
	}
	return buf.Bytes(), nil
}

func (cborCodec[V]) Decode(data []byte) (_ V, err error) {
	defer codec.Recover(name, "decode", &err)
	var v, zero V
	m, err := modes()
	if err != nil {
		return zero, err
	}
	if err := m.dec.Unmarshal(data, &v); err != nil {
		return zero, &codec.Error{Codec: name, Op: "decode", Err: err}
	}
	return v, nil
}

type mode struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

var modes = sync.OnceValues(func() (m mode, err error) {
	opts := cbor.CoreDetEncOptions()
	opts.Time = cbor.TimeRFC3339Nano
	if m.enc, err = opts.UserBufferEncMode(); err != nil {
		return m, &codec.Error{Codec: name, Op: "create", Err: err}
	}
	m.dec, err = cbor.DecOptions{
		MaxNestedLevels: MaxDepth,
		// A count is checked against the bytes that are there in any case; a
		// lower limit would only refuse what Append has accepted.
		MaxArrayElements: math.MaxInt32,
		MaxMapPairs:      math.MaxInt32,
		UTF8:             cbor.UTF8DecodeInvalid,
		IndefLength:      cbor.IndefLengthForbidden,
		DefaultMapType:   reflect.TypeFor[map[string]any](),
	}.DecMode()
	if err != nil {
		return m, &codec.Error{Codec: name, Op: "create", Err: err}
	}
	return m, nil
})
