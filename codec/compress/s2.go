package compress

import (
	"github.com/klauspost/compress/s2"

	"github.com/bellwethercache/bellwether/codec"
)

// S2 returns inner with its encodings compressed by S2, a faster relative of
// Snappy. It has the ability [codec.Keyed] if inner has it.
func S2[V any](inner codec.Codec[V], opts *Options) (codec.Codec[V], error) {
	o, err := opts.settle(1 << 10)
	if err != nil {
		return nil, err
	}
	return wrap(compressed[V]{inner: inner, algorithm: s2Algorithm{}, name: "S2", opts: o}, codec.WrapS2)
}

type s2Algorithm struct{}

func (s2Algorithm) pack(buf, plain []byte) []byte { return s2.Encode(buf, plain) }

func (s2Algorithm) size(data []byte) (uint64, error) {
	n, err := s2.DecodedLen(data)
	if err != nil || n < 0 {
		return 0, ErrFormat
	}
	return uint64(n), nil
}

func (s2Algorithm) unpack(buf, data []byte, _ int) ([]byte, error) {
	return s2.Decode(buf[:0], data)
}
