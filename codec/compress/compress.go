// Package compress wraps a codec so that large encodings are stored
// compressed. [S2] is the choice when in doubt: it costs little and saves
// about two thirds of JSON from a few KiB on. [Zstd] saves more and costs four
// times as much: take it where the shared store's memory is what you pay for.
// Neither makes a request faster on a fast network.
//
//	c, err := compress.S2(codec.JSON[User](), nil)
//
// One byte in front says whether what follows is compressed: a small value, or
// one that does not shrink, is stored as it is.
//
// To encrypt as well, put aead.Seal around compress: sealed bytes do not
// shrink. The length of what is sealed then tells how well the value shrank;
// if an attacker writes a part of the value and watches lengths, do not
// compress.
package compress

import (
	"cmp"
	"errors"
	"fmt"
	"sync"

	"github.com/bellwethercache/bellwether/codec"
)

// Options of [S2] and [Zstd]. The zero value, and nil, mean the defaults.
type Options struct {
	// Threshold is the size in bytes from which an encoding is compressed.
	// 1 compresses everything that shrinks. Defaults to 1 KiB for S2, 4 KiB
	// for Zstd.
	Threshold int

	// MaxSize is the largest encoding, in bytes before compression, that is
	// written or accepted. It is checked before memory is taken for it.
	// Defaults to 8 MiB; 1 GiB at most.
	MaxSize int
}

const (
	// ErrTooLarge says that a value's encoding exceeds Options.MaxSize, or
	// that stored bytes claim to.
	ErrTooLarge = codec.Reason("exceeds MaxSize")

	// ErrFormat says that stored bytes are not of this codec, or damaged.
	ErrFormat = codec.Reason("not in this format")
)

// The first byte of an encoding.
const (
	raw    = 0
	packed = 1
)

// algorithm is one way to compress. buf is memory that may be used for the
// result.
type algorithm interface {
	pack(buf, plain []byte) []byte
	// size tells, from the first bytes, how large the plain form claims to be.
	size(data []byte) (uint64, error)
	// unpack is called with what size returned.
	unpack(buf, data []byte, size int) ([]byte, error)
}

type compressed[V any] struct {
	inner     codec.Codec[V]
	algorithm algorithm
	name      string
	id        uint16
	opts      Options
	buffers   *sync.Pool // of *[]byte
}

type keyed[V any] struct {
	compressed[V]
	inner codec.Keyed[V]
}

// settle returns o with its defaults filled in.
func (o *Options) settle(threshold int) (Options, error) {
	var v Options
	if o != nil {
		v = *o
	}
	v.Threshold, v.MaxSize = cmp.Or(v.Threshold, threshold), cmp.Or(v.MaxSize, 8<<20)
	if v.Threshold < 0 {
		return v, fmt.Errorf("compress: Options.Threshold: must not be negative, is %d", v.Threshold)
	}
	if v.MaxSize < 0 || v.MaxSize > 1<<30 {
		return v, fmt.Errorf("compress: Options.MaxSize: must be 0 to 1 GiB, is %d", v.MaxSize)
	}
	return v, nil
}

func wrap[V any](c compressed[V], number uint16) (codec.Codec[V], error) {
	if c.inner == nil {
		return nil, errors.New("compress: the codec to wrap must not be nil")
	}
	var err error
	if c.id, err = codec.Wrap(number, c.inner.ID()); err != nil {
		return nil, err
	}
	c.buffers = &sync.Pool{New: func() any { return new([]byte) }}
	if inner, ok := c.inner.(codec.Keyed[V]); ok {
		return keyed[V]{compressed: c, inner: inner}, nil
	}
	return c, nil
}

func (c compressed[V]) ID() uint16 { return c.id }

func (c compressed[V]) Append(dst []byte, v V) ([]byte, error) {
	out, err := c.inner.Append(append(dst, raw), v)
	return c.shrink(out, len(dst), err)
}

func (c keyed[V]) AppendKey(dst []byte, key string, v V) ([]byte, error) {
	out, err := c.inner.AppendKey(append(dst, raw), key, v)
	return c.shrink(out, len(dst), err)
}

// shrink compresses what follows the marker at out[at], if it should.
func (c compressed[V]) shrink(out []byte, at int, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	plain := out[at+1:]
	if len(plain) > c.opts.MaxSize {
		return nil, c.error("encode", ErrTooLarge)
	}
	if len(plain) < c.opts.Threshold {
		return out, nil
	}
	buf := c.buffers.Get().(*[]byte)
	defer c.free(buf)
	*buf = c.algorithm.pack((*buf)[:0], plain)
	if len(*buf) >= len(plain) {
		return out, nil
	}
	out[at] = packed
	return append(out[:at+1], *buf...), nil
}

func (c compressed[V]) Decode(data []byte) (v V, err error) {
	buf := c.buffers.Get().(*[]byte)
	defer c.free(buf)
	plain, err := c.expand(buf, data)
	if err != nil {
		return v, err
	}
	return c.inner.Decode(plain)
}

func (c keyed[V]) DecodeKey(data []byte, key string) (v V, err error) {
	buf := c.buffers.Get().(*[]byte)
	defer c.free(buf)
	plain, err := c.expand(buf, data)
	if err != nil {
		return v, err
	}
	return c.inner.DecodeKey(plain, key)
}

// expand returns the plain form of data: a part of data, or of buf.
func (c compressed[V]) expand(buf *[]byte, data []byte) (plain []byte, err error) {
	defer codec.Recover(c.name, "decode", &err)
	if len(data) == 0 || data[0] > packed {
		return nil, c.error("decode", ErrFormat)
	}
	mark, data := data[0], data[1:]
	if mark == raw {
		if len(data) > c.opts.MaxSize {
			return nil, c.error("decode", ErrTooLarge)
		}
		return data, nil
	}
	size, err := c.algorithm.size(data)
	if err != nil {
		return nil, c.error("decode", err)
	}
	if size > uint64(c.opts.MaxSize) {
		return nil, c.error("decode", ErrTooLarge)
	}
	plain, err = c.algorithm.unpack(*buf, data, int(size))
	if err != nil {
		return nil, c.error("decode", err)
	}
	if len(plain) != int(size) {
		return nil, c.error("decode", ErrFormat)
	}
	*buf = plain
	return plain, nil
}

// keep is the largest buffer that is kept for the next value.
const keep = 1 << 20

func (c compressed[V]) free(buf *[]byte) {
	if cap(*buf) <= keep {
		c.buffers.Put(buf)
	}
}

func (c compressed[V]) error(op string, err error) error {
	return &codec.Error{Codec: c.name, Op: op, Err: err}
}
