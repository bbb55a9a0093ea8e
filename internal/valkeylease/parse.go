package valkeylease

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
)

// ProcessLen is how long a process's id is, in hexadecimal digits.
const ProcessLen = 12

var errShort = errors.New("valkey: short reply to a lease")

// What a lease script replies.
const (
	statusHeld    = 0
	statusWon     = 1
	statusFound   = 2
	statusCooling = 3
)

func parseReply(result valkey.ValkeyResult) (r Reply, err error) {
	parts, err := result.ToArray()
	if err != nil {
		return Reply{}, Wrap(err)
	}
	if len(parts) < 2 {
		return Reply{}, errShort
	}
	status, err := parts[0].AsInt64()
	if err != nil {
		return Reply{}, Wrap(err)
	}
	if status == statusFound {
		s, err := parts[1].ToString()
		if err != nil {
			return Reply{}, Wrap(err)
		}
		r.Value = []byte(s)
		r.Now = number(parts, 2)
		return r, nil
	}
	if len(parts) < 3 {
		return Reply{}, errShort
	}
	switch status {
	case statusWon:
		fence, err := parts[1].AsInt64()
		if err != nil {
			return Reply{}, Wrap(err)
		}
		r.Won, r.Fence, r.Now, r.TookOver = true, uint64(fence), number(parts, 2), number(parts, 3) == 1
	case statusCooling:
		s, _ := parts[1].ToString()
		r.Cooling = parseCooling(s, number(parts, 2))
	default:
		lease, _ := parts[1].ToString()
		r.Remaining = time.Duration(number(parts, 2)) * time.Millisecond
		r.Now, r.Pushed = number(parts, 3), number(parts, 4) == 1
		parseLease(lease, &r)
	}
	return r, nil
}

// number is the i-th part, or 0.
func number(parts []valkey.ValkeyMessage, i int) int64 {
	if i >= len(parts) {
		return 0
	}
	n, _ := parts[i].AsInt64()
	return n
}

// parseLease reads fence|since|usual|process|fails|owner|tag. The bytes come
// from the server: what does not parse is left empty.
func parseLease(s string, r *Reply) {
	f := strings.SplitN(s, "|", 7)
	if len(f) != 7 {
		return
	}
	if since, err := strconv.ParseInt(f[1], 10, 64); err == nil && since > 0 && since <= r.Now {
		r.Since = time.Duration(min(r.Now-since, maxMicros)) * time.Microsecond
	}
	if usual, err := strconv.ParseInt(f[2], 10, 64); err == nil && usual > 0 && usual <= maxMicros {
		r.Usual = time.Duration(usual) * time.Microsecond
	}
	if isProcess(f[3]) {
		r.Process = f[3]
	}
	r.Holding, _ = strconv.ParseUint(f[0], 10, 64)
	r.Owner, r.Tag = f[5], f[6]
}

// maxMicros is far more than any load takes, and fits a Duration.
const maxMicros = int64(1e15)

func isProcess(s string) bool {
	return len(s) == ProcessLen && strings.Trim(s, "0123456789abcdef") == ""
}

// parseCooling reads !|fails|text.
func parseCooling(s string, pttl int64) *backend.Cooling {
	fails, text, _ := strings.Cut(strings.TrimPrefix(s, "!|"), "|")
	return cooling(fails, pttl, text)
}

func cooling(fails string, ms int64, text string) *backend.Cooling {
	n, err := strconv.Atoi(fails)
	if err != nil || n < 1 {
		n = 1
	}
	return &backend.Cooling{
		Failures:   n,
		RetryAfter: time.Duration(min(max(ms, 0), maxMicros/1000)) * time.Millisecond,
		Text:       text[:min(len(text), maxText)],
	}
}

// Message is what a process is told on its channel.
type Message struct {
	Lease  string // server key of the lease that has ended; empty: the nonce of a probe
	Fence  uint64 // of that lease
	Nonce  string
	Notice backend.Notice

	Change *backend.Invalidation // nil: it is one of the above
	By     string                // the id of the process that made the change
}

// ParseMessage reads kind, length of the lease's key, ":", that key, the lease's
// fence, ":" and what the kind carries; or kind, length of a key or tag, ":", that,
// the id of a process, ":" and what the kind carries. Anybody may publish: what does not parse is refused.
func ParseMessage(s string) (m Message, ok bool) {
	if s == "" {
		return m, false
	}
	kind := s[0]
	digits, rest, ok := strings.Cut(s[1:], ":")
	n, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil || int(n) > len(rest) {
		return m, false
	}
	if kind == 'k' || kind == 't' {
		return parseChange(kind, rest[:n], rest[n:])
	}
	m.Lease = rest[:n]
	rest = rest[n:]
	if kind == 'n' {
		m.Nonce = rest
		return m, n == 0
	}
	digits, rest, ok = strings.Cut(rest, ":")
	if m.Fence, err = strconv.ParseUint(digits, 10, 64); !ok || err != nil {
		return Message{}, false
	}
	switch kind {
	case 'v':
		m.Notice.Value = []byte(rest)
	case 'f':
		f := strings.SplitN(rest, "|", 3)
		if len(f) != 3 {
			return Message{}, false
		}
		ms, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return Message{}, false
		}
		m.Notice.Cooling = cooling(f[0], ms, f[2])
	case 'c':
	default:
		return Message{}, false
	}
	return m, n > 0
}

// ChangeMessage is what ParseMessage reads: a change that the process by has made.
func ChangeMessage(inv backend.Invalidation, by string) string {
	if inv.Kind == backend.TagStamped {
		kind, stamp := ":r", inv.Stamp.Removed
		if inv.Stamp.Removed == 0 {
			kind, stamp = ":e", inv.Stamp.Expired
		}
		return "t" + strconv.Itoa(len(inv.Tag)) + ":" + inv.Tag + by + kind + strconv.FormatUint(stamp, 10)
	}
	return "k" + strconv.Itoa(len(inv.Key)) + ":" + inv.Key + by + ":" + string(inv.Head)
}

func parseChange(kind byte, name, rest string) (m Message, ok bool) {
	m.By, rest, ok = strings.Cut(rest, ":")
	if !ok || !isProcess(m.By) {
		return Message{}, false
	}
	if kind == 'k' {
		m.Change = &backend.Invalidation{Kind: backend.KeyChanged, Key: name}
		if rest != "" {
			m.Change.Head = []byte(rest)
		}
		return m, true
	}
	if rest == "" {
		return Message{}, false
	}
	stamp, err := strconv.ParseUint(rest[1:], 10, 64)
	m.Change = &backend.Invalidation{Kind: backend.TagStamped, Tag: name}
	switch rest[0] {
	case 'r':
		m.Change.Stamp.Removed = stamp
	case 'e':
		m.Change.Stamp.Expired = stamp
	default:
		return Message{}, false
	}
	return m, err == nil
}
