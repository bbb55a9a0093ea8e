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
	t.Run("cluster", func(t *testing.T) {
		c := Cluster(t)
		m := c.Master(key)
		test(t, &Deployment{c.URL(), m, c.Replica(m), func() *Server { return c.AwaitPromotion(key, m) }})
	})
	t.Run("sentinel", func(t *testing.T) {
		s := Sentinel(t)
		test(t, &Deployment{s.URL(), s.Nodes[0], s.Nodes[1], func() *Server { return s.AwaitPromotion(s.Nodes[0]) }})
	})
}
