package fleettest_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/internal/fleettest"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

// client speaks to a server by hand.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

// send sends commands in one packet.
func (c *client) send(commands ...string) {
	c.t.Helper()
	var b strings.Builder
	for _, cmd := range commands {
		words := strings.Fields(cmd)
		fmt.Fprintf(&b, "*%d\r\n", len(words))
		for _, w := range words {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
		}
	}
	fmt.Fprint(c, b.String())
}

// line reads a line within d, or says what came instead.
func (c *client) line(d time.Duration) string {
	c.SetReadDeadline(time.Now().Add(d))
	line, err := c.r.ReadString('\n')
	switch {
	case os.IsTimeout(err):
		return "timeout"
	case err != nil:
		return "closed"
	}
	return strings.TrimRight(line, "\r\n")
}

func (c *client) want(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		if got := c.line(soon); got != want {
			c.t.Fatalf("read %q, want %q", got, want)
		}
	}
}

func TestProxyLosesAReply(t *testing.T) {
	s := servertest.Valkey(t)
	p := fleettest.NewProxy(t, s.Addr())
	c := dial(t, p.Addr())
	lost := p.LoseReply(2, "INCR", "n")
	// Pushes, aggregates and subscriptions do not confuse the count.
	c.send("HELLO 3", "SUBSCRIBE ch", "INCR n", "INCR m", "INCR n", "INCR n")
	for range 3 {
		for c.line(soon) != ":1" { // of ch, n and m
		}
	}
	c.want("closed")
	await(t, "lost reply", lost)
	if n := s.Do("GET n"); n != "2" {
		t.Errorf("n = %s, want 2: the lost command arrived, the next did not", n)
	}
	if d := p.Commands(); d["incr"] != 3 || d["subscribe"] != 1 || d["hello"] != 1 {
		t.Errorf("Commands = %v, want 3 incr (none after the lost one), 1 subscribe, 1 hello", d)
	}
	c = dial(t, p.Addr())
	lost = p.LoseRequest(1, "INCR")
	c.send("GET n", "INCR n")
	c.want("$1", "2", "closed")
	await(t, "lost request", lost)
	if n := s.Do("GET n"); n != "2" {
		t.Errorf("n = %s, want 2: the lost command did not arrive", n)
	}
}

func TestProxyCutsDelaysAndHolds(t *testing.T) {
	p := fleettest.NewProxy(t, servertest.Valkey(t).Addr())
	c := dial(t, p.Addr())
	p.Delay(100 * time.Millisecond)
	began := time.Now()
	c.send("PING", "PING", "PING")
	c.want("+PONG", "+PONG", "+PONG")
	if d := time.Since(began); d < 100*time.Millisecond || d >= 300*time.Millisecond {
		t.Errorf("3 replies took %v, want each 100ms later", d)
	}
	p.Delay(0)

	p.BlackHole(true)
	c.send("PING")
	if got := c.line(50 * time.Millisecond); got != "timeout" {
		t.Errorf("read %q from a black hole", got)
	}
	p.BlackHole(false)
	c.want("+PONG")

	p.Cut()
	c.want("closed")
	c = dial(t, p.Addr())
	c.send("PING")
	c.want("+PONG")

	p.Refuse(true)
	c.want("closed")
	if conn, err := net.Dial("tcp", p.Addr()); err == nil { // else it was quicker
		c = &client{t, conn, bufio.NewReader(conn)}
		c.want("closed")
		conn.Close()
	}
	p.Refuse(false)
	c = dial(t, p.Addr())
	p.BlackHole(true) // which must not hold up the test's end
	c.send("PING")
}
