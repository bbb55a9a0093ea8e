package memcachedstore

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// item is all that is known of a key. Times are microseconds since the epoch,
// by the clock of the node that wrote them.
type item struct {
	fence    uint64 // the last one
	failures uint64 // in a row

	has        bool // an entry
	value      []byte
	valueUntil int64

	token        string // of the lease; "": none
	since, until int64
	usual        int64
	owner, tag   string

	coolUntil int64 // of the cool-down; 0: none
	text      string
}

// fresh, held and cooling report what the item holds at the moment.
func (it *item) fresh(now int64) bool   { return it.has && now < it.valueUntil }
func (it *item) held(now int64) bool    { return it.token != "" && now < it.until }
func (it *item) cooling(now int64) bool { return now < it.coolUntil }

func (it *item) owns(token string, now int64) bool {
	return it.held(now) && (token == it.token || token == backend.NameLease(it.token, it.fence))
}

// put makes value the entry, and ends the lease or the cool-down.
func (it *item) put(value []byte, now int64, ttl time.Duration) {
	it.end()
	it.has, it.value, it.valueUntil = true, value, after(now, ttl)
}

// end ends the lease or the cool-down.
func (it *item) end() {
	it.token, it.since, it.until, it.usual, it.owner, it.tag = "", 0, 0, 0, "", ""
	it.coolUntil, it.text = 0, ""
}

// tidy drops what is over.
func (it *item) tidy(now int64) {
	if it.has && !it.fresh(now) {
		it.has, it.value, it.valueUntil = false, nil, 0
	}
	if !it.held(now) && !it.cooling(now) {
		it.end()
	}
	if it.rowOver(now) {
		it.failures = 0
	}
}

const (
	rowFor   = time.Hour        // a row of failures is remembered, from the last lease on
	fenceFor = 10 * time.Minute // the last fence is, where there is no entry
)

// rowOver reports whether the row of failures is too old. A fence is the time
// of its lease, or hardly more.
func (it *item) rowOver(now int64) bool {
	return it.fence < uint64(max(0, now-rowFor.Microseconds()))
}

// seconds is the lifetime at the server, as the protocol wants it. The server's
// clock ticks once a second, so n seconds last n-1 at least.
func (it *item) seconds(now int64) int64 {
	end := max(it.until, it.coolUntil)
	if it.has {
		end = max(end, it.valueUntil)
	} else {
		end = max(end, after(now, fenceFor))
	}
	if it.failures > 0 {
		end = max(end, after(now, rowFor))
	}
	left := (end-now)/1e6 + 2
	const month = 60 * 60 * 24 * 30
	if left > month { // then it is a date
		left += now / 1e6
	}
	if left > math.MaxInt32 { // beyond what the server reads: it goes when room is needed
		return 0
	}
	return left
}

func after(now int64, d time.Duration) int64 {
	us := max(d.Microseconds(), 1)
	if us > math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + us
}

// mark is the client flags of our items, and their version: an item with other
// flags is not ours.
const mark = 0xbe110001

const (
	hasValue = 1 << iota
	hasLease
	hasCooling
)

// header is the item without its value, which follows:
//
//	flags     1 byte    1: entry, 2: lease, 4: cool-down
//	fence     8 bytes   all numbers are big-endian
//	failures  2 bytes
//	entry     until 8 bytes
//	lease     since, until, usual 8 bytes each; token, owner, tag
//	cool-down until 8 bytes; text
//
// Texts are preceded by their length in 2 bytes.
func (it *item) header() []byte {
	b := make([]byte, 11, 128)
	binary.BigEndian.PutUint64(b[1:], it.fence)
	binary.BigEndian.PutUint16(b[9:], uint16(min(it.failures, maxFailures)))
	if it.has {
		b[0] |= hasValue
		b = number(b, it.valueUntil)
	}
	if it.token != "" {
		b[0] |= hasLease
		b = number(number(number(b, it.since), it.until), it.usual)
		b = words(words(words(b, it.token), it.owner), it.tag)
	}
	if it.coolUntil != 0 {
		b[0] |= hasCooling
		b = words(number(b, it.coolUntil), it.text)
	}
	return b
}

func number(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

func words(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// parse reads an item. What is not ours is as good as nothing.
func parse(b []byte) item {
	r := reader{rest: b}
	flags := r.bytes(1)
	it := item{fence: uint64(r.number())}
	it.failures = uint64(binary.BigEndian.Uint16(r.bytes(2)))
	if flags[0]&hasValue != 0 {
		it.has, it.valueUntil = true, r.number()
	}
	if flags[0]&hasLease != 0 {
		it.since, it.until, it.usual = r.number(), r.number(), r.number()
		it.token, it.owner, it.tag = r.words(), r.words(), r.words()
	}
	if flags[0]&hasCooling != 0 {
		it.coolUntil, it.text = r.number(), r.words()
	}
	if it.has {
		it.value, r.rest = r.rest[:len(r.rest):len(r.rest)], nil
	}
	if r.short || len(r.rest) > 0 || flags[0] >= hasCooling<<1 {
		return item{}
	}
	return it
}

// reader takes pieces off rest. Past its end they are zeros.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) number() int64 { return int64(binary.BigEndian.Uint64(r.bytes(8))) }

func (r *reader) words() string {
	return string(r.bytes(int(binary.BigEndian.Uint16(r.bytes(2)))))
}
