package servertest

import "testing"

// Deployment is servers of which one can fail, and another takes its place.
type Deployment struct {
	URL     string
	Master  *Server // of the key
	Replica *Server // of it

	promotion func() *Server
}

// AwaitPromotion waits until all that live agree on another master of the key,
// and returns it.
func (d *Deployment) AwaitPromotion() *Server { return d.promotion() }

// InDeployments runs test in a cluster and with Sentinels. key is as the server
// knows it.
func InDeployments(t *testing.T, key string, test func(t *testing.T, d *Deployment)) {
	t.Run("cluster", func(t *testing.T) { test(t, Cluster(t).deployment(key)) })
	t.Run("sentinel", func(t *testing.T) { test(t, Sentinel(t).deployment()) })
}

// InRedisDeployments does the same with redis-servers.
func InRedisDeployments(t *testing.T, key string, test func(t *testing.T, d *Deployment)) {
	t.Run("cluster", func(t *testing.T) { test(t, RedisCluster(t).deployment(key)) })
	t.Run("sentinel", func(t *testing.T) { test(t, RedisSentinel(t).deployment()) })
}

func (c *ClusterServers) deployment(key string) *Deployment {
	m := c.Master(key)
	return &Deployment{c.URL(), m, c.Replica(m), func() *Server { return c.AwaitPromotion(key, m) }}
}

func (s *SentinelServers) deployment() *Deployment {
	return &Deployment{s.URL(), s.Nodes[0], s.Nodes[1], func() *Server { return s.AwaitPromotion(s.Nodes[0]) }}
}
