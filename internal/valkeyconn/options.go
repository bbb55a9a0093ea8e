package valkeyconn

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
)

const (
	dialTimeout  = time.Second            // also bounds a call that finds the client still dialling
	keepAlive    = 500 * time.Millisecond // with writeTimeout bounds how long a silent partition goes unnoticed
	writeTimeout = time.Second
	cacheBytes   = 1 << 20 // client-side caching is off; the default reserves 128 MiB a connection

	// The client asks for the topology when it meets an error. This finds what no
	// error tells: an idle cluster's new nodes, a demoted master that still
	// answers, an event of a Sentinel's that was missed.
	refreshTopology = 5 * time.Second

	redirections = 5 // the client would follow two nodes that point at each other until the context ends
)

// The kinds of deployment, as a scheme ends.
const (
	single   = ""
	cluster  = "cluster"
	sentinel = "sentinel"
)

// target is what a URL names.
type target struct {
	url       *url.URL // with the first address, as the client reads it
	kind      string
	addrs     []string
	masterSet string
}

// Options turns a URL into client options. Its errors never quote the URL,
// which may hold a password.
func Options(rawURL string) (valkey.ClientOption, error) {
	fail := func(why string) (valkey.ClientOption, error) {
		return valkey.ClientOption{}, errors.New("URL: " + why)
	}
	t, why := parse(rawURL)
	if why != "" {
		return fail(why)
	}
	q := t.url.Query()
	if q.Has("skip_verify") {
		return fail("skip_verify turns off TLS verification; pass a client of your own if you mean it")
	}
	opt, err := valkey.ParseURL(t.url.String())
	if err != nil {
		return fail("has a bad database number, timeout or path")
	}
	if t.kind == cluster && opt.SelectDB != 0 {
		return fail("a cluster has no databases to select")
	}
	if opt.Password != "" && opt.TLSConfig == nil && !t.loopback() && !q.Has("plaintext_password") {
		return fail("sends a password without TLS to another host; use valkeys://, or add ?plaintext_password=1 on a network you trust")
	}
	if t.kind != single {
		opt.InitAddress = t.addrs
		if opt.TLSConfig != nil {
			opt.TLSConfig.ServerName = "" // each node is verified by its own
		}
	}
	opt.AlwaysPipelining = true // else one caller's deadline closes the connection of all
	opt.DisableRetry = true     // the tier has its own budget and breaker; hidden retries multiply load
	opt.DisableCache = true
	opt.CacheSizeEachConn = cacheBytes
	opt.ForceSingleClient = t.kind == single // comes up, and heals, without a server
	if opt.Dialer.Timeout == 0 {
		opt.Dialer.Timeout = dialTimeout
	}
	opt.Dialer.KeepAlive = keepAlive
	if opt.ConnWriteTimeout == 0 {
		opt.ConnWriteTimeout = writeTimeout
	}
	switch t.kind {
	case cluster:
		opt.ClusterOption = valkey.ClusterOption{ShardsRefreshInterval: refreshTopology, MaxMovedRedirections: redirections}
	case sentinel:
		opt.Sentinel = valkey.SentinelOption{
			MasterSet: t.masterSet, Dialer: opt.Dialer, TLSConfig: opt.TLSConfig, TopologyRefreshInterval: refreshTopology,
		}
	}
	return opt, nil
}

// parse reads scheme[+kind]://[user[:password]@]host[:port][,host[:port]...][/path],
// and the forms that the client has for the same. It returns what is wrong.
func parse(rawURL string) (t target, why string) {
	const unparsable = "cannot be parsed; write valkey://user:password@host:port/db and percent-encode the password"
	scheme, rest, ok := strings.Cut(rawURL, "://")
	base, kind, named := strings.Cut(scheme, "+")
	if !ok || named && kind != cluster && kind != sentinel || named && base == "unix" {
		if u, err := url.Parse(rawURL); err != nil || u.Scheme == "" {
			return t, unparsable
		}
		return t, badScheme
	}
	// By hand: net/url takes a list of hosts for a bad port.
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	user, list := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, list = authority[:i+1], authority[i+1:]
	}
	hosts := strings.Split(list, ",")
	u, err := url.Parse(base + "://" + user + hosts[0] + path)
	if err != nil {
		return t, unparsable
	}
	switch u.Scheme {
	case "valkey", "redis", "valkeys", "rediss", "unix":
	default:
		return t, badScheme
	}
	if len(hosts) > 1 && !named {
		return t, `several hosts want a scheme that ends in "+cluster" or "+sentinel"`
	}
	t = target{url: u, kind: kind}
	return t.complete(hosts)
}

const badScheme = `scheme must be "valkey", "valkeys" (TLS), "redis" or "rediss" (TLS), alone or with "+cluster" or "+sentinel", or "unix"`

// complete takes the addresses and the master's name out of the URL.
func (t target) complete(hosts []string) (_ target, why string) {
	q := t.url.Query()
	hosts = append(hosts, q["addr"]...)
	t.masterSet = q.Get("master_set")
	switch {
	case t.kind == single && t.masterSet != "":
		t.kind = sentinel
	case t.kind == single && len(hosts) > 1:
		t.kind = cluster
	case t.kind == sentinel && t.masterSet == "":
		name, db, _ := strings.Cut(strings.TrimPrefix(t.url.Path, "/"), "/")
		if t.masterSet = name; name == "" {
			return t, "a Sentinel URL ends in the master's name: valkey+sentinel://host:26379,host:26379/mymaster"
		}
		t.url.Path, t.url.RawPath = "/"+db, ""
		if db == "" {
			t.url.Path = ""
		}
	}
	q.Del("addr")
	q.Del("master_set")
	t.url.RawQuery = q.Encode()
	port := "6379"
	if t.kind == sentinel {
		port = "26379"
	}
	for _, h := range hosts {
		if t.kind != single && strings.Trim(h, "[]:") == "" {
			return t, "has an empty host in its list"
		}
		if _, _, err := net.SplitHostPort(h); err != nil {
			h = net.JoinHostPort(strings.Trim(h, "[]"), port)
		}
		t.addrs = append(t.addrs, h)
	}
	return t, ""
}

func (t target) loopback() bool {
	if t.url.Scheme == "unix" {
		return true
	}
	for _, addr := range t.addrs {
		host, _, _ := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); host != "" && !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}
