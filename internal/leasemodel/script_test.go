package leasemodel

import (
	"cmp"
	"testing"

	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

// scriptMutants each lack one safeguard of a Lua script. faults is what the
// adversary needs to find it: every schedule costs a server's time.
var scriptMutants = []struct {
	name, promise string
	faults        fault
	procs         int // 0: two
	script        string
	parts         []string // old and new, by turns
}{
	{"commit does not compare", "S3", setNewer, 1, "commit", []string{"if owned(lease, ARGV[1]) then", "if lease then", "if redis.pcall", "redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])\nif redis.pcall"}},
	{"commit writes without any lease", "S4", deleteIt, 1, "commit", []string{"if owned(lease", "if not lease then redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) return 1 end\nif owned(lease"}},
	{"commit keeps the lease", "L", evictValue, 0, "commit", []string{"  redis.call('DEL', KEYS[1])\n", ""}},
	{"a repeated commit is refused", "S5", lostReply, 1, "commit", []string{"== ARGV[2] then return 1 end", "== ARGV[2] then return 0 end"}},
	{"commit wakes nobody", "L", 0, 0, "commit", []string{"wake_with(lease, ARGV[2], ARGV[4])", ""}},
	{"release does not compare", "S5", leaseEnds, 0, "release", []string{"if not owned(lease, ARGV[1])", "if not lease"}},
	{"release wakes nobody", "L", 0, 0, "release", []string{"  wake(lease, 'c', '')", ""}},
	{"a failure wakes nobody", "L", 0, 0, "release", []string{"wake(lease, 'f', fails .. '|' .. cool .. '|' .. ARGV[4])", ""}},
	{"a repeated release counts again", "D6", lostReply, 0, "release", []string{"if not owned(lease, ARGV[1]) then return 0 end", `
local n = type(lease) == 'string' and string.match(lease, '^!|(%d+)')
if n then redis.call('SET', KEYS[1], '!|' .. (n + 1) .. '|', 'PX', ARGV[2]) return 0 end
if not owned(lease, ARGV[1]) then return 0 end`}},
	{"renew creates", "S5", deleteIt, 1, "renew", []string{"return 0", "redis.call('SET', KEYS[1], ARGV[1] .. '|1|1|0||0||', 'PX', ARGV[2]) return 1"}},
	{"renew takes the ttl away", "L", 0, 1, "renew", []string{"return redis.call('PEXPIRE', KEYS[1], ARGV[2])", "return redis.call('PERSIST', KEYS[1])"}},
	{"set does not end the lease", "S3", setNewer, 1, "set", []string{"redis.call('DEL', KEYS[1])", ""}},
	{"set wakes nobody", "L", setNewer, 0, "set", []string{"wake_with(lease, ARGV[1], ARGV[3])", ""}},
	{"delete does not end the lease", "S4", deleteIt, 1, "del", []string{"redis.call('DEL', KEYS[1], KEYS[2])", "redis.call('DEL', KEYS[2])"}},
	{"swap does not end the lease", "S3", setNewer | markStale, 1, "swap", []string{"redis.call('DEL', KEYS[1])", ""}},
	{"the holder is refused when it asks again", "S5", lostReply, 1, "acquire", []string{"== ARGV[1] .. '|' then", "== '' then"}},
	{"whoever asks wins", "S7", 0, 0, "acquire", []string{"local lease = redis.pcall('GET', KEYS[1])", "local lease = false"}},
	{"the living are taken over", "S7", 0, 0, "acquire", []string{"return seen[2] == 0", "return true"}},
	{"those who waited for the dead are forgotten", "L", crash, 3, "acquire", []string{"waiting = string.match(lease, '\\n.*$') or ''", "waiting = ''"}},
	{"a lease lasts for ever", "L", 0, 1, "acquire", []string{"waiting,\n  'PX', ARGV[2])", "waiting)"}},
	{"fences are the clock's", "S6", stepBack, 1, "acquire", []string{"fence = last + 1", "fence = now"}},
	{"fences are counted", "S6", flushAll, 1, "acquire", []string{"local fence, fails = now, '0'", "local fence, fails = 1, '0'", "last >= now", "last >= fence"}},
}

func TestScriptMutantsAreFound(t *testing.T) {
	for _, m := range scriptMutants {
		if m.procs > 2 && !long() {
			continue // 7 s
		}
		t.Run(m.name, func(t *testing.T) {
			undo, ok := valkeylease.Mutate(m.script, m.parts...)
			defer undo()
			if !ok {
				t.Fatalf("%s.lua has changed: there is nothing to replace", m.script)
			}
			mini := servertest.Mini(t)
			n := cmp.Or(m.procs, 2)
			b := bounds{procs: n, attempts: 2, moves: 4 - n, faults: m.faults}
			if n > 2 {
				b.attempts = 1
			}
			p := newServer(t, mini.URL(), mini, b.procs, false)
			f, story, bad := shortest(p, b)
			found(t, f, story, bad, m.promise)
		})
	}
}
