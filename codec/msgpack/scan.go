package msgpack

import (
	"encoding/binary"

	"github.com/bellwethercache/bellwether/codec"
)

// MaxDepth is how deep arrays and maps may nest in what is decoded.
const MaxDepth = 1000

// Causes of a refusal before the library sees a byte.
const (
	ErrDepth     = codec.Reason("nested too deep")
	ErrTruncated = codec.Reason("claims more than there is")
	ErrTrailing  = codec.Reason("bytes after the value")
	ErrFormat    = codec.Reason("invalid type byte")
)

// scan checks that data is one complete value and nothing else, so that every
// count in it is covered by as many bytes. It walks, it does not recurse.
func scan(data []byte) error {
	var room [32]int
	outer := room[:0] // what is left of the containers around this one
	left := 1         // values left in this container
	for {
		for left == 0 {
			if len(outer) == 0 {
				if len(data) > 0 {
					return ErrTrailing
				}
				return nil
			}
			left, outer = outer[len(outer)-1], outer[:len(outer)-1]
		}
		size, kids, err := head(data)
		if err != nil {
			return err
		}
		data = data[size:]
		left--
		if kids == 0 {
			continue
		}
		if len(outer) == MaxDepth {
			return ErrDepth
		}
		left, outer = kids, append(outer, left)
	}
}

// head returns how many bytes the value at the start of data takes, without
// the kids: the values that follow and belong to it.
func head(data []byte) (size, kids int, err error) {
	if len(data) == 0 {
		return 0, 0, ErrTruncated
	}
	size, kids = short(data[0])
	if size == 0 {
		size, kids, err = long(data)
	}
	if err == nil && size > len(data) {
		err = ErrTruncated
	}
	return size, kids, err
}

// short is head for values whose first byte tells it all. A size of 0 means
// that it does not.
func short(b byte) (size, kids int) {
	switch {
	case b <= 0x7f, b >= 0xe0: // small integers
		return 1, 0
	case b <= 0x8f: // map
		return 1, 2 * int(b&0x0f)
	case b <= 0x9f: // array
		return 1, int(b & 0x0f)
	case b <= 0xbf: // string
		return 1 + int(b&0x1f), 0
	}
	switch b {
	case 0xc0, 0xc2, 0xc3: // nil, false, true
		return 1, 0
	case 0xca, 0xce, 0xd2: // 32 bits
		return 5, 0
	case 0xcb, 0xcf, 0xd3: // 64 bits
		return 9, 0
	case 0xcc, 0xd0: // 8 bits
		return 2, 0
	case 0xcd, 0xd1: // 16 bits
		return 3, 0
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // extensions of 1, 2, 4, 8, 16 bytes
		return 2 + 1<<(b-0xd4), 0
	}
	return 0, 0
}

// long is head for values whose first byte is followed by a length or a count.
func long(data []byte) (size, kids int, err error) {
	var width int
	switch data[0] {
	case 0xc4, 0xc7, 0xd9:
		width = 1
	case 0xc5, 0xc8, 0xda, 0xdc, 0xde:
		width = 2
	case 0xc6, 0xc9, 0xdb, 0xdd, 0xdf:
		width = 4
	default:
		return 0, 0, ErrFormat
	}
	if len(data) <= width {
		return 0, 0, ErrTruncated
	}
	var wide [8]byte
	copy(wide[8-width:], data[1:])
	n := binary.BigEndian.Uint64(wide[:])
	if n > uint64(len(data)) { // before it is made an int, of 32 bits perhaps
		return 0, 0, ErrTruncated
	}
	switch data[0] {
	case 0xdc, 0xdd: // array
		return 1 + width, int(n), nil
	case 0xde, 0xdf: // map
		return 1 + width, 2 * int(n), nil
	case 0xc7, 0xc8, 0xc9: // extension: its type is one byte more
		return 2 + width + int(n), 0, nil
	}
	return 1 + width + int(n), 0, nil // bytes, string
}
