package servertest_test

import (
	"strings"
	"testing"

	"github.com/bellwethercache/bellwether/internal/servertest"
)

// TestClusterFailsOver: a dead master's replica takes its slots, and the dead
// comes back as a replica.
func TestClusterFailsOver(t *testing.T) {
	c := servertest.Cluster(t)
	first := c.Master("k")
	replica := c.Replica(first)
	if replica == nil || replica == first {
		t.Fatal("the master of the key has no replica")
	}
	if got := first.Do("SET k v"); got != "+OK" {
		t.Fatalf("SET = %s at the master of the key", got)
	}
	if got := replica.Do("SET k v"); !strings.HasPrefix(got, "-MOVED") {
		t.Errorf("SET = %s at its replica, want it moved", got)
	}
	servertest.AwaitReplication(t, first, replica)
	first.Kill()
	if next := c.AwaitPromotion("k", first); next != replica {
		t.Errorf("%s was promoted, want the replica %s", next.Addr(), replica.Addr())
	}
	if got := replica.Do("GET k"); got != "v" {
		t.Errorf("GET = %s at the promoted replica", got)
	}
	first.Restart()
	c.AwaitHealth()
	if got := first.Do("INFO replication"); !strings.Contains(got, "role:slave") {
		t.Errorf("the dead master came back as %s", got)
	}
	if got := c.Replica(replica); got != first {
		t.Errorf("%v follows the promoted replica, want the dead master", got)
	}
}

func TestSentinelFailsOver(t *testing.T) {
	s := servertest.Sentinel(t)
	first := s.Master()
	if got := first.Do("SET k v"); first != s.Nodes[0] || got != "+OK" {
		t.Fatalf("SET = %s at the master", got)
	}
	servertest.AwaitReplication(t, first, s.Nodes[1])
	first.Kill()
	next := s.AwaitPromotion(first)
	if got := next.Do("GET k"); next != s.Nodes[1] || got != "v" || next.Do("SET k v2") != "+OK" {
		t.Errorf("GET = %s at %s, want the replica promoted with what it has", got, next.Addr())
	}
}
