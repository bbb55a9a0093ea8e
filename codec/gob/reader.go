package gob

import (
	"encoding/binary"
	"math/bits"

	"github.com/bellwethercache/bellwether/codec"
)

// reader reads the primitives of a gob. After an error it reads zeros.
type reader struct {
	data []byte
	pos  int
	err  error
}

func (r *reader) fail(why codec.Reason) {
	if r.err == nil {
		r.err = why
	}
}

// left returns how many bytes follow.
func (r *reader) left() uint64 { return uint64(len(r.data) - r.pos) }

func (r *reader) uint() (n uint64) {
	if r.err != nil || r.left() == 0 {
		r.fail(ErrTruncated)
		return 0
	}
	first := r.data[r.pos]
	r.pos++
	if first <= 0x7f {
		return uint64(first)
	}
	size := -int(int8(first))
	if size > 8 {
		r.fail(ErrFormat)
		return 0
	}
	from := r.pos
	r.skip(uint64(size))
	for _, b := range r.data[from:r.pos] {
		n = n<<8 | uint64(b)
	}
	return n
}

func (r *reader) int() int64 {
	n := r.uint()
	if n&1 != 0 {
		return ^int64(n >> 1)
	}
	return int64(n >> 1)
}

func (r *reader) skip(n uint64) {
	if n > r.left() {
		r.fail(ErrTruncated)
		return
	}
	r.pos += int(n)
}

// message reads the length of a message and returns where it ends.
func (r *reader) message() int {
	n := r.uint()
	if n > r.left() {
		r.fail(ErrTruncated)
		return 0
	}
	return r.pos + int(n)
}

// delta reads which field of a struct with n fields comes after the one at
// last, or n if none does.
func (r *reader) delta(last, n int) int {
	step := r.uint()
	switch {
	case step == 0:
		return n
	case step >= uint64(n-last):
		r.fail(ErrFormat)
		return n
	}
	return last + int(step)
}

// fields calls read for each field of a struct that has n at most.
func (r *reader) fields(n int, read func(field int)) {
	for at := r.delta(-1, n); at < n; at = r.delta(at, n) {
		read(at)
	}
}

// appendMessage appends a message: its length and data.
func appendMessage(dst, data []byte) []byte {
	n := uint64(len(data))
	if n <= 0x7f {
		return append(append(dst, byte(n)), data...)
	}
	size := (bits.Len64(n) + 7) / 8
	dst = append(dst, byte(-size))
	dst = append(dst, binary.BigEndian.AppendUint64(nil, n)[8-size:]...)
	return append(dst, data...)
}
