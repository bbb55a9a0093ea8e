// Package valkeyconn opens a valkey-go client from a URL with the settings that
// a cache needs, without ever blocking or failing because the server is away.
package valkeyconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
)

const (
	dialTimeout  = time.Second            // also bounds a call that finds the client still dialling
	keepAlive    = 500 * time.Millisecond // with writeTimeout bounds how long a silent partition goes unnoticed
	writeTimeout = time.Second
	cacheBytes   = 1 << 20 // client-side caching is off; the default reserves 128 MiB a connection
)

// Conn is a client that may still be connecting. It is safe for concurrent use.
type Conn struct {
	owned  bool
	ready  chan struct{} // closed once client is set
	client valkey.Client
	err    error // why there will never be a client

	once sync.Once
}

// Borrow wraps a client that stays its giver's to close.
func Borrow(c valkey.Client) *Conn {
	conn := &Conn{client: c, ready: make(chan struct{})}
	close(conn.ready)
	return conn
}

// Open returns at once and connects in the background. It fails only for a URL
// that can never work.
func Open(rawURL string) (*Conn, error) {
	opt, err := Options(rawURL)
	if err != nil {
		return nil, err
	}
	conn := &Conn{owned: true, ready: make(chan struct{})}
	go conn.connect(opt) // ends within dialTimeout + writeTimeout; Close waits for it
	return conn, nil
}

func (c *Conn) connect(opt valkey.ClientOption) {
	defer close(c.ready)
	client, err := valkey.NewClient(opt)
	if client == nil {
		c.err = fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
		return
	}
	c.client = client // also with an error: a forced single client heals by itself
}

// Client returns the client, waiting for the first connection attempt to end.
func (c *Conn) Client(ctx context.Context) (valkey.Client, error) {
	select {
	case <-c.ready: // the common case, without looking at ctx
		return c.client, c.err
	default:
	}
	select {
	case <-c.ready:
		return c.client, c.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: still connecting: %w", backend.ErrUnavailable, context.Cause(ctx))
	}
}

// Close closes a client that Open made. It is idempotent.
func (c *Conn) Close() {
	c.once.Do(func() {
		if !c.owned {
			return
		}
		<-c.ready
		if c.client != nil {
			c.client.Close()
		}
	})
}

// Options turns a URL into client options. Its errors never quote the URL,
// which may hold a password.
func Options(rawURL string) (valkey.ClientOption, error) {
	fail := func(why string) (valkey.ClientOption, error) {
		return valkey.ClientOption{}, errors.New("URL: " + why)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return fail("cannot be parsed; write valkey://user:password@host:port/db and percent-encode the password")
	}
	switch u.Scheme {
	case "valkey", "redis", "valkeys", "rediss", "unix":
	default:
		return fail(`scheme must be "valkey", "valkeys" (TLS), "redis", "rediss" (TLS) or "unix"`)
	}
	if u.Query().Has("skip_verify") {
		return fail("skip_verify turns off TLS verification; pass a client of your own if you mean it")
	}
	opt, err := valkey.ParseURL(rawURL)
	if err != nil {
		return fail("has a bad database number, timeout or path")
	}
	if opt.Password != "" && opt.TLSConfig == nil && !loopback(u) && !u.Query().Has("plaintext_password") {
		return fail("sends a password without TLS to another host; use valkeys://, or add ?plaintext_password=1 on a network you trust")
	}
	opt.AlwaysPipelining = true // else one caller's deadline closes the connection of all
	opt.DisableRetry = true     // the tier has its own budget and breaker; hidden retries multiply load
	opt.DisableCache = true
	opt.CacheSizeEachConn = cacheBytes
	opt.ForceSingleClient = opt.Sentinel.MasterSet == "" // comes up, and heals, without a server
	if opt.Dialer.Timeout == 0 {
		opt.Dialer.Timeout = dialTimeout
	}
	opt.Dialer.KeepAlive = keepAlive
	if opt.ConnWriteTimeout == 0 {
		opt.ConnWriteTimeout = writeTimeout
	}
	return opt, nil
}

func loopback(u *url.URL) bool {
	host := u.Hostname()
	if u.Scheme == "unix" || host == "" || strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
