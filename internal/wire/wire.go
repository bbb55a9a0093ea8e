// Package wire is the envelope that a cache's entries travel in through a
// shared store.
//
// Layout, integers big-endian:
//
//	offset size
//	 0      2   magic "BW"
//	 2      1   version, 1
//	 3      1   flags: 1 absent, 2 the fence is an as-of; others must be 0
//	 4      2   codec id
//	 6      4   schema id
//	10      8   key hash: the first 8 bytes of the SHA-256 of the cache's key
//	18      8   fence of the lease under which it was loaded; or of an entry
//	            without one the stamp that its data are as of, or 0
//	26      8   created: microseconds since the Unix epoch, the store's clock
//	34      8   fresh for: microseconds after created
//	42      8   lives for: microseconds after created
//	50      8   load cost: microseconds that the loader took, or 0
//	58      4   metadata length
//	62      4   payload length
//	66      4   CRC-32C of all other bytes
//	70          metadata, then payload, then nothing
//
// Metadata is a sequence of fields (1 byte kind, 4 bytes length, bytes):
// 1 a tag (repeatable), 2 ETag, 3 Last-Modified (8 bytes, microseconds since
// the epoch), 4 the identity of the entry that this is a copy of (8 bytes), 5
// what its data are as of, if that is not the fence (8 bytes). Unknown kinds are
// skipped, so that a later minor version can add one. Everything is checked
// before any decoder sees a byte of the payload.
package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// HeaderSize is the size of an envelope without metadata and payload. The
// bytes before it are different for any two writes.
const HeaderSize = 70

const (
	version    = 1
	flagAbsent = 1
	flagAsOf   = 2
	crcAt      = 66

	fieldTag      = 1
	fieldETag     = 2
	fieldModified = 3
	fieldCopyOf   = 4
	fieldAsOf     = 5
)

var (
	// ErrCorrupt says that the bytes are not an envelope, or a damaged one.
	ErrCorrupt = errors.New("wire: corrupt entry")
	// ErrForeign says that the envelope is sound but holds something else:
	// another key's entry, another codec's or another schema's bytes.
	ErrForeign = errors.New("wire: entry of another key, codec or schema")
)

var table = crc32.MakeTable(crc32.Castagnoli)

// Header is an entry without its payload. Times are microseconds.
type Header struct {
	Absent   bool
	Codec    uint16
	Schema   uint32
	Fence    uint64
	AsOf     uint64 // 0: as the fence
	Created  int64
	FreshFor int64
	LivesFor int64
	Cost     int64
	Meta     Meta
}

// Meta is what few entries have.
type Meta struct {
	Tags         []string
	ETag         string
	LastModified int64  // microseconds since the epoch; 0: none
	CopyOf       uint64 // Identity of the entry that this is a copy of, in a tier between; 0: none
}

// Identity tells an envelope from every other of its key, by its first
// HeaderSize bytes. It is 0 for what is too short to be one, and only then.
func Identity(head []byte) uint64 {
	if len(head) < HeaderSize {
		return 0
	}
	h := uint64(14695981039346656037) // FNV-1a of what differs between two writes
	for _, b := range head[18:HeaderSize] {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return max(h, 1)
}

// Append appends the envelope of key's entry to dst. encode appends the
// payload, in place, so that it is not copied; it may be nil.
func Append(dst []byte, key string, h *Header, encode func([]byte) ([]byte, error)) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	dst = appendMeta(dst, &h.Meta)
	if h.Fence != 0 && h.AsOf != 0 && h.AsOf != h.Fence {
		dst = appendWord(dst, fieldAsOf, h.AsOf)
	}
	body := len(dst)
	if encode != nil {
		grown, err := encode(dst)
		if err != nil {
			return dst[:start], err
		}
		if len(grown) < body || body > 0 && &grown[0] != &dst[0] && !bytes.Equal(grown[:body], dst) {
			return dst[:start], errors.New("wire: codec did not append to what it was given")
		}
		dst = grown
	}
	b := dst[start:]
	b[0], b[1], b[2] = 'B', 'W', version
	if h.Absent {
		b[3] = flagAbsent
	}
	fence := h.Fence
	if fence == 0 && h.AsOf != 0 {
		b[3] |= flagAsOf
		fence = h.AsOf
	}
	be := binary.BigEndian
	be.PutUint16(b[4:], h.Codec)
	be.PutUint32(b[6:], h.Schema)
	be.PutUint64(b[10:], keyHash(key))
	be.PutUint64(b[18:], fence)
	be.PutUint64(b[26:], uint64(h.Created))
	be.PutUint64(b[34:], uint64(h.FreshFor))
	be.PutUint64(b[42:], uint64(h.LivesFor))
	be.PutUint64(b[50:], uint64(h.Cost))
	be.PutUint32(b[58:], uint32(body-start-HeaderSize))
	be.PutUint32(b[62:], uint32(len(dst)-body))
	be.PutUint32(b[crcAt:], checksum(b))
	return dst, nil
}

func appendMeta(dst []byte, m *Meta) []byte {
	for _, tag := range m.Tags {
		dst = appendField(dst, fieldTag, tag)
	}
	if m.ETag != "" {
		dst = appendField(dst, fieldETag, m.ETag)
	}
	if m.LastModified != 0 {
		dst = appendWord(dst, fieldModified, uint64(m.LastModified))
	}
	if m.CopyOf != 0 {
		dst = appendWord(dst, fieldCopyOf, m.CopyOf)
	}
	return dst
}

func appendWord(dst []byte, kind byte, word uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kind, 0, 0, 0, 8), word)
}

func appendField(dst []byte, kind byte, s string) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

// Parse checks b as key's envelope and returns its header and payload, which
// aliases b. The error is ErrCorrupt, or ErrForeign if only codec, schema or
// key differ from what is wanted.
func Parse(b []byte, key string, codec uint16, schema uint32) (h Header, payload []byte, err error) {
	h, payload, err = ParseAny(b, key)
	if err == nil && (h.Codec != codec || h.Schema != schema) {
		return Header{}, nil, ErrForeign
	}
	return h, payload, err
}

// ParseAny is Parse for whatever codec and schema the header then names.
func ParseAny(b []byte, key string) (h Header, payload []byte, err error) {
	if len(b) < HeaderSize || b[0] != 'B' || b[1] != 'W' || b[2] != version || b[3]&^(flagAbsent|flagAsOf) != 0 {
		return h, nil, ErrCorrupt
	}
	be := binary.BigEndian
	metaLen, payLen := uint64(be.Uint32(b[58:])), uint64(be.Uint32(b[62:]))
	if HeaderSize+metaLen+payLen != uint64(len(b)) || be.Uint32(b[crcAt:]) != checksum(b) {
		return h, nil, ErrCorrupt
	}
	h = Header{
		Absent:   b[3]&flagAbsent != 0,
		Codec:    be.Uint16(b[4:]),
		Schema:   be.Uint32(b[6:]),
		AsOf:     be.Uint64(b[18:]),
		Created:  int64(be.Uint64(b[26:])),
		FreshFor: int64(be.Uint64(b[34:])),
		LivesFor: int64(be.Uint64(b[42:])),
		Cost:     int64(be.Uint64(b[50:])),
	}
	if b[3]&flagAsOf == 0 {
		h.Fence = h.AsOf
	}
	if h.Created < 0 || h.FreshFor < 0 || h.LivesFor < h.FreshFor || h.Cost < 0 ||
		!parseMeta(b[HeaderSize:HeaderSize+metaLen], &h) {
		return Header{}, nil, ErrCorrupt
	}
	if be.Uint64(b[10:]) != keyHash(key) {
		return Header{}, nil, ErrForeign
	}
	return h, b[HeaderSize+metaLen:], nil
}

func parseMeta(b []byte, h *Header) bool {
	m := &h.Meta
	for len(b) > 0 {
		if len(b) < 5 {
			return false
		}
		kind, n := b[0], uint64(binary.BigEndian.Uint32(b[1:]))
		b = b[5:]
		if n > uint64(len(b)) {
			return false
		}
		field := b[:n]
		b = b[n:]
		switch kind {
		case fieldTag:
			m.Tags = append(m.Tags, string(field))
		case fieldETag:
			m.ETag = string(field)
		case fieldModified, fieldCopyOf, fieldAsOf:
			if n != 8 {
				return false
			}
			switch word := binary.BigEndian.Uint64(field); kind {
			case fieldModified:
				m.LastModified = int64(word)
			case fieldCopyOf:
				m.CopyOf = word
			default:
				h.AsOf = word
			}
		}
	}
	return true
}

func checksum(b []byte) uint32 {
	crc := crc32.Update(0, table, b[:crcAt])
	return crc32.Update(crc, table, b[HeaderSize:])
}

// keyHash is hard to collide on purpose: it is what keeps bytes that were moved
// to another key from being read there.
func keyHash(key string) uint64 {
	sum := sha256.Sum256([]byte(key))
	return binary.BigEndian.Uint64(sum[:])
}
