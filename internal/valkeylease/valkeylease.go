// Package valkeylease holds the Lua scripts and the key layout that
// backend/valkeystore and lock/valkeylock share. Every script is one atomic
// step, is safe to repeat with the same token, and touches keys of one slot.
package valkeylease

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
)

var (
	//go:embed acquire.lua
	acquireLua string
	//go:embed commit.lua
	commitLua string
	//go:embed renew.lua
	renewLua string
	//go:embed release.lua
	releaseLua string
	//go:embed set.lua
	setLua string
)

var (
	acquireScript = valkey.NewLuaScript(acquireLua)
	commitScript  = valkey.NewLuaScript(commitLua)
	renewScript   = valkey.NewLuaScript(renewLua)
	releaseScript = valkey.NewLuaScript(releaseLua)
	setScript     = valkey.NewLuaScript(setLua)
)

// fenceTTL is how long the last fence of a key is remembered. Beyond it the
// server's clock alone makes fences rise.
const fenceTTL = time.Hour

// Reply is an acquisition's answer together with the server's time.
type Reply struct {
	backend.LeaseReply
	Now int64 // microseconds since the epoch; 0 if unknown
}

// Acquire reads or leases. With guard false the value is not looked at.
func Acquire(ctx context.Context, c valkey.Client, k Keys, req backend.LeaseRequest, guard bool) (Reply, error) {
	mode := "0"
	switch {
	case guard && req.Rejected != nil:
		mode = "2"
	case guard:
		mode = "1"
	}
	args := []string{
		req.Token, millis(req.TTL), req.Owner, req.Tag, millis(fenceTTL),
		mode, valkey.BinaryString(req.Rejected),
	}
	keys := []string{k.Lease, k.Fence, k.Value}
	parts, err := exec(ctx, c, acquireScript, keys, args).ToArray()
	if err != nil {
		return Reply{}, wrap(err)
	}
	return parseReply(parts)
}

func parseReply(parts []valkey.ValkeyMessage) (Reply, error) {
	var r Reply
	if len(parts) < 3 {
		return r, errors.New("valkey: short reply to a lease")
	}
	status, err := parts[0].AsInt64()
	if err != nil {
		return r, wrap(err)
	}
	if r.Now, err = parts[len(parts)-1].AsInt64(); err != nil {
		return r, wrap(err)
	}
	switch status {
	case 2:
		s, err := parts[1].ToString()
		if err != nil {
			return r, wrap(err)
		}
		r.Value = []byte(s)
	case 1:
		fence, err := parts[1].AsInt64()
		if err != nil {
			return r, wrap(err)
		}
		r.Won, r.Fence = true, uint64(fence)
	default:
		lease, _ := parts[1].ToString()
		pttl, err := parts[2].AsInt64()
		if err != nil {
			return r, wrap(err)
		}
		r.Remaining = time.Duration(pttl) * time.Millisecond
		parseLease(lease, &r)
	}
	return r, nil
}

// parseLease reads token|fence|since|owner|tag. The bytes come from the
// server: what does not parse is left empty.
func parseLease(s string, r *Reply) {
	f := strings.SplitN(s, "|", 5)
	if len(f) != 5 {
		return
	}
	if since, err := strconv.ParseInt(f[2], 10, 64); err == nil && since > 0 && since <= r.Now {
		r.Since = time.Duration(r.Now-since) * time.Microsecond
	}
	r.Owner, r.Tag = f[3], f[4]
}

// Commit writes value and ends the lease if token holds it.
func Commit(ctx context.Context, c valkey.Client, k Keys, token string, value []byte, ttl time.Duration) (bool, error) {
	return truth(exec(ctx, c, commitScript, []string{k.Lease, k.Value},
		[]string{token, valkey.BinaryString(value), millis(ttl)}))
}

// Renew extends the lease if token holds it.
func Renew(ctx context.Context, c valkey.Client, k Keys, token string, ttl time.Duration) (bool, error) {
	return truth(exec(ctx, c, renewScript, []string{k.Lease}, []string{token, millis(ttl)}))
}

// Release ends the lease if token holds it.
func Release(ctx context.Context, c valkey.Client, k Keys, token string) (bool, error) {
	return truth(exec(ctx, c, releaseScript, []string{k.Lease}, []string{token}))
}

// Set writes value and ends any lease.
func Set(ctx context.Context, c valkey.Client, k Keys, value []byte, ttl time.Duration) error {
	_, err := truth(exec(ctx, c, setScript, []string{k.Lease, k.Value},
		[]string{valkey.BinaryString(value), millis(ttl)}))
	return err
}

// Again reports whether a command is to be repeated, once: because its
// connection turned out to be dead. The client does not repeat writes, and the
// first command after a server's restart always meets the old connection.
func Again(ctx context.Context, r valkey.ValkeyResult) bool {
	err := r.NonValkeyError()
	return err != nil && ctx.Err() == nil && dropped(err)
}

func exec(ctx context.Context, c valkey.Client, s *valkey.Lua, keys, args []string) valkey.ValkeyResult {
	r := s.Exec(ctx, c, keys, args)
	if Again(ctx, r) {
		r = s.Exec(ctx, c, keys, args)
	}
	return r
}

// dropped reports whether err means that an established connection has gone,
// as opposed to a dial that was refused or a time that ran out.
func dropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

func truth(r valkey.ValkeyResult) (bool, error) {
	n, err := r.AsInt64()
	return n == 1, wrap(err)
}

func wrap(err error) error { return Wrap(err) }

// Wrap classifies a client error. Whatever is not the server's own word is
// joined with backend.ErrUnavailable; the server's word keeps only its first
// token (WRONGTYPE, OOM, NOPERM, ...), as the rest may quote keys.
func Wrap(err error) error {
	if err == nil {
		return nil
	}
	if valkey.IsValkeyNil(err) {
		return backend.ErrMiss
	}
	if e, ok := valkey.IsValkeyErr(err); ok {
		code, _, _ := strings.Cut(e.Error(), " ")
		return &ServerError{Code: code, err: e}
	}
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
}

// ServerError is a refusal by the server itself.
type ServerError struct {
	Code string // WRONGTYPE, OOM, READONLY, ...
	err  error
}

// Error names the refusal without quoting the server, which may quote keys.
func (e *ServerError) Error() string { return "valkey: server refused: " + e.Code }

// Unwrap gives the client's error.
func (e *ServerError) Unwrap() error { return e.err }

// millis rounds up: a lifetime below a millisecond must not become none.
func millis(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Millisecond-1)/time.Millisecond)), 10)
}
