package fleettest

import (
	"bufio"
	"bytes"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/internal/servertest"
)

// Proxy stands between clients and a server that speak RESP3, and does to
// their connections what networks do.
type Proxy struct {
	server string
	listen net.Listener
	wg     sync.WaitGroup // accept, and three goroutines for each link

	mu      sync.Mutex
	links   map[*link]bool
	asked   servertest.Commands
	losses  []*loss
	delay   time.Duration
	refuse  bool
	hole    bool
	closed  bool
	changed chan struct{} // closed and replaced when hole changes
}

// loss is a command that will not be answered.
type loss struct {
	contains [][]byte
	after    int  // so many more that match are let through
	request  bool // it does not even arrive
	done     chan struct{}
}

// NewProxy listens on a port of its own until the test ends.
func NewProxy(tb testing.TB, server string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{server: server, listen: l, links: make(map[*link]bool), asked: make(servertest.Commands), changed: make(chan struct{})}
	p.wg.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

// Addr is host:port, to be used in place of the server's.
func (p *Proxy) Addr() string { return p.listen.Addr().String() }

// Commands returns how often each command was sent by the clients so far, without
// PING. What scripts call is not counted.
func (p *Proxy) Commands() servertest.Commands {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := maps.Clone(p.asked)
	delete(c, "ping")
	return c
}

// count counts a command of a client.
func (p *Proxy) count(cmd []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[strings.ToLower(string(name(cmd)))]++
}

// Cut resets all connections. New ones are let through.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

// Refuse cuts all connections and, until it is called with false, each new one.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	p.refuse = on
	p.mu.Unlock()
	if on {
		p.Cut()
	}
}

// BlackHole lets nothing through, either way, until it is called with false.
// Connections stay, and what was sent arrives then.
func (p *Proxy) BlackHole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = on
	close(p.changed)
	p.changed = make(chan struct{})
}

// Delay makes each reply and push come d later.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// LoseReply lets the nth command from now on that contains all the strings (as
// its bytes are on the wire; the first is 1) reach the server, and closes its
// connection in place of the server's reply. The channel is closed when that
// has happened. It happens once.
//
// A script that the server does not know yet is sent twice, EVALSHA and EVAL,
// and the first does nothing: let it run once before.
func (p *Proxy) LoseReply(n int, contains ...string) <-chan struct{} {
	return p.lose(n, false, contains)
}

// LoseRequest is LoseReply, but the command does not reach the server either.
func (p *Proxy) LoseRequest(n int, contains ...string) <-chan struct{} {
	return p.lose(n, true, contains)
}

func (p *Proxy) lose(n int, request bool, contains []string) <-chan struct{} {
	l := &loss{after: n - 1, request: request, done: make(chan struct{})}
	for _, s := range contains {
		l.contains = append(l.contains, []byte(s))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.losses = append(p.losses, l)
	return l.done
}

// lost returns the loss that strikes cmd, and forgets it.
func (p *Proxy) lost(cmd []byte) *loss {
	p.mu.Lock()
	defer p.mu.Unlock()
next:
	for i, l := range p.losses {
		for _, s := range l.contains {
			if !bytes.Contains(cmd, s) {
				continue next
			}
		}
		if l.after--; l.after < 0 {
			p.losses = append(p.losses[:i:i], p.losses[i+1:]...)
			return l
		}
	}
	return nil
}

func (p *Proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(client.(*net.TCPConn)) }) // ends with the connection
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	server, err := net.DialTimeout("tcp", p.server, time.Second)
	if err != nil {
		_ = reset(client)
		return
	}
	l := &link{
		proxy: p, client: client, server: server.(*net.TCPConn),
		replies: make(chan reply, 1024), over: make(chan struct{}),
	}
	p.mu.Lock()
	if p.refuse || p.closed {
		l.cut()
	} else {
		p.links[l] = true
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()
	var wg sync.WaitGroup
	wg.Go(l.requests)
	wg.Go(l.answers)
	wg.Go(l.deliver)
	wg.Wait()
}

// open waits until the proxy is no black hole. It reports false if the link is
// over before.
func (p *Proxy) open(l *link) bool {
	for {
		p.mu.Lock()
		hole, changed := p.hole, p.changed
		p.mu.Unlock()
		if !hole {
			return true
		}
		select {
		case <-changed:
		case <-l.over:
			return false
		}
	}
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listen.Close()
	p.Cut()
	p.wg.Wait()
}

// link is a connection to the proxy and its own to the server.
type link struct {
	proxy          *Proxy
	client, server *net.TCPConn
	replies        chan reply
	once           sync.Once
	over           chan struct{} // closed when both are

	mu   sync.Mutex
	sent int   // commands that get a reply
	last int   // the reply that is lost; 0: none
	loss *loss // why
}

// reply is what the server sent and when it may arrive.
type reply struct {
	bytes []byte
	due   time.Time
	loss  *loss // it does not
}

// requests brings commands to the server.
func (l *link) requests() {
	defer l.cut()
	r := bufio.NewReader(l.client)
	for {
		cmd, err := frame(r, nil)
		if err != nil || !l.proxy.open(l) {
			return
		}
		l.proxy.count(cmd)
		loss := l.proxy.lost(cmd)
		if loss != nil && loss.request {
			cmd = []byte("*1\r\n$4\r\nPING\r\n") // in its place, to know when those before it are answered
		}
		l.mu.Lock()
		if answered(cmd) {
			l.sent++
		}
		if loss != nil {
			l.last, l.loss = l.sent, loss
		}
		l.mu.Unlock()
		if _, err := l.server.Write(cmd); err != nil {
			return
		}
		if loss != nil {
			<-l.over
			return
		}
	}
}

// answers takes replies from the server.
func (l *link) answers() {
	defer l.cut()
	r := bufio.NewReader(l.server)
	for n := 0; ; {
		b, err := frame(r, nil)
		if err != nil {
			return
		}
		if b[0] != '>' {
			n++
		}
		l.mu.Lock()
		loss := l.loss
		if n != l.last {
			loss = nil
		}
		l.mu.Unlock()
		l.proxy.mu.Lock()
		due := time.Now().Add(l.proxy.delay)
		l.proxy.mu.Unlock()
		select {
		case l.replies <- reply{b, due, loss}:
		case <-l.over:
			return
		}
	}
}

// deliver brings replies to the client.
func (l *link) deliver() {
	defer l.cut()
	for {
		select {
		case r := <-l.replies:
			if d := time.Until(r.due); d > 0 {
				select {
				case <-time.After(d):
				case <-l.over:
					return
				}
			}
			if !l.proxy.open(l) {
				return
			}
			if r.loss != nil {
				l.end((*net.TCPConn).Close) // what came before arrives
				close(r.loss.done)
				return
			}
			if _, err := l.client.Write(r.bytes); err != nil {
				return
			}
		case <-l.over:
			return
		}
	}
}

// cut resets both connections.
func (l *link) cut() { l.end(reset) }

func (l *link) end(how func(*net.TCPConn) error) {
	l.once.Do(func() {
		close(l.over)
		_, _ = how(l.client), how(l.server) // whatever state they are in
	})
}

// reset closes c without the courtesies.
func reset(c *net.TCPConn) error {
	_ = c.SetLinger(0)
	return c.Close()
}
