// Package protobuf is the codec for protocol buffers, for values that are
// messages already. Fields that a reader does not know are kept, so old and
// new versions of a message may share a store.
//
// It stands on google.golang.org/protobuf, which limits nesting to 10,000.
package protobuf

import (
	"google.golang.org/protobuf/proto"

	"github.com/bellwethercache/bellwether/codec"
)

// ErrNil says that Append was given a nil message: on the wire it would be an
// empty one. A value that does not exist is told by the loader's error.
const ErrNil = codec.Reason("nil message")

const name = "protobuf"

// New returns the codec for the message type T; the second type is inferred:
//
//	protobuf.New[pb.User]() // a codec.Codec[*pb.User]
//
// The encoding does not say which message it is: two messages in one store
// need two namespaces or schemas. Strings must be valid UTF-8 where the
// message's syntax asks for it; Append reports it if not.
func New[T any, M interface {
	*T
	proto.Message
}]() codec.Codec[M] {
	return protoCodec[T, M]{}
}

type protoCodec[T any, M interface {
	*T
	proto.Message
}] struct{}

func (protoCodec[T, M]) ID() uint16 { return codec.IDProtobuf }

func (protoCodec[T, M]) Append(dst []byte, m M) (out []byte, err error) {
	defer codec.Recover(name, "encode", &err)
	if m == nil {
		return dst, &codec.Error{Codec: name, Op: "encode", Err: ErrNil}
	}
	out, err = proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return dst, &codec.Error{Codec: name, Op: "encode", Err: err}
	}
	return out, nil
}

func (protoCodec[T, M]) Decode(data []byte) (_ M, err error) {
	defer codec.Recover(name, "decode", &err)
	m := M(new(T))
	// A field that is decoded lazily would keep data until it is read.
	if err := (proto.UnmarshalOptions{NoLazyDecoding: true}).Unmarshal(data, m); err != nil {
		return nil, &codec.Error{Codec: name, Op: "decode", Err: err}
	}
	return m, nil
}
