// Package valkeylease holds the Lua scripts and the key layout that
// backend/valkeystore and lock/valkeylock share. Every script is one atomic
// step, is safe to repeat with the same token, and touches keys of one slot.
package valkeylease

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
)

// fenceTTL is how long the last fence of a key, and its row of failures, is
// remembered. Beyond it the server's clock alone makes fences rise.
const fenceTTL = time.Hour

// maxText bounds what a failure leaves at the server for each who asks.
const maxText = 1024

// Self is what a process tells of itself when it asks for a lease. The zero
// value says nothing, and nothing is then pushed to it.
type Self struct {
	Holder string   // its id, if others can see whether it lives
	Waiter string   // its id, if messages reach it and it watches the key
	Dead   []string // ids of processes that it believes dead
	Ticket uint64   // for the hub, to know which watches the request came after
}

// Ask is one acquisition.
type Ask struct {
	Keys Keys
	backend.LeaseRequest
	Self
	Guard bool // look at the value
	Time  bool // tell the server's time in any case; else only where there is no value
}

// Reply is an acquisition's answer together with what the hub and the clock
// want to know.
type Reply struct {
	backend.LeaseReply
	Now     int64  // the server's time in microseconds since the epoch; 0 if not told
	Process string // id of the holder's process, if held elsewhere and it can be seen
	Holding uint64 // fence of a lease that is held elsewhere
}

func (a Ask) call() call {
	mode, now := "0", "0"
	switch {
	case a.Guard && a.Rejected != nil:
		mode = "2"
	case a.Guard:
		mode = "1"
	}
	if a.Time {
		now = "1"
	}
	args := make([]string, 0, 11+len(a.Dead))
	args = append(args, a.Token, millis(a.TTL), millis(fenceTTL), mode, valkey.BinaryString(a.Rejected), now,
		strconv.FormatInt(max(0, a.Usual.Microseconds()), 10), a.Holder, a.Waiter, plain(a.Owner, "|\n"), plain(a.Tag, "\n"))
	return call{
		keys: []string{a.Keys.Lease, a.Keys.Fence, a.Keys.Value},
		args: append(args, a.Dead...),
	}
}

// plain drops a text with a character that would end its field.
func plain(s, ends string) string {
	if strings.ContainsAny(s, ends) {
		return ""
	}
	return s
}

// Acquire reads or leases.
func Acquire(ctx context.Context, c valkey.Client, a Ask) (Reply, error) {
	r, err := parseReply(acquireScript.run(ctx, c, a.call()))
	r.name(a.Token)
	return r, err
}

// name makes the token of a won lease alone. The scripts compare it as they do
// the request's: the lease begins with both, token|fence|.
func (r *Reply) name(request string) {
	if r.Won {
		r.Token = backend.NameLease(request, r.Fence)
	}
}

// AcquireMany is Acquire for many keys, in their order.
func AcquireMany(ctx context.Context, c valkey.Client, asks []Ask) ([]Reply, []error) {
	calls := make([]call, len(asks))
	for i, a := range asks {
		calls[i] = a.call()
	}
	replies, errs := make([]Reply, len(asks)), make([]error, len(asks))
	for i, r := range acquireScript.runMany(ctx, c, calls) {
		replies[i], errs[i] = parseReply(r)
		replies[i].name(asks[i].Token)
	}
	return replies, errs
}

// Fill is one commit. Push is the size of the largest value that wake-ups
// carry; negative: none.
type Fill struct {
	Keys  Keys
	Token string
	Value []byte
	TTL   time.Duration
	Push  int
	By    string // the id of our process
}

func (f Fill) call() call {
	return call{
		keys: []string{f.Keys.Lease, f.Keys.Value, f.Keys.Fence},
		args: []string{f.Token, valkey.BinaryString(f.Value), millis(f.TTL), strconv.Itoa(f.Push), millis(fenceTTL), f.By, f.Keys.Long, f.Keys.Track},
	}
}

// Commit writes a value and ends the lease if the token holds it.
func Commit(ctx context.Context, c valkey.Client, f Fill) (bool, error) {
	return truth(commitScript.run(ctx, c, f.call()))
}

// CommitMany is Commit for many keys, in their order.
func CommitMany(ctx context.Context, c valkey.Client, fills []Fill) ([]bool, []error) {
	calls := make([]call, len(fills))
	for i, f := range fills {
		calls[i] = f.call()
	}
	oks, errs := make([]bool, len(fills)), make([]error, len(fills))
	for i, r := range commitScript.runMany(ctx, c, calls) {
		oks[i], errs[i] = truth(r)
	}
	return oks, errs
}

// Renew extends the lease if token holds it. process, if not empty, becomes the
// holder's, where it had none when it took the lease.
func Renew(ctx context.Context, c valkey.Client, k Keys, token string, ttl time.Duration, process string) (bool, error) {
	return truth(renewScript.run(ctx, c, call{[]string{k.Lease}, []string{token, millis(ttl), process}}))
}

// Name names the process of leases that were taken before it was subscribed, by
// their tokens, and has those who wait for them look again.
func Name(ctx context.Context, c valkey.Client, leases map[string]string, process string) {
	calls := make([]call, 0, len(leases))
	for lease, token := range leases {
		calls = append(calls, call{[]string{lease}, []string{token, process}})
	}
	_ = nameScript.runMany(ctx, c, calls) // the next renewal names them as well
}

// Release ends the lease if token holds it.
func Release(ctx context.Context, c valkey.Client, k Keys, token string, f backend.Failure) (bool, error) {
	first, longest := "0", "0"
	if f.CoolDown > 0 {
		first, longest = millis(f.CoolDown), millis(max(f.CoolDown, f.CoolDownMax))
	}
	return truth(releaseScript.run(ctx, c, call{
		[]string{k.Lease, k.Fence},
		[]string{token, first, longest, f.Text[:min(len(f.Text), maxText)], millis(fenceTTL)},
	}))
}

// Set writes value and ends any lease or cool-down. by is our process's id, here
// and below: it is told to others with the change, so that nobody hears of his own.
func Set(ctx context.Context, c valkey.Client, k Keys, value []byte, ttl time.Duration, push int, by string) error {
	_, err := truth(setScript.run(ctx, c, call{
		[]string{k.Lease, k.Value}, []string{valkey.BinaryString(value), millis(ttl), strconv.Itoa(push), by, k.Long, k.Track},
	}))
	return err
}

// DeleteMany deletes the values and ends any leases or cool-downs.
func DeleteMany(ctx context.Context, c valkey.Client, keys []Keys, by string) []error {
	calls := make([]call, len(keys))
	for i, k := range keys {
		calls[i] = call{[]string{k.Lease, k.Value}, []string{by, k.Long}}
	}
	if len(calls) == 1 {
		_, err := truth(delScript.run(ctx, c, calls[0]))
		return []error{err}
	}
	errs := make([]error, len(keys))
	for i, r := range delScript.runMany(ctx, c, calls) {
		_, errs[i] = truth(r)
	}
	return errs
}

// Swap writes value and ends any lease if what is there begins with old.
func Swap(ctx context.Context, c valkey.Client, k Keys, old, value []byte, ttl time.Duration, by string) (bool, error) {
	return truth(swapScript.run(ctx, c, call{
		[]string{k.Lease, k.Value}, []string{valkey.BinaryString(old), valkey.BinaryString(value), millis(ttl), by, k.Long, k.Track},
	}))
}

// Probe publishes nonce to channel and counts who is subscribed to it; negative:
// the server refuses to say.
func Probe(ctx context.Context, c valkey.Client, channel, nonce string) (sent bool, subscribed int64, err error) {
	n, err := probeScript.run(ctx, c, call{args: []string{channel, nonce}}).AsIntSlice()
	if err != nil || len(n) != 2 {
		return false, -1, Wrap(err)
	}
	return n[0] == 1, n[1], nil
}

func truth(r valkey.ValkeyResult) (bool, error) {
	n, err := r.AsInt64()
	return n == 1, Wrap(err)
}

// millis rounds up: a lifetime below a millisecond must not become none.
func millis(d time.Duration) string {
	n := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 && n < math.MaxInt64 {
		n++
	}
	return strconv.FormatInt(max(1, n), 10)
}
