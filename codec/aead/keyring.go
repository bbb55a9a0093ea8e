package aead

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"sync/atomic"
)

// KeySize is the length of a secret in bytes.
const KeySize = 32

// Key is a secret with an ID. It prints as its ID.
type Key struct {
	id     uint32
	cipher *extended
}

// NewKey returns a key. The ID is stored in the clear with whatever the key
// seals: give every secret one of its own, and never give it to another. The
// secret is [KeySize] random bytes; it is not retained.
func NewKey(id uint32, secret []byte) (Key, error) {
	if len(secret) != KeySize {
		return Key{}, fmt.Errorf("aead: a secret is %d bytes, not %d", KeySize, len(secret))
	}
	if [KeySize]byte(secret) == [KeySize]byte{} {
		return Key{}, errors.New("aead: a secret of zeros is none")
	}
	c, err := newExtended(secret)
	if err != nil {
		return Key{}, fmt.Errorf("aead: %w", err)
	}
	return Key{id: id, cipher: c}, nil
}

// ID returns the key's ID.
func (k Key) ID() uint32 { return k.id }

// Format prints the ID, whatever the verb.
func (k Key) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "aead.Key(%d)", k.id) }

// Keyring is the keys that are in use: the primary seals, each one opens. Keep
// one ring for all codecs. To replace a key without losing entries, and while
// other processes run: add the new one as an older key everywhere, then make
// it the primary everywhere, then drop the old one, once the entries that it
// sealed have expired. An entry sealed by a key that is not in the ring is a
// miss.
type Keyring struct {
	keys atomic.Pointer[keys]
}

type keys struct {
	primary Key
	byID    map[uint32]Key
}

// NewKeyring returns a ring.
func NewKeyring(primary Key, older ...Key) (*Keyring, error) {
	r := new(Keyring)
	if err := r.Rotate(primary, older...); err != nil {
		return nil, err
	}
	return r, nil
}

// Rotate replaces all keys at once. After an error the ring is as it was.
func (r *Keyring) Rotate(primary Key, older ...Key) error {
	byID := make(map[uint32]Key, 1+len(older))
	for _, k := range append([]Key{primary}, older...) {
		if k.cipher == nil {
			return errors.New("aead: a key was not made by NewKey")
		}
		if _, twice := byID[k.id]; twice {
			return fmt.Errorf("aead: two keys have the ID %d", k.id)
		}
		byID[k.id] = k
	}
	r.keys.Store(&keys{primary: primary, byID: byID})
	return nil
}

const nonceSize = 24

// extended is XAES-256-GCM (C2SP): the first half of a nonce of 24 bytes makes
// a key for AES-256-GCM, which takes the second half. So a nonce may be random
// for 2^80 messages; 12 random bytes alone would do for 2^32, which a busy
// cache writes in days.
type extended struct {
	block cipher.Block
	mask  [aes.BlockSize]byte // the subkey K1 of CMAC
}

func newExtended(secret []byte) (*extended, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	x := &extended{block: block}
	block.Encrypt(x.mask[:], x.mask[:])
	var carry byte
	for i := len(x.mask) - 1; i >= 0; i-- {
		x.mask[i], carry = x.mask[i]<<1|carry, x.mask[i]>>7
	}
	x.mask[len(x.mask)-1] ^= carry * 0x87
	return x, nil
}

// message returns the cipher for one message, and its nonce.
func (x *extended) message(nonce []byte) (cipher.AEAD, []byte, error) {
	var key [KeySize]byte
	for i := range 2 {
		half := key[i*aes.BlockSize:][:aes.BlockSize]
		copy(half, []byte{0, byte(i + 1), 'X', 0})
		copy(half[4:], nonce[:12])
		for j := range half {
			half[j] ^= x.mask[j]
		}
		x.block.Encrypt(half, half)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, nil, err
	}
	gcm, err := cipher.NewGCM(block)
	return gcm, nonce[12:nonceSize], err
}
