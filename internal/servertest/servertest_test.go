package servertest_test

import (
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/internal/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommandsCountsClientsOnly(t *testing.T) {
	s := servertest.Valkey(t)
	if c := s.Commands(); len(c) != 0 {
		t.Errorf("Commands of a new server = %v, want none", c)
	}
	s.Do("SET k v")
	s.Config("maxmemory", "100mb")
	before := s.Commands()
	s.Do("GET k")
	client(t, s.Addr(), "PING", "GET k", "GET k", "CONFIG GET maxmemory")
	d := s.Commands().Since(before)
	if want := (servertest.Commands{"get": 2, "config|get": 1, "quit": 1}); !maps.Equal(d, want) || d.Total() != 4 {
		t.Errorf("Commands since = %v, want %v", d, want)
	}
	s.FlushAll()
	if got := s.Do("GET k"); got != "$-1" {
		t.Errorf("GET k = %q after FlushAll, want none", got)
	}
	s.Restart()
	if c := s.Commands(); len(c) != 0 {
		t.Errorf("Commands of a restarted server = %v, want none", c)
	}
}

func TestUsageIsOfClientsOnly(t *testing.T) {
	s := servertest.Valkey(t)
	s.Do("SET k 0123456789")
	before := s.Usage()
	if s.Usage(); s.Do("GET k") != "0123456789" {
		t.Fatal("k is not there")
	}
	client(t, s.Addr(), "PING", "GET k")
	u := s.Usage().Since(before)
	// Of a client: a PING, the value of 17 bytes, and +OK to QUIT.
	if u.Out != 17+5 || u.Commands["get"] != 1 || u.Took["get"] <= 0 || u.CPU < 0 {
		t.Errorf("Usage = %+v, want 22 bytes and one GET", u)
	}
}

// client sends inline commands as somebody else and waits for the last reply.
func client(t *testing.T, addr string, commands ...string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, strings.Join(append(commands, "QUIT"), "\r\n"), "\r\n")
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
}
