package valkeylease

import (
	"context"
	"crypto/sha1" //nolint:gosec // it is how the server names a script, and guards nothing
	_ "embed"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/valkey-io/valkey-go"
)

var (
	//go:embed lib.lua
	lib string
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
	//go:embed del.lua
	delLua string
	//go:embed swap.lua
	swapLua string
	//go:embed name.lua
	nameLua string
	//go:embed probe.lua
	probeLua string
	//go:embed stamp.lua
	stampLua string
	//go:embed stamps.lua
	stampsLua string
)

var (
	acquireScript = newScript(acquireLua)
	commitScript  = newScript(lib + commitLua)
	renewScript   = newScript(renewLua)
	releaseScript = newScript(lib + releaseLua)
	setScript     = newScript(lib + setLua)
	delScript     = newScript(lib + delLua)
	swapScript    = newScript(lib + swapLua)
	nameScript    = newScript(lib + nameLua)
	probeScript   = newScript(probeLua)
	stampScript   = newScript(stampLua)
	stampsScript  = newScript(stampsLua)
)

// script is a Lua script and the name that the server knows it by. valkey.Lua
// can run many at once only after loading the script into every node.
type script struct{ text, sha string }

func newScript(text string) *script {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
	return &script{text: text, sha: hex.EncodeToString(sum[:])}
}

// call is one run of a script.
type call struct{ keys, args []string }

func (s *script) byName(c valkey.Client, x call) valkey.Completed {
	return c.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(x.keys))).Key(x.keys...).Arg(x.args...).Build()
}

func (s *script) inFull(c valkey.Client, x call) valkey.Completed {
	return c.B().Eval().Script(s.text).Numkeys(int64(len(x.keys))).Key(x.keys...).Arg(x.args...).Build()
}

// run runs the script, again if the server does not know it or its connection
// turned out to be dead.
func (s *script) run(ctx context.Context, c valkey.Client, x call) valkey.ValkeyResult {
	r := c.Do(ctx, s.byName(c, x))
	for tries := 0; tries < reconnects && Again(ctx, r); tries++ {
		r = c.Do(ctx, s.byName(c, x))
	}
	if unknown(r) {
		r = c.Do(ctx, s.inFull(c, x))
	}
	return r
}

// reconnects is how many dead connections a call may meet: a client has two, or
// one for each processor, and a server that was restarted has dropped them all.
const reconnects = 2

// batch bounds what is sent at once: below the client's ring of 1,024, so that
// a batch does not hold up everybody else.
const batch = 512

// runMany runs the script once for each call, in batches of one round trip to a
// node.
func (s *script) runMany(ctx context.Context, c valkey.Client, calls []call) []valkey.ValkeyResult {
	results := make([]valkey.ValkeyResult, 0, len(calls))
	for len(calls) > 0 {
		n := min(len(calls), batch)
		results = append(results, s.runBatch(ctx, c, calls[:n])...)
		calls = calls[n:]
	}
	return results
}

func (s *script) runBatch(ctx context.Context, c valkey.Client, calls []call) []valkey.ValkeyResult {
	cmds := make([]valkey.Completed, len(calls)) // not reused: the client may read it after ctx has ended
	for i, x := range calls {
		cmds[i] = s.byName(c, x)
	}
	results := c.DoMulti(ctx, cmds...)
	var again []int
	cmds = nil
	for i, r := range results {
		if unknown(r) || Again(ctx, r) {
			again = append(again, i)
			cmds = append(cmds, s.inFull(c, calls[i])) // in full: a node that dropped us may have restarted
		}
	}
	if len(again) > 0 {
		for i, r := range c.DoMulti(ctx, cmds...) {
			if Again(ctx, r) {
				r = s.run(ctx, c, calls[again[i]])
			}
			results[again[i]] = r
		}
	}
	return results
}

// unknown reports whether the server has no script of that name, as after a
// restart.
func unknown(r valkey.ValkeyResult) bool {
	e, ok := valkey.IsValkeyErr(r.Error())
	return ok && e.IsNoScript()
}

// Again reports whether a command is to be repeated, once: because its
// connection turned out to be dead, or was being dialed for another caller, who has
// given up. The client does not repeat writes, and the first command after a server's
// restart always meets the old connection.
func Again(ctx context.Context, r valkey.ValkeyResult) bool {
	err := r.NonValkeyError()
	return err != nil && ctx.Err() == nil && (dropped(err) || errors.Is(err, context.Canceled))
}

// dropped reports whether err means that an established connection has gone,
// as opposed to a dial that was refused or a time that ran out.
func dropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}
