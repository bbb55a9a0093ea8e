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

const hashed = "sha256-" // begins the key that stands for a long one

// Layout builds the keys of one namespace:
//
//	<namespace>:v:{<tag>}:<key>   the value
//	<namespace>:l:{<tag>}:<key>   the lease of its load
//	<namespace>:f:{<tag>}:<key>   the last fence, and how often in a row the load has failed
//	<namespace>:t:{<namespace>}:new, old   the stamps of tags
//
// The tag is a hash of the key, so the three share a cluster slot whatever
// braces the key itself contains.
type Layout struct {
	namespace string
	track     string // "1": scripts read what they have written
}

// NewLayout checks the namespace.
func NewLayout(namespace string) (Layout, error) {
	if namespace == "" || len(namespace) > 128 || strings.ContainsAny(namespace, ":{}* \t\r\n") {
		return Layout{}, errors.New(`namespace must be 1 to 128 bytes without any of ":{}*" or white space`)
	}
	return Layout{namespace: namespace}, nil
}

// Keys are the server keys of one cache key.
type Keys struct {
	Value, Lease, Fence string

	Long string // the cache key, if the others have its hash instead, or might

	Track string // "1": who writes the value is to be told of its next change
}

// Keys returns the server keys of key.
func (l Layout) Keys(key string) Keys {
	k := Keys{Value: l.key(":v:{", key), Lease: l.key(":l:{", key), Fence: l.key(":f:{", key), Track: l.track}
	if len(key) > MaxKey || strings.HasPrefix(key, hashed) {
		k.Long = key
	}
	return k
}

// KeyOf is the cache key of a value's server key, if it can be told.
func (l Layout) KeyOf(value string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(value, l.namespace+":v:{")
	const tag = len("0123456789abcdef}:")
	if !ok || len(rest) < tag {
		return "", false
	}
	key = rest[tag:]
	return key, !strings.HasPrefix(key, hashed) // what it was we cannot tell
}

// Values begins the server keys of all values.
func (l Layout) Values() string { return l.namespace + ":v:" }

// Stamps returns the server keys of the stamps of tags.
func (l Layout) Stamps() []string {
	k := l.namespace + ":t:{" + l.namespace + "}:"
	return []string{k + "new", k + "old"}
}

// Tracked is the layout of who is told of changes by the server's tracking, key
// by key: what it has written it must have read as well.
func (l Layout) Tracked() Layout {
	l.track = "1"
	return l
}

// KeyChanges is the channel on which every process hears what keys others have
// changed. No process's id is as short as the last part of it and of those below.
func (l Layout) KeyChanges() string { return l.Channel("k") }

// HashChanges is the one for keys that the server knows by their hash only.
func (l Layout) HashChanges() string { return l.Channel("h") }

// TagStamps is the one for tags.
func (l Layout) TagStamps() string { return l.Channel("t") }

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
		key = hashed + hex.EncodeToString(sum[:])
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
