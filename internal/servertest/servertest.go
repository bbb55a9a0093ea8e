// Package servertest starts the servers that tests need, on free loopback
// ports and in temporary folders, and stops them with the test.
package servertest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Server is a real valkey-server.
type Server struct {
	tb     testing.TB
	bin    string
	addr   string
	dir    string // its own, kept through Restart
	conf   string // file; a Sentinel writes to its own
	args   []string
	needs  func(tb testing.TB, bin string) // skips what the server cannot do; nil: nothing
	cmd    *exec.Cmd                       // nil after Kill
	done   chan struct{}                   // closed when the process has ended
	paused bool
	own    ownCommands // what we sent, not the tested clients
}

// Valkey starts a valkey-server without persistence. Without one on PATH or in
// VALKEY_SERVER the test is skipped with one loud line, or fails where
// BELLWETHER_REQUIRE_SERVERS or CI is set.
func Valkey(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return launch(tb, func(string) *Server { return &Server{args: args} })
}

// launch starts a valkey-server that prepare has set up for an address. The
// address may be taken between our look and the server's.
func launch(tb testing.TB, prepare func(addr string) *Server) *Server {
	tb.Helper()
	return launchAs(tb, valkeyServer, prepare)
}

// kind finds the program of a server.
type kind func(tb testing.TB) (path string)

func valkeyServer(tb testing.TB) string {
	tb.Helper()
	bin := os.Getenv("VALKEY_SERVER")
	if bin == "" {
		bin = "valkey-server"
	}
	path, err := exec.LookPath(bin)
	if err != nil {
		missing(tb, "no valkey-server: install one, put it on PATH or name it in VALKEY_SERVER, or run `make test`, which does")
	}
	return path
}

func redisServer(tb testing.TB) string {
	tb.Helper()
	return program(tb, "REDIS_SERVER", "redis-server")
}

func launchAs(tb testing.TB, find kind, prepare func(addr string) *Server) *Server {
	tb.Helper()
	path := find(tb)
	var err error
	for range 5 {
		addr := freeAddr(tb)
		s := prepare(addr)
		s.tb, s.bin, s.addr = tb, path, addr
		if s.needs != nil {
			s.needs(tb, path)
		}
		if err = s.start(); err == nil {
			tb.Cleanup(s.stop)
			return s
		}
	}
	tb.Fatalf("%s does not start: %v", filepath.Base(path), err)
	return nil
}

func missing(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("BELLWETHER_REQUIRE_SERVERS") != "" || os.Getenv("CI") != "" {
		tb.Fatal(why)
	}
	Skip(tb, why)
}

var announced sync.Map // of reasons

// Skip skips the test and says so aloud, once for each reason: also on the
// terminal itself, because go test shows nothing of a package that passes.
func Skip(tb testing.TB, why string) {
	tb.Helper()
	if _, before := announced.LoadOrStore(why, true); !before {
		line := fmt.Sprintf("SKIPPED %s and others: %s\n", tb.Name(), why)
		fmt.Fprint(os.Stderr, line)
		if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
			fmt.Fprint(tty, line)
			_ = tty.Close()
		}
	}
	tb.Skip(why)
}

// Addr is host:port.
func (s *Server) Addr() string { return s.addr }

// URL is what valkeystore.Open takes.
func (s *Server) URL() string { return "valkey://" + s.addr }

// Pause stops the server's process: it accepts connections and answers nothing.
// It returns when the process stands still.
func (s *Server) Pause() {
	s.tb.Helper()
	s.signal(syscall.SIGSTOP)
	s.paused = true
	standStill(s.tb, s.cmd.Process.Pid)
}

// Resume undoes Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT); s.paused = false }

// Kill ends the server without warning. Its data are lost.
func (s *Server) Kill() {
	s.tb.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.done
	s.cmd = nil
}

// Restart starts a killed server again, empty, on the same port.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.tb.Fatalf("valkey-server does not start again: %v", err)
	}
}

// patience is longer than a server that is well takes to answer on a busy machine.
const patience = 10 * time.Second

// Do sends an inline command and returns the first line of the reply or, of a
// bulk string, the string.
func (s *Server) Do(command string) string {
	s.tb.Helper()
	line, err := s.ask(command)
	if err != nil {
		s.tb.Fatalf("%s: %v", command, err)
	}
	return line
}

func (s *Server) start() error {
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return err
	}
	if s.dir == "" {
		s.dir = s.tb.TempDir()
	}
	args := []string{"--bind", host, "--port", port, "--dir", s.dir}
	if s.conf != "" {
		args = append([]string{s.conf, "--sentinel"}, args...)
	} else {
		args = append(args, "--save", "", "--appendonly", "no")
	}
	args = append(args, s.args...)
	s.own.reset()
	s.cmd = exec.Command(s.bin, args...)
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	s.done = make(chan struct{})
	go func() { // ends with the process
		_ = s.cmd.Wait()
		close(s.done)
	}()
	for deadline := time.Now().Add(2 * patience); ; {
		if line, err := s.ask("PING"); err == nil && strings.HasPrefix(line, "+PONG") {
			return nil
		}
		select {
		case <-s.done:
		case <-time.After(5 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
		}
		s.Kill()
		return fmt.Errorf("no answer to PING on %s", s.addr)
	}
}

// ask returns the first line of the reply or, of a bulk string, the string.
func (s *Server) ask(command string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	s.own.add(command)
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	s.own.answered(len(line))
	line = strings.TrimRight(line, "\r\n")
	size, bulk := strings.CutPrefix(line, "$")
	if n, _ := strconv.Atoi(size); bulk && n >= 0 {
		b := make([]byte, n)
		_, err = io.ReadFull(r, b)
		s.own.answered(n + len("\r\n"))
		line = string(b)
	}
	return line, err
}

func (s *Server) signal(sig syscall.Signal) {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatalf("signal %v: %v", sig, err)
	}
}

func (s *Server) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGCONT) // a paused process does not die
	}
	s.Kill()
}

func freeAddr(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// MiniServer is an embedded stand-in. Its time moves only by Advance.
type MiniServer struct {
	*miniredis.Miniredis
	now time.Time
}

// Mini starts a stand-in.
func Mini(tb testing.TB) *MiniServer {
	tb.Helper()
	m := &MiniServer{Miniredis: miniredis.RunT(tb), now: time.Now()}
	m.SetTime(m.now)
	m.ClockTTL(true)
	return m
}

// URL is what valkeystore.Open takes.
func (m *MiniServer) URL() string { return "valkey://" + m.Addr() }

// Advance lets d pass, for the TTLs and for TIME.
func (m *MiniServer) Advance(d time.Duration) {
	m.now = m.now.Add(d)
	m.SetTime(m.now)
}
