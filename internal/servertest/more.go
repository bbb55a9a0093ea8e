package servertest

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Redis starts a redis-server as Valkey starts a valkey-server, and returns the
// same handle for it. REDIS_SERVER names another one than that on PATH.
func Redis(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return launchAs(tb, redisServer, func(string) *Server { return &Server{args: args} })
}

// Memcached starts a memcached of 64 MiB. MEMCACHED names another one than that
// on PATH. After Restart it is empty.
func Memcached(tb testing.TB, args ...string) *Daemon {
	tb.Helper()
	bin := program(tb, "MEMCACHED", "memcached", "/usr/sbin", "/usr/local/sbin")
	d := &Daemon{
		tb: tb, name: "memcached", ending: syscall.SIGKILL, ready: saysVersion,
		command: func(addr string) *exec.Cmd {
			host, port, _ := net.SplitHostPort(addr)
			all := []string{"-l", host, "-p", port, "-U", "0", "-m", "64", "-t", "2"}
			if os.Getuid() == 0 {
				all = append(all, "-u", "nobody")
			}
			return exec.Command(bin, append(all, args...)...)
		},
	}
	d.run()
	return d
}

// saysVersion asks a memcached for its version.
func saysVersion(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprint(conn, "version\r\n"); err != nil {
		return false
	}
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.HasPrefix(line, "VERSION ")
}

// PostgresServer is a real PostgreSQL server. Its data survive Restart, but not
// what is in tables without a log.
type PostgresServer struct {
	*Daemon
	password string
}

// Postgres starts a PostgreSQL server with an empty database. If we are root
// it runs as postgres or nobody. POSTGRES names another one than that on PATH;
// its initdb lies beside it. Settings are such as "deadlock_timeout=100ms".
func Postgres(tb testing.TB, settings ...string) *PostgresServer {
	tb.Helper()
	bin := program(tb, "POSTGRES", "postgres", "/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin")
	if real, err := filepath.EvalSymlinks(bin); err == nil {
		bin = real // initdb lies beside it
	}
	s := &PostgresServer{password: rand.Text()}
	as := nobody(tb, "postgres", "nobody")
	data := dataFolder(tb, as)
	initdb(tb, filepath.Join(filepath.Dir(bin), "initdb"), data, s.password, as)

	d := &Daemon{
		tb: tb, name: "postgres", ending: syscall.SIGQUIT, // ends at once, and takes its children along
		command: func(addr string) *exec.Cmd {
			host, port, _ := net.SplitHostPort(addr)
			all := []string{"-D", data}
			for _, s := range append([]string{
				"listen_addresses=" + host, "port=" + port, "unix_socket_directories=", "max_connections=60",
				"shared_buffers=16MB", "fsync=off", "full_page_writes=off", "autovacuum=off",
			}, settings...) {
				all = append(all, "-c", s)
			}
			cmd := exec.Command(bin, all...)
			cmd.Dir = data
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
			_ = os.Remove(filepath.Join(data, "postmaster.pid")) // of one that was killed: ready must not read it
			return cmd
		},
		ready: func(string) bool {
			b, _ := os.ReadFile(filepath.Join(data, "postmaster.pid"))
			lines := strings.Split(string(b), "\n")
			return len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready"
		},
	}
	s.Daemon = d
	d.run()
	return s
}

// URL is what a PostgreSQL driver takes.
func (s *PostgresServer) URL() string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("bellwether", s.password), Host: s.addr, Path: "/postgres",
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// dataFolder is a temporary folder of the account's own.
func dataFolder(tb testing.TB, as *syscall.Credential) string {
	tb.Helper()
	dir := tb.TempDir()
	if as == nil {
		return dir
	}
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // so that the account gets there
		tb.Fatal(err)
	}
	if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// initdb makes a database whose owner, bellwether, has the password.
func initdb(tb testing.TB, bin, data, password string, as *syscall.Credential) {
	tb.Helper()
	secret := filepath.Join(tb.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
		tb.Fatal(err)
	}
	if as != nil {
		if err := os.Chown(secret, int(as.Uid), int(as.Gid)); err != nil {
			tb.Fatal(err)
		}
	}
	cmd := exec.Command(bin, "-D", data, "-U", "bellwether", "--pwfile", secret, "--auth=scram-sha-256",
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	cmd.Dir = data
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
}
