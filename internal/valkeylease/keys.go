package valkeylease

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/valkey-io/valkey-go"
)

// MaxKey is the longest key, in bytes, that is stored as it is. A longer one is
// stored as its SHA-256.
const MaxKey = 1024

// Layout builds the keys of one namespace:
//
//	<namespace>:v:{<tag>}:<key>   the value
//	<namespace>:l:{<tag>}:<key>   the lease of its load
//	<namespace>:f:{<tag>}:<key>   the last fence, and how often in a row the load has failed
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
	return Keys{Value: l.key(":v:{", key), Lease: l.key(":l:{", key), Fence: l.key(":f:{", key)}
}

// Lease returns the server key of key's lease alone.
func (l Layout) Lease(key string) string { return l.key(":l:{", key) }

// Channel returns the channel that a process is told on.
func (l Layout) Channel(process string) string { return l.namespace + ":p:" + process }

// Value returns the server key of key's value alone.
func (l Layout) Value(key string) string { return l.key(":v:{", key) }

func (l Layout) key(kind, key string) string {
	tag := xxhash.Sum64String(key)
	if len(key) > MaxKey {
		sum := sha256.Sum256([]byte(key))
		key = "sha256-" + hex.EncodeToString(sum[:])
	}
	b := make([]byte, 0, len(l.namespace)+len(kind)+len("0123456789abcdef}:")+len(key))
	b = append(b, l.namespace...)
	b = append(b, kind...)
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[tag>>shift&15])
	}
	b = append(b, "}:"...)
	b = append(b, key...)
	return valkey.BinaryString(b) // b is not changed any more
}
