package leasemodel

import (
	"fmt"
	"strconv"
	"strings"
)

// truth is what must be so, as told by the calls and their replies.
//
// Everything that is written has a stamp: when a load read the source, or when
// somebody set the value. Stamps rise with every step, so that of two values
// the one with the lower stamp is the older.
type truth struct {
	now int // the stamp of this step

	value string // what the store holds; "" if nothing

	holder  string // token; "" if nobody
	owner   int    // the holder's process
	fence   uint64 // the holder's
	highest uint64 // of all fences

	cooling bool
	fails   int  // in a row
	rowLost bool // there may be fewer: the server forgot

	set, deleted, committed int // the stamps of the last of each

	waiting map[int]bool // processes that are to be told of the holder's end
}

// broken is a promise that was not kept.
type broken struct{ promise, how string }

func (b *broken) Error() string { return b.promise + ": " + b.how }

func breach(promise, format string, args ...any) *broken {
	return &broken{promise, fmt.Sprintf(format, args...)}
}

// fresh is the value of stamp n. It begins with how often it was marked stale,
// as a swap rewrites an entry's head.
func fresh(n int) string { return fmt.Sprintf("0:%05d", n) }

// marked is value, marked stale once more.
func marked(value string) string {
	head, rest, _ := strings.Cut(value, ":")
	n, _ := strconv.Atoi(head)
	return fmt.Sprintf("%d:%s", n+1, rest)
}

func isFresh(value string) bool { return strings.HasPrefix(value, "0:") }

// stamp is a value's; 0 for none.
func stamp(value string) int {
	_, rest, _ := strings.Cut(value, ":")
	n, _ := strconv.Atoi(rest)
	return n
}

// end notes that the lease or cool-down is over, and returns who is to be told.
func (t *truth) end() (told map[int]bool) {
	if t.holder != "" {
		told = t.waiting
	}
	t.lose()
	return told
}

// lose notes that the lease or cool-down is over without anybody's doing.
func (t *truth) lose() {
	t.holder, t.fence, t.cooling, t.waiting = "", 0, false, map[int]bool{}
}

// populated judges that a load's value was written.
func (t *truth) populated(value string) *broken {
	switch n := stamp(value); {
	case n < t.deleted:
		return breach("S4", "a load that read %d populates what was deleted at %d", n, t.deleted)
	case n < t.set:
		return breach("S3", "a load that read %d replaces what was set at %d", n, t.set)
	case n < t.committed:
		return breach("S3", "a load that read %d replaces a load that read %d", n, t.committed)
	}
	return nil
}

// seen compares what the store holds with what it must hold.
func (t *truth) seen(s sight) *broken {
	if s.forever {
		return breach("L", "the lease has no ttl")
	}
	if s.value == t.value {
		return nil
	}
	if s.value != "" {
		if b := t.populated(s.value); b != nil {
			return b
		}
	}
	return breach("S5", "the store holds %q, want %q", s.value, t.value)
}

// print is all of the truth that decides what is still to come, but for fences,
// which only rise, and stamps: see stamps.
func (t *truth) print() string {
	holder, _, _ := strings.Cut(t.holder, "|")
	return fmt.Sprint(holder, t.owner, t.cooling, t.fails, t.rowLost, t.waiting, strings.SplitN(t.value, ":", 2)[0])
}

// stamps lists those that matter; only their order does.
func (t *truth) stamps() []int { return []int{stamp(t.value), t.set, t.deleted, t.committed} }
