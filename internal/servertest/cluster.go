package servertest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ClusterServers are the nodes of a cluster, whatever their part in it
// is at the moment.
type ClusterServers struct {
	Nodes []*Server // the first three began as masters

	tb testing.TB
}

// clusterMasters have a replica each.
const clusterMasters = 3

// failoverLimit is longer than a promotion takes on a busy machine.
const failoverLimit = 30 * time.Second

// Cluster starts three masters that share the slots, and a replica of each. A
// dead master's replica is promoted after about two seconds. A node that is
// killed and restarted is empty, and joins again.
func Cluster(tb testing.TB, args ...string) *ClusterServers {
	tb.Helper()
	return cluster(tb, valkeyServer, args)
}

// RedisCluster starts one of redis-servers.
func RedisCluster(tb testing.TB, args ...string) *ClusterServers {
	tb.Helper()
	return cluster(tb, redisServer, args)
}

func cluster(tb testing.TB, find kind, args []string) *ClusterServers {
	tb.Helper()
	c := &ClusterServers{tb: tb}
	bus := make([]string, 2*clusterMasters)
	for i := range bus {
		c.Nodes = append(c.Nodes, launchAs(tb, find, func(string) *Server {
			_, bus[i], _ = net.SplitHostPort(freeAddr(tb)) // the usual one, port + 10000, may not exist
			return &Server{args: append([]string{
				"--cluster-enabled", "yes", "--cluster-port", bus[i], "--cluster-node-timeout", "1000",
				"--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0",
				"--repl-diskless-sync-delay", "0", "--enable-debug-command", "local",
			}, args...)}
		}))
	}
	c.join(bus)
	return c
}

// join makes one cluster of the nodes.
func (c *ClusterServers) join(bus []string) {
	c.tb.Helper()
	for i, s := range c.Nodes {
		c.ok(s, fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1))
	}
	for i, s := range c.Nodes[1:] {
		host, port, _ := net.SplitHostPort(s.Addr())
		c.ok(c.Nodes[0], fmt.Sprintf("CLUSTER MEET %s %s %s", host, port, bus[i+1]))
	}
	for i, s := range c.Nodes[:clusterMasters] {
		first, next := i*16384/clusterMasters, (i+1)*16384/clusterMasters
		c.ok(s, fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", first, next-1))
	}
	await(c.tb, "cluster of all nodes", func() bool {
		return c.all(func(s *Server) bool {
			return strings.Contains(s.Do("CLUSTER INFO"), fmt.Sprintf("cluster_known_nodes:%d\r", len(c.Nodes))) &&
				!strings.Contains(s.Do("CLUSTER NODES"), "handshake")
		})
	})
	for i, s := range c.Nodes[clusterMasters:] {
		id := c.Nodes[i].Do("CLUSTER MYID")
		await(c.tb, "replica", func() bool { return s.Do("CLUSTER REPLICATE "+id) == "+OK" })
	}
	c.AwaitHealth()
}

func (c *ClusterServers) ok(s *Server, command string) {
	c.tb.Helper()
	if got := s.Do(command); got != "+OK" {
		c.tb.Fatalf("%s: %s", command, got)
	}
}

// URL is what valkeystore.Open takes.
func (c *ClusterServers) URL() string {
	addrs := make([]string, len(c.Nodes))
	for i, s := range c.Nodes {
		addrs[i] = s.Addr()
	}
	return "valkey+cluster://" + strings.Join(addrs, ",")
}

// Master returns the node that holds key, as the others see it.
func (c *ClusterServers) Master(key string) *Server {
	c.tb.Helper()
	s := c.master(c.alive()[0], c.Slot(key))
	if s == nil {
		c.tb.Fatal("nobody holds the slot of the key")
	}
	return s
}

// Slot is the number of key's slot.
func (c *ClusterServers) Slot(key string) int {
	c.tb.Helper()
	n, err := strconv.Atoi(strings.TrimPrefix(c.alive()[0].Do("CLUSTER KEYSLOT "+key), ":"))
	if err != nil {
		c.tb.Fatal(err)
	}
	return n
}

// Replica returns the node that follows master, or nil.
func (c *ClusterServers) Replica(master *Server) *Server {
	c.tb.Helper()
	view := c.view(c.alive()[0])
	for addr, n := range view {
		if n.follows != "" && n.follows == view[master.Addr()].id && !n.failed {
			return c.at(addr)
		}
	}
	return nil
}

// AwaitPromotion waits until all living nodes agree on another holder of dead's
// slots, and returns it.
func (c *ClusterServers) AwaitPromotion(key string, dead *Server) *Server {
	c.tb.Helper()
	slot := c.Slot(key)
	var next *Server
	await(c.tb, "promotion", func() bool {
		next = c.master(c.alive()[0], slot)
		return next != nil && next != dead && c.all(func(s *Server) bool {
			return c.master(s, slot) == next && strings.Contains(s.Do("CLUSTER INFO"), "cluster_state:ok")
		})
	})
	return next
}

// AwaitHealth waits until all nodes live and agree that all slots are served,
// by a master with a replica.
func (c *ClusterServers) AwaitHealth() {
	c.tb.Helper()
	await(c.tb, "healthy cluster", func() bool {
		return c.all(func(s *Server) bool {
			info, followers := s.Do("INFO replication"), 0
			for _, n := range c.view(s) {
				if n.follows != "" && !n.failed {
					followers++
				}
			}
			return followers == clusterMasters && strings.Contains(s.Do("CLUSTER INFO"), "cluster_state:ok") &&
				(strings.Contains(info, "role:master") || strings.Contains(info, "master_link_status:up"))
		})
	})
}

func (c *ClusterServers) alive() (nodes []*Server) {
	for _, s := range c.Nodes {
		if s.cmd != nil && !s.paused {
			nodes = append(nodes, s)
		}
	}
	return nodes
}

func (c *ClusterServers) all(ok func(*Server) bool) bool {
	return !slices.ContainsFunc(c.alive(), func(s *Server) bool { return !ok(s) })
}

func (c *ClusterServers) at(addr string) *Server {
	if i := slices.IndexFunc(c.Nodes, func(s *Server) bool { return s.Addr() == addr }); i >= 0 {
		return c.Nodes[i]
	}
	return nil
}

// clusterNode is a node as another one sees it.
type clusterNode struct {
	id, follows string
	failed      bool
	slots       [][2]int
}

// view is what s knows of the cluster, by address.
func (c *ClusterServers) view(s *Server) map[string]clusterNode {
	c.tb.Helper()
	view := make(map[string]clusterNode)
	for line := range strings.Lines(s.Do("CLUSTER NODES")) {
		// id host:port@bus[,name] flags master|- ping pong epoch link slot...
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		addr, _, _ := strings.Cut(f[1], "@")
		n := clusterNode{id: f[0], follows: strings.Trim(f[3], "-"), failed: strings.Contains(f[2], "fail")}
		for _, r := range f[8:] {
			var first, last int
			switch k, _ := fmt.Sscanf(r, "%d-%d", &first, &last); k {
			case 1:
				n.slots = append(n.slots, [2]int{first, first})
			case 2:
				n.slots = append(n.slots, [2]int{first, last})
			}
		}
		view[addr] = n
	}
	return view
}

func (c *ClusterServers) master(s *Server, slot int) *Server {
	for addr, n := range c.view(s) {
		for _, r := range n.slots {
			if n.follows == "" && r[0] <= slot && slot <= r[1] {
				return c.at(addr)
			}
		}
	}
	return nil
}

// AwaitReplication waits until replica has what master has now.
func AwaitReplication(tb testing.TB, master, replica *Server) {
	tb.Helper()
	offset := func(s *Server, name string) int {
		_, after, _ := strings.Cut(s.Do("INFO replication"), name+":")
		n, _ := strconv.Atoi(strings.Fields(after + " 0")[0])
		return n
	}
	goal := offset(master, "master_repl_offset")
	await(tb, "replication", func() bool { return offset(replica, "slave_repl_offset") >= goal })
}

// await waits for what no event tells.
func await(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for late := time.After(failoverLimit); !ok(); {
		select {
		case <-late:
			tb.Fatalf("no %s within %v", what, failoverLimit)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Move begins to move the slot of key from one master to another.
func (c *ClusterServers) Move(key string, from, to *Server) {
	c.tb.Helper()
	slot := c.Slot(key)
	c.ok(to, fmt.Sprintf("CLUSTER SETSLOT %d IMPORTING %s", slot, from.Do("CLUSTER MYID")))
	c.ok(from, fmt.Sprintf("CLUSTER SETSLOT %d MIGRATING %s", slot, to.Do("CLUSTER MYID")))
}

// MoveKey moves key itself, if it is still there.
func (c *ClusterServers) MoveKey(key string, from, to *Server) {
	c.tb.Helper()
	host, port, _ := net.SplitHostPort(to.Addr())
	if got := from.Do(fmt.Sprintf("MIGRATE %s %s %s 0 1000", host, port, key)); got != "+OK" && got != "+NOKEY" {
		c.tb.Fatalf("MIGRATE: %s", got)
	}
}

// Moved ends the move of the slot of key.
func (c *ClusterServers) Moved(key string, to *Server) {
	c.tb.Helper()
	slot, id := c.Slot(key), to.Do("CLUSTER MYID")
	c.ok(to, fmt.Sprintf("CLUSTER SETSLOT %d NODE %s", slot, id))
	for _, s := range c.Nodes[:clusterMasters] {
		c.ok(s, fmt.Sprintf("CLUSTER SETSLOT %d NODE %s", slot, id))
	}
}
