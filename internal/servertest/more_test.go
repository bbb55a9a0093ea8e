package servertest_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/internal/servertest"
)

func TestRedisIsRedis(t *testing.T) {
	s := servertest.Redis(t)
	if info := s.Do("INFO server"); !strings.Contains(info, "redis_version:") || strings.Contains(info, "server_name:valkey") {
		t.Errorf("INFO server = %.80q, want a Redis", info)
	}
}

// TestDaemons: each answers, is silent while paused, is gone once killed, and
// answers on the same address when it is started again.
func TestDaemons(t *testing.T) {
	// What a server answers at once to somebody who has only just connected.
	for name, tc := range map[string]struct {
		start func(testing.TB) *servertest.Daemon
		ask   string
	}{
		"memcached": {func(tb testing.TB) *servertest.Daemon { return servertest.Memcached(tb) }, "version\r\n"},
		"postgres":  {func(tb testing.TB) *servertest.Daemon { return servertest.Postgres(tb).Daemon }, "\x00\x00\x00\x08\x04\xd2\x16\x2f"},
	} {
		t.Run(name, func(t *testing.T) {
			d := tc.start(t)
			answers := func(want bool) {
				t.Helper()
				conn, err := net.Dial("tcp", d.Addr())
				if err == nil {
					defer conn.Close()
					patience := 10 * time.Second
					if !want {
						patience = 100 * time.Millisecond
					}
					_ = conn.SetDeadline(time.Now().Add(patience))
					if _, err = conn.Write([]byte(tc.ask)); err == nil {
						_, err = conn.Read(make([]byte, 1))
					}
				}
				if (err == nil) != want {
					t.Errorf("asked, it gives %v, want an answer: %t", err, want)
				}
			}
			answers(true)
			d.Pause()
			answers(false)
			d.Resume()
			answers(true)
			addr := d.Addr()
			d.Kill()
			answers(false)
			d.Restart()
			answers(true)
			if d.Addr() != addr {
				t.Errorf("it moved to %s", d.Addr())
			}
		})
	}
}
