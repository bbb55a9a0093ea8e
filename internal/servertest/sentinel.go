package servertest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// SentinelServers are two servers, one of which follows the other, and the
// Sentinels that watch them.
type SentinelServers struct {
	Nodes     []*Server // the first began as the master
	Sentinels []*Server

	tb testing.TB
}

// SentinelName is the master's name among the Sentinels.
const SentinelName = "mymaster"

// Sentinel starts a master, its replica and three Sentinels. A dead master's
// replica is promoted after about three seconds. One that is killed and restarted is
// empty, and becomes a replica after ten.
func Sentinel(tb testing.TB, args ...string) *SentinelServers {
	tb.Helper()
	return watched(tb, valkeyServer, args)
}

// RedisSentinel starts redis-servers, and their Sentinels.
func RedisSentinel(tb testing.TB, args ...string) *SentinelServers {
	tb.Helper()
	return watched(tb, redisServer, args)
}

func watched(tb testing.TB, find kind, args []string) *SentinelServers {
	tb.Helper()
	s := &SentinelServers{tb: tb}
	args = append([]string{"--repl-diskless-sync-delay", "0", "--replica-priority", "100"}, args...)
	server := func(args ...string) *Server {
		return launchAs(tb, find, func(string) *Server { return &Server{args: args} })
	}
	master := server(args...)
	host, port, _ := net.SplitHostPort(master.Addr())
	s.Nodes = []*Server{master, server(append(args, "--replicaof", host+" "+port)...)}
	for range 3 {
		s.Sentinels = append(s.Sentinels, launchAs(tb, find, func(string) *Server {
			// down-after: they ping each second at most. With less than that they
			// take each new master for dead, and fail over to and fro.
			dir := tb.TempDir()
			conf := filepath.Join(dir, "sentinel.conf")
			if err := os.WriteFile(conf, fmt.Appendf(nil, `sentinel monitor %[1]s %[2]s %[3]s 2
sentinel down-after-milliseconds %[1]s 1500
sentinel failover-timeout %[1]s 3000
`, SentinelName, host, port), 0o600); err != nil {
				tb.Fatal(err)
			}
			return &Server{dir: dir, conf: conf}
		}))
	}
	s.AwaitHealth()
	return s
}

// URL is what valkeystore.Open takes.
func (s *SentinelServers) URL() string {
	addrs := make([]string, len(s.Sentinels))
	for i, x := range s.Sentinels {
		addrs[i] = x.Addr()
	}
	return "valkey+sentinel://" + strings.Join(addrs, ",") + "/" + SentinelName
}

// Master returns the master that the first living Sentinel names.
func (s *SentinelServers) Master() *Server {
	s.tb.Helper()
	for _, x := range s.Sentinels {
		if x.cmd == nil {
			continue
		}
		if n := s.master(x); n != nil {
			return n
		}
	}
	s.tb.Fatal("no Sentinel names a master")
	return nil
}

// AwaitPromotion waits until all Sentinels name another master than dead, which
// says so itself, and returns it.
func (s *SentinelServers) AwaitPromotion(dead *Server) *Server {
	s.tb.Helper()
	var next *Server
	await(s.tb, "promotion", func() bool {
		next = s.Master()
		return next != dead && strings.Contains(next.Do("INFO replication"), "role:master") && s.all(func(x *Server) bool { return s.master(x) == next })
	})
	return next
}

// AwaitHealth waits until the Sentinels know each other and the replica, and
// that follows its master.
func (s *SentinelServers) AwaitHealth() {
	s.tb.Helper()
	await(s.tb, "healthy replication", func() bool {
		master := s.Master()
		for _, n := range s.Nodes {
			if n != master && !strings.Contains(n.Do("INFO replication"), "master_link_status:up") {
				return false
			}
		}
		return s.all(func(x *Server) bool {
			info := x.Do("INFO sentinel")
			return strings.Contains(info, "status=ok") && strings.Contains(info, fmt.Sprintf("slaves=%d,sentinels=%d", len(s.Nodes)-1, len(s.Sentinels)))
		})
	})
}

func (s *SentinelServers) all(ok func(*Server) bool) bool {
	return !slices.ContainsFunc(s.Sentinels, func(x *Server) bool { return x.cmd != nil && !ok(x) })
}

// master is the server that a Sentinel names, or nil.
func (s *SentinelServers) master(x *Server) *Server {
	// master0:name=mymaster,status=ok,address=127.0.0.1:6379,slaves=1,sentinels=3
	_, after, _ := strings.Cut(x.Do("INFO sentinel"), ",address=")
	addr, _, _ := strings.Cut(after, ",")
	if i := slices.IndexFunc(s.Nodes, func(n *Server) bool { return n.Addr() == addr }); i >= 0 {
		return s.Nodes[i]
	}
	return nil
}
