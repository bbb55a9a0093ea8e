package otelx

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// Level says which events of a cache become spans. Metrics do not depend on it.
// No level shows hits in memory: they call no hooks, and cost what they cost
// without telemetry.
type Level uint8

const (
	// SpansSlow is every span of this package: whatever memory could not
	// answer.
	SpansSlow Level = iota

	// SpansLocks is acquisitions, waits, fills, loads and refreshes: for caches
	// whose shared tier answers so often that a span for each of its hits is
	// too much. In place of the reads that are not shown, waits link to the
	// span in which the load's caller made his; without one they have no link.
	SpansLocks

	// SpansOff is none. The span of a load's caller still travels in the lease,
	// for waiters in processes that show more.
	SpansOff
)

// shows reports whether spans of a name are made.
func (l Level) shows(name string) bool {
	switch l {
	case SpansLocks:
		switch name {
		case SpanLockAcquire, SpanLockWait, SpanFill, SpanLoad, SpanRefresh:
			return true
		}
		return false
	case SpansOff:
		return false
	}
	return true
}

// HashKey returns an Options.Key that shows a hash: the spans of one key can be
// found together, and who does not know secret cannot tell which key it is by
// trying those that are likely. Processes whose spans are looked at together
// need the same secret; an empty one protects nothing. HashKey keeps a copy.
func HashKey(secret []byte) func(key string) string {
	secret = bytes.Clone(secret)
	return func(key string) string {
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(key))
		return hex.EncodeToString(h.Sum(nil)[:8])
	}
}
