package servertest

import (
	"maps"
	"strconv"
	"strings"
	"time"
)

// Usage is what a server has done since it started, without PING and without what
// this Server asked of it: of times only without its INFO.
type Usage struct {
	Commands Commands
	Took     map[string]time.Duration // in each command; what a script calls counts in both
	CPU      time.Duration            // of the main thread, with connections and pushes
	Out      int64                    // bytes sent to clients
}

// Since returns what was used after before was read.
func (u Usage) Since(before Usage) Usage {
	d := Usage{u.Commands.Since(before.Commands), make(map[string]time.Duration), u.CPU - before.CPU, u.Out - before.Out}
	for name, took := range u.Took {
		d.Took[name] = took - before.Took[name]
	}
	return d
}

// pong is what a reply to PING takes.
const pong = int64(len("+PONG\r\n"))

// Usage reads it.
func (s *Server) Usage() Usage {
	s.tb.Helper()
	s.own.mu.Lock()
	replies := s.own.replies // before the one that is about to be sent
	s.own.mu.Unlock()
	info := s.Do("INFO all")
	calls := parseCalls(s.tb, info)
	u := Usage{Took: make(map[string]time.Duration), Out: int64(s.figure(info, "total_net_output_bytes")) - replies - pong*calls["ping"]}
	u.CPU = seconds(s.figure(info, "used_cpu_user_main_thread") + s.figure(info, "used_cpu_sys_main_thread"))
	for line := range strings.SplitSeq(info, "\r\n") {
		name, stats, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		_, usec, _ := strings.Cut(stats, ",usec=")
		usec, _, _ = strings.Cut(usec, ",")
		n, err := strconv.ParseInt(usec, 10, 64)
		if err != nil {
			s.tb.Fatalf("INFO: %q: %v", line, err)
		}
		u.Took[name] = time.Duration(n) * time.Microsecond
	}
	for _, name := range []string{"info", "ping"} {
		u.CPU -= u.Took[name]
		delete(u.Took, name)
	}
	u.Commands = s.clients(calls)
	return u
}

// figure is one that INFO tells.
func (s *Server) figure(info, name string) float64 {
	s.tb.Helper()
	_, after, ok := strings.Cut(info, "\n"+name+":")
	text, _, _ := strings.Cut(after, "\r")
	n, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil {
		s.tb.Fatalf("INFO has no %s: %q, %v", name, text, err)
	}
	return n
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// clients takes off calls what this Server has sent, and PING.
func (s *Server) clients(calls Commands) Commands {
	s.own.subtract(calls)
	delete(calls, "ping")
	maps.DeleteFunc(calls, func(_ string, n int64) bool { return n <= 0 })
	return calls
}
