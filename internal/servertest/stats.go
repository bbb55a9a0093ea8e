package servertest

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Commands are numbers of calls by command, as INFO names them: "get",
// "evalsha", "client|tracking".
type Commands map[string]int64

// Since returns what was called after before was read.
func (c Commands) Since(before Commands) Commands {
	d := make(Commands)
	for name, n := range c {
		if n != before[name] {
			d[name] = n - before[name]
		}
	}
	return d
}

// Total is the number of calls of all commands.
func (c Commands) Total() int64 {
	var sum int64
	for n := range maps.Values(c) {
		sum += n
	}
	return sum
}

// Commands returns how often each command was called since the server started,
// without what this Server sent itself and without PING, by which clients only
// see whether a connection lives. What scripts call is counted too.
func (s *Server) Commands() Commands {
	s.tb.Helper()
	return s.clients(parseCalls(s.tb, s.Do("INFO commandstats")))
}

// parseCalls reads numbers of calls out of INFO.
func parseCalls(tb testing.TB, info string) Commands {
	tb.Helper()
	c := make(Commands)
	for line := range strings.SplitSeq(info, "\r\n") {
		name, stats, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		calls, _, _ := strings.Cut(stats, ",")
		n, err := strconv.ParseInt(calls, 10, 64)
		if err != nil {
			tb.Fatalf("INFO commandstats: %q: %v", line, err)
		}
		c[name] = n
	}
	return c
}

// FlushAll deletes everything.
func (s *Server) FlushAll() {
	s.tb.Helper()
	s.must("FLUSHALL")
}

// Config changes a setting of the running server.
func (s *Server) Config(name, value string) {
	s.tb.Helper()
	s.must(fmt.Sprintf("CONFIG SET %s %q", name, value))
}

func (s *Server) must(command string) {
	s.tb.Helper()
	if reply := s.Do(command); reply != "+OK" {
		s.tb.Fatalf("%s = %q, want +OK", command, reply)
	}
}

// ownCommands counts what a Server has sent, by the first two words.
type ownCommands struct {
	mu      sync.Mutex
	sent    map[[2]string]int64
	replies int64 // bytes of what was answered, as far as it was read
}

func (o *ownCommands) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent, o.replies = make(map[[2]string]int64), 0
}

func (o *ownCommands) answered(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replies += int64(n)
}

func (o *ownCommands) add(command string) {
	words := append(strings.Fields(strings.ToLower(command)), "", "")
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent[[2]string(words[:2])]++
}

// subtract takes off what was sent. INFO counts CONFIG SET as "config|set".
func (o *ownCommands) subtract(c Commands) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for words, n := range o.sent {
		name := words[0]
		if sub := name + "|" + words[1]; c[sub] > 0 {
			name = sub
		}
		c[name] -= n
	}
}
