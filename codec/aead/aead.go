// Package aead wraps a codec so that values are encrypted and authenticated:
// for shared stores that others can read or write. [Seal] binds an entry to
// its key, so bytes that were moved to another key do not open.
//
//	sealed, err := aead.Seal(codec.JSON[User](), ring)
//
// The cipher is XAES-256-GCM, made of the standard library's AES-GCM: its
// random nonce of 24 bytes never repeats in practice, so a key does not wear
// out; replace it when your rules say so. A sealed value is [Overhead] bytes
// longer than the plain one.
//
// What stays visible: keys, lengths, when an entry was written. What stays
// possible: to delete an entry, and to put back an older one of the same key.
// In the process's own memory values are plain.
//
// To compress as well, put Seal around compress and read its warning about
// lengths.
package aead

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/bellwethercache/bellwether/codec"
)

// Overhead is by how many bytes sealing lengthens an encoding.
const Overhead = headSize + nonceSize + tagSize

const (
	// ErrUnknownKey says that the ring lacks the key that sealed the bytes.
	ErrUnknownKey = codec.Reason("unknown key ID")

	// ErrOpen says that the bytes were changed, moved to another key, sealed
	// by another secret, or not sealed at all.
	ErrOpen = codec.Reason("does not open")
)

const (
	name     = "aead"
	headSize = 1 + 4 // form, key ID
	tagSize  = 16
)

// The first byte of an encoding: whether it is bound to the key of its entry.
// Bytes of one form do not open as the other.
const (
	unbound = 1
	bound   = 2
)

// Seal returns inner with its encodings sealed by the ring's primary key and
// opened by the one that sealed them. A ring that is rotated later acts at
// once.
func Seal[V any](inner codec.Codec[V], ring *Keyring) (codec.Keyed[V], error) {
	if inner == nil {
		return nil, errors.New("aead: the codec to wrap must not be nil")
	}
	if ring == nil || ring.keys.Load() == nil {
		return nil, errors.New("aead: the ring must be made by NewKeyring")
	}
	id, err := codec.Wrap(codec.WrapSeal, inner.ID())
	if err != nil {
		return nil, err
	}
	s := &sealed[V]{inner: inner, ring: ring, id: id}
	s.keyed, _ = inner.(codec.Keyed[V])
	s.buffers.New = func() any { return new([]byte) }
	return s, nil
}

type sealed[V any] struct {
	inner   codec.Codec[V]
	keyed   codec.Keyed[V] // inner, if it has the ability
	ring    *Keyring
	id      uint16
	buffers sync.Pool // of *[]byte, clear
}

func (s *sealed[V]) ID() uint16 { return s.id }

func (s *sealed[V]) Append(dst []byte, v V) ([]byte, error) {
	out, k := s.begin(dst, unbound)
	out, err := s.inner.Append(out, v)
	if err != nil {
		return nil, err
	}
	return s.seal(k, out, len(dst), "")
}

func (s *sealed[V]) AppendKey(dst []byte, key string, v V) ([]byte, error) {
	out, k := s.begin(dst, bound)
	var err error
	if s.keyed != nil {
		out, err = s.keyed.AppendKey(out, key, v)
	} else {
		out, err = s.inner.Append(out, v)
	}
	if err != nil {
		return nil, err
	}
	return s.seal(k, out, len(dst), key)
}

// begin appends what precedes the sealed bytes.
func (s *sealed[V]) begin(dst []byte, form byte) ([]byte, Key) {
	k := s.ring.keys.Load().primary
	dst = binary.BigEndian.AppendUint32(append(dst, form), k.id)
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:]) // it never returns an error
	return append(dst, nonce[:]...), k
}

// seal encrypts in place what follows the head that begins at out[at].
func (s *sealed[V]) seal(k Key, out []byte, at int, key string) ([]byte, error) {
	body := at + headSize + nonceSize
	gcm, nonce, err := k.cipher.message(out[at+headSize : body])
	if err != nil {
		return nil, &codec.Error{Codec: name, Op: "encode", Err: err}
	}
	var room [256]byte
	bind := s.bind(room[:0], out[at:at+headSize], key)
	return gcm.Seal(out[:body], nonce, out[body:], bind), nil
}

// bind appends what is authenticated besides the value: the head, which
// encoding is inside, and the key of the entry. All but the last have a fixed
// length.
func (s *sealed[V]) bind(dst, head []byte, key string) []byte {
	dst = append(dst, head...)
	dst = binary.BigEndian.AppendUint16(dst, s.inner.ID())
	return append(dst, key...)
}

func (s *sealed[V]) Decode(data []byte) (v V, err error) {
	buf := s.buffers.Get().(*[]byte)
	defer s.free(buf)
	if err := s.open(buf, data, unbound, ""); err != nil {
		return v, err
	}
	return s.inner.Decode(*buf)
}

func (s *sealed[V]) DecodeKey(data []byte, key string) (v V, err error) {
	buf := s.buffers.Get().(*[]byte)
	defer s.free(buf)
	if err := s.open(buf, data, bound, key); err != nil {
		return v, err
	}
	if s.keyed != nil {
		return s.keyed.DecodeKey(*buf, key)
	}
	return s.inner.Decode(*buf)
}

// open puts the plain form of data into buf.
func (s *sealed[V]) open(buf *[]byte, data []byte, form byte, key string) error {
	if len(data) < Overhead || data[0] != form {
		return &codec.Error{Codec: name, Op: "decode", Err: ErrOpen}
	}
	head, rest := data[:headSize], data[headSize:]
	k, ok := s.ring.keys.Load().byID[binary.BigEndian.Uint32(head[1:])]
	if !ok {
		return &codec.Error{Codec: name, Op: "decode", Err: ErrUnknownKey}
	}
	gcm, nonce, err := k.cipher.message(rest[:nonceSize])
	if err != nil {
		return &codec.Error{Codec: name, Op: "decode", Err: err}
	}
	var room [256]byte
	plain, err := gcm.Open((*buf)[:0], nonce, rest[nonceSize:], s.bind(room[:0], head, key))
	if err != nil {
		return &codec.Error{Codec: name, Op: "decode", Err: ErrOpen}
	}
	*buf = plain
	return nil
}

// keep is the largest buffer that is kept for the next value.
const keep = 1 << 20

// free clears the plain value before others get at the memory.
func (s *sealed[V]) free(buf *[]byte) {
	clear(*buf)
	*buf = (*buf)[:0]
	if cap(*buf) <= keep {
		s.buffers.Put(buf)
	}
}
