package compress

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/bellwethercache/bellwether/codec"
)

// Zstd returns inner with its encodings compressed by Zstandard. It has the
// ability [codec.Keyed] if inner has it. At most four goroutines compress, and
// four expand, at the same time: each takes about a megabyte for its tables,
// which is kept. Make one codec and share it.
func Zstd[V any](inner codec.Codec[V], opts *Options) (codec.Codec[V], error) {
	o, err := opts.settle(4 << 10)
	if err != nil {
		return nil, err
	}
	a, err := newZstd(o.MaxSize)
	if err != nil {
		return nil, err
	}
	return wrap(compressed[V]{inner: inner, algorithm: a, name: "Zstd", opts: o}, codec.WrapZstd)
}

type zstdAlgorithm struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// newZstd makes an encoder and a decoder without a stream: they start no
// goroutine and need no Close.
func newZstd(size int) (a zstdAlgorithm, err error) {
	workers := min(4, runtime.GOMAXPROCS(0))
	a.enc, err = zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(workers),
		zstd.WithSingleSegment(true), // every frame says its size
		zstd.WithEncoderCRC(false),   // an entry has a checksum of its own
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		return a, fmt.Errorf("compress: %w", err)
	}
	a.dec, err = zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(workers),
		zstd.WithDecoderMaxMemory(uint64(size)),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return a, fmt.Errorf("compress: %w", err)
	}
	return a, nil
}

func (a zstdAlgorithm) pack(buf, plain []byte) []byte { return a.enc.EncodeAll(plain, buf) }

func (zstdAlgorithm) size(data []byte) (uint64, error) {
	var h zstd.Header
	if err := h.Decode(data); err != nil || h.Skippable || !h.HasFCS {
		return 0, ErrFormat // every encoding of ours says its size
	}
	return h.FrameContentSize, nil
}

func (a zstdAlgorithm) unpack(buf, data []byte, size int) ([]byte, error) {
	buf = slices.Grow(buf[:0], size)
	return a.dec.DecodeAll(data, buf[:0:size])
}
