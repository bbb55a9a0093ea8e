// Package codec turns values into bytes and back, for bytes nobody vouches for.
//
// [JSON] is the default and fits any type encoding/json fits. [Bytes] and
// [String] store what they are given. A codec of your own implements [Codec];
// it is called concurrently.
package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Codec maps V to bytes and back.
type Codec[V any] interface {
	// ID tells this encoding from every other one in the entries of a shared
	// store. Bytes of another ID are never given to Decode: they are a miss.
	// IDs below 64 are Bellwether's.
	ID() uint16

	// Append appends the encoding of v to dst and returns the result.
	Append(dst []byte, v V) ([]byte, error)

	// Decode returns the value that data encodes. It must treat data as
	// hostile and must not retain it.
	Decode(data []byte) (V, error)
}

// JSON returns the default codec, encoding/json. Invalid UTF-8 in a string
// does not survive JSON: use [Bytes], or a binary codec, for such values.
func JSON[V any]() Codec[V] { return jsonCodec[V]{} }

type jsonCodec[V any] struct{}

func (jsonCodec[V]) ID() uint16 { return 1 }

func (jsonCodec[V]) Append(dst []byte, v V) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	if err := json.NewEncoder(buf).Encode(v); err != nil {
		return dst, fmt.Errorf("codec: encode JSON: %w", err)
	}
	return buf.Bytes()[:buf.Len()-1], nil // Encode ends with a newline
}

func (jsonCodec[V]) Decode(data []byte) (V, error) {
	var v V
	if err := json.Unmarshal(data, &v); err != nil {
		var zero V
		return zero, fmt.Errorf("codec: decode JSON: %w", err)
	}
	return v, nil
}

// Bytes returns a codec that stores byte slices as they are. A nil slice comes
// back as an empty one.
func Bytes() Codec[[]byte] { return bytesCodec{} }

type bytesCodec struct{}

func (bytesCodec) ID() uint16 { return 2 }

func (bytesCodec) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }

func (bytesCodec) Decode(data []byte) ([]byte, error) { return append([]byte{}, data...), nil }

// String returns a codec that stores strings as they are, valid UTF-8 or not.
func String() Codec[string] { return stringCodec{} }

type stringCodec struct{}

func (stringCodec) ID() uint16 { return 3 }

func (stringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

func (stringCodec) Decode(data []byte) (string, error) { return string(data), nil }
