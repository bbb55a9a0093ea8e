package codec

import (
	"bytes"
	"encoding/json"
)

// Codec maps V to bytes and back. It is called concurrently. Prove one of your
// own with the kit in codec/codectest.
type Codec[V any] interface {
	// ID tells this encoding from every other one in the entries of a shared
	// store. Bytes of another ID are never given to Decode: they are a miss.
	// IDs below 64 are Bellwether's, 64 to [MaxID] are yours, and those above
	// belong to wrappers: see [Wrap].
	ID() uint16

	// Append appends the encoding of v to dst and returns the result, which
	// shares no memory with v. After an error the result is not used.
	Append(dst []byte, v V) ([]byte, error)

	// Decode returns the value that data encodes. It must treat data as
	// hostile, must not change it, and the value must share no memory with it.
	Decode(data []byte) (V, error)
}

// Keyed is an ability of codecs that bind an encoding to the key of its entry,
// so that bytes moved to another key do not decode. Whoever holds the key asks
// for it once, by a type assertion, and then calls these methods instead of
// Append and Decode. Bytes of AppendKey are for DecodeKey only, and the key is
// the same string for both. A wrapper has the ability if what it wraps has it.
type Keyed[V any] interface {
	Codec[V]

	// AppendKey is Append for the entry of key.
	AppendKey(dst []byte, key string, v V) ([]byte, error)

	// DecodeKey is Decode for the entry of key.
	DecodeKey(data []byte, key string) (V, error)
}

// JSON returns the default codec, encoding/json. Invalid UTF-8 in a string
// does not survive JSON: use [Bytes], or a binary codec, for such values.
func JSON[V any]() Codec[V] { return jsonCodec[V]{} }

type jsonCodec[V any] struct{}

func (jsonCodec[V]) ID() uint16 { return IDJSON }

func (jsonCodec[V]) Append(dst []byte, v V) (out []byte, err error) {
	defer Recover("JSON", "encode", &err)
	buf := bytes.NewBuffer(dst)
	if err := json.NewEncoder(buf).Encode(v); err != nil {
		return dst, &Error{Codec: "JSON", Op: "encode", Err: err}
	}
	return buf.Bytes()[:buf.Len()-1], nil // Encode ends with a newline
}

func (jsonCodec[V]) Decode(data []byte) (_ V, err error) {
	defer Recover("JSON", "decode", &err)
	var v, zero V
	if err := json.Unmarshal(data, &v); err != nil {
		return zero, &Error{Codec: "JSON", Op: "decode", Err: err}
	}
	return v, nil
}

// Bytes returns a codec that stores byte slices as they are. A nil slice comes
// back as an empty one.
func Bytes() Codec[[]byte] { return bytesCodec{} }

type bytesCodec struct{}

func (bytesCodec) ID() uint16 { return IDBytes }

func (bytesCodec) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }

func (bytesCodec) Decode(data []byte) ([]byte, error) { return append([]byte{}, data...), nil }

// String returns a codec that stores strings as they are, valid UTF-8 or not.
func String() Codec[string] { return stringCodec{} }

type stringCodec struct{}

func (stringCodec) ID() uint16 { return IDString }

func (stringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

func (stringCodec) Decode(data []byte) (string, error) { return string(data), nil }
