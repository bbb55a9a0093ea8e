package valkeylease

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// MaxKey is the longest key, in bytes, that is stored as it is. A longer one is
// stored as its SHA-256.
const MaxKey = 1024

// Layout builds the keys of one namespace:
//
//	<namespace>:v:{<tag>}:<key>   the value
//	<namespace>:l:{<tag>}:<key>   the lease of its load
//	<namespace>:f:{<tag>}:<key>   the last fence
//
// The tag is a hash of the key, so the three share a cluster slot whatever
// braces the key itself contains.
type Layout struct{ namespace string }

// NewLayout checks the namespace.
func NewLayout(namespace string) (Layout, error) {
	if namespace == "" || len(namespace) > 128 || strings.ContainsAny(namespace, ":{}* \t\r\n") {
		return Layout{}, errors.New(`namespace must be 1 to 128 bytes without any of ":{}*" or white space`)
	}
	return Layout{namespace: namespace}, nil
}

// Keys are the server keys of one cache key.
type Keys struct{ Value, Lease, Fence string }

// Keys returns the server keys of key.
func (l Layout) Keys(key string) Keys {
	s := suffix(key)
	return Keys{Value: l.namespace + ":v:" + s, Lease: l.namespace + ":l:" + s, Fence: l.namespace + ":f:" + s}
}

// Value returns the server key of key's value alone.
func (l Layout) Value(key string) string { return l.namespace + ":v:" + suffix(key) }

func suffix(key string) string {
	var h [8]byte
	sum := xxhash.Sum64String(key)
	for i := range h {
		h[i] = byte(sum >> (56 - 8*i))
	}
	var b [2*len(h) + 3]byte
	b[0] = '{'
	hex.Encode(b[1:], h[:])
	copy(b[len(b)-2:], "}:")
	if len(key) > MaxKey {
		sum := sha256.Sum256([]byte(key))
		key = "sha256-" + hex.EncodeToString(sum[:])
	}
	return string(b[:]) + key
}
