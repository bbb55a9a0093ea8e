package memcachedstore

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/cespare/xxhash/v2"
)

const maxKey = 250 // memcached's

// key names the item of a cache key. No two keys share a name: what is not a
// hash does not begin as one.
func (s *Store) key(key string) string {
	name := s.namespace + ":" + key
	if len(name) > maxKey || !plain(key) {
		sum := sha256.Sum256([]byte(key))
		return s.namespace + ":#" + hex.EncodeToString(sum[:])
	}
	return name
}

func plain(key string) bool {
	for i := range len(key) {
		if c := key[i]; c <= ' ' || c > '~' || i == 0 && c == '#' {
			return false
		}
	}
	return true
}

// serverOf is where the item of that name lives: of all servers the one whose
// address and the name hash highest. A server more, or less, moves no key but
// its own.
func (s *Store) serverOf(name string) *server {
	best, most := s.servers[0], uint64(0)
	for _, srv := range s.servers {
		if len(s.servers) == 1 {
			break
		}
		var d xxhash.Digest
		d.ResetWithSeed(srv.seed)
		_, _ = d.WriteString(name)
		if sum := d.Sum64(); sum >= most {
			best, most = srv, sum
		}
	}
	return best
}
