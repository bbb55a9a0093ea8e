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
