package diskstore

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"math"
	"time"

	"go.etcd.io/bbolt"
)

// A record is what the data bucket holds of an entry:
//
//	checksum of the rest (4), written (8), until (8), length of the key (4), key, value
//
// Its key there is its number (8), which rises with every write. The index
// holds that number and until (8). Times are microseconds since the Unix epoch;
// all is big-endian.
const (
	headSize  = 24
	placeSize = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func record(key string, value []byte, now int64, ttl time.Duration) []byte {
	b := make([]byte, headSize, headSize+len(key)+len(value))
	binary.BigEndian.PutUint64(b[4:], uint64(now))
	binary.BigEndian.PutUint64(b[12:], uint64(end(now, ttl)))
	binary.BigEndian.PutUint32(b[20:], uint32(len(key)))
	b = append(append(b, key...), value...)
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// end is now + ttl, rounded up.
func end(now int64, ttl time.Duration) int64 {
	us := int64((ttl-1)/time.Microsecond) + 1
	if us > math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + us
}

// entry is a record that was read. Its slices are the file's.
type entry struct {
	key, value     []byte
	written, until int64
}

// parse reports false if b is not what record made.
func parse(b []byte) (e entry, ok bool) {
	if len(b) < headSize || crc32.Checksum(b[4:], castagnoli) != binary.BigEndian.Uint32(b) {
		return e, false
	}
	e.written = int64(binary.BigEndian.Uint64(b[4:]))
	e.until = int64(binary.BigEndian.Uint64(b[12:]))
	n := binary.BigEndian.Uint32(b[20:])
	rest := b[headSize:]
	if uint64(n) > uint64(len(rest)) {
		return e, false
	}
	e.key, e.value = rest[:n:n], rest[n:]
	return e, true
}

// live reports whether the entry may be shown. One from the future has an age
// that nobody knows: the clock was set back.
func (e *entry) live(now int64) bool { return now < e.until && e.written <= now }

// place is what the index holds: where the record is, and its until.
type place [placeSize]byte

func newPlace(seq uint64, until int64) (p place) {
	binary.BigEndian.PutUint64(p[:], seq)
	binary.BigEndian.PutUint64(p[8:], uint64(until))
	return p
}

func (p *place) until() int64 { return int64(binary.BigEndian.Uint64(p[8:])) }

const longKey = 256

// indexKey is the key's in the index, where none can be empty or long.
func indexKey(key string) []byte {
	if len(key) <= longKey {
		return append([]byte{'s'}, key...)
	}
	sum := sha256.Sum256([]byte(key))
	return append([]byte{'l'}, sum[:]...)
}

// tables are the buckets in a transaction.
type tables struct {
	tx          *bbolt.Tx
	index, data *bbolt.Bucket
}

func newTables(tx *bbolt.Tx) *tables {
	t := &tables{tx: tx, index: tx.Bucket(indexBucket), data: tx.Bucket(dataBucket)}
	t.data.FillPercent = 1 // it grows at its end only
	return t
}

// used is how many bytes are in pages that held something when the transaction
// began.
func (t *tables) used() int64 {
	db := t.tx.DB()
	st := db.Stats()
	return t.tx.Size() - int64(st.FreePageN+st.PendingPageN)*int64(db.Info().PageSize)
}

// find returns where the entry of a key in the index is.
func (t *tables) find(indexed []byte) (p place, ok bool) {
	return p, copy(p[:], t.index.Get(indexed)) == placeSize
}

// get returns key's entry if there is one, expired or not. It is not sound if
// the record is there but is not what it should be.
func (t *tables) get(key string) (e entry, found, sound bool) {
	p, ok := t.find(indexKey(key))
	if !ok {
		return e, false, true
	}
	b := t.data.Get(p[:8])
	if b == nil {
		return e, false, false
	}
	e, ok = parse(b)
	if !ok || string(e.key) != key { // two long keys of one hash do not exist
		return e, false, false
	}
	return e, true, true
}

// put stores a record, in place of the key's last.
func (t *tables) put(key string, rec []byte) error {
	indexed := indexKey(key)
	if p, ok := t.find(indexed); ok {
		if err := t.data.Delete(p[:8]); err != nil {
			return err
		}
	}
	seq, err := t.data.NextSequence()
	if err != nil {
		return err
	}
	p := newPlace(seq, int64(binary.BigEndian.Uint64(rec[12:])))
	if err := t.data.Put(p[:8:8], rec); err != nil {
		return err
	}
	return t.index.Put(indexed, p[:])
}

// drop removes what the index holds under a key, if it is at that place; any
// place if it is zero.
func (t *tables) drop(indexed []byte, at place) error {
	p, ok := t.find(indexed)
	if !ok || at != (place{}) && p != at {
		return nil
	}
	if err := t.data.Delete(p[:8]); err != nil {
		return err
	}
	return t.index.Delete(indexed)
}
