package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/valkey-io/valkey-go"
)

// server is the Valkey that the herd shares.
type server struct {
	url   string
	what  string // for people
	fresh bool   // started by us: no earlier run left anything
	down  bool   // did not answer at the start
	close func()
}

// chooseServer takes the server that the user named, or starts one that is on
// PATH, or embeds one.
func chooseServer(ctx context.Context, s *settings) (*server, error) {
	if s.valkey != "" {
		return namedServer(ctx, s), nil
	}
	if !s.embedded {
		if path, err := exec.LookPath("valkey-server"); err == nil {
			srv, err := startServer(ctx, path)
			if err == nil || ctx.Err() != nil {
				return srv, err
			}
			e, eerr := embedServer()
			if eerr != nil {
				return nil, errors.Join(err, eerr)
			}
			e.what += fmt.Sprintf("; %s did not start: %v", path, err)
			return e, nil
		}
	}
	return embedServer()
}

func namedServer(ctx context.Context, s *settings) *server {
	srv := &server{url: s.valkey, close: func() {}}
	srv.what = redacted(s.valkey)
	if s.valkeyFromEnv {
		srv.what += " (VALKEY_URL)"
	}
	version, err := askVersion(ctx, s.valkey)
	if err != nil {
		srv.down = true
		srv.what += ", which does not answer"
		return srv
	}
	srv.what += version
	return srv
}

func redacted(raw string) string {
	u, err := url.Parse(raw)
	if err == nil {
		return u.Redacted()
	}
	if !strings.Contains(raw, "@") { // a list of hosts, which has no password
		return raw
	}
	return "the given URL"
}

// askVersion returns ", Valkey 8.0.1" or, if the server will not say, nothing.
func askVersion(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	client, err := connect(url)
	if err != nil {
		return "", err
	}
	defer client.Close()
	text, err := client.Do(ctx, client.B().Info().Section("server").Build()).ToString()
	if _, refused := valkey.IsValkeyErr(err); err != nil && !refused {
		return "", err
	}
	for _, name := range []string{"valkey", "redis"} {
		if _, v, ok := strings.Cut(text, name+"_version:"); ok {
			v, _, _ = strings.Cut(v, "\r\n")
			return ", " + strings.ToUpper(name[:1]) + name[1:] + " " + v, nil
		}
	}
	return "", nil
}

// startServer runs a valkey-server on a free loopback port in a temp folder.
func startServer(ctx context.Context, path string) (_ *server, err error) {
	dir, err := os.MkdirTemp("", "stampede-valkey-")
	if err != nil {
		return nil, err
	}
	var cmd *exec.Cmd
	var exited chan struct{}
	stop := func() {
		if cmd != nil && cmd.Process != nil {
			_ = cmd.Process.Kill() // there is nothing to save
			<-exited
		}
		_ = os.RemoveAll(dir)
	}
	for range 3 { // another program may take the port first
		var port int
		if port, err = freePort(); err != nil {
			break
		}
		cmd = exec.Command(path, "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", dir,
			"--save", "", "--appendonly", "no", "--daemonize", "no")
		cmd.Dir = dir
		if err = cmd.Start(); err != nil {
			break
		}
		exited = make(chan struct{})
		go func(cmd *exec.Cmd) {
			defer close(exited)
			_ = cmd.Wait() // its end is all we want to know
		}(cmd)
		srv := &server{url: fmt.Sprintf("valkey://127.0.0.1:%d", port), fresh: true, close: stop}
		var version string
		if version, err = awaitServer(ctx, srv.url, exited); err == nil {
			srv.what = fmt.Sprintf("%s, started for this run on port %d%s", path, port, version)
			return srv, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	stop()
	return nil, err
}

func awaitServer(ctx context.Context, url string, exited <-chan struct{}) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		version, err := askVersion(ctx, url)
		if err == nil {
			return version, nil
		}
		select {
		case <-exited:
			return "", errors.New("it ended at once")
		default:
		}
		if wait(ctx, 20*time.Millisecond) != nil {
			return "", err
		}
	}
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port, nil //nolint:forcetypeassert // of a TCP listener
}

// embedServer serves from this process, over loopback TCP so that other
// processes can use it as well.
func embedServer() (*server, error) {
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true) // else its TTLs stand still
	if err := m.Start(); err != nil {
		return nil, fmt.Errorf("embedded server: %w", err)
	}
	return &server{
		url:   "valkey://" + m.Addr(),
		what:  "embedded (miniredis) on " + m.Addr(),
		fresh: true,
		close: m.Close,
	}, nil
}

// flush deletes the demo's own keys, and nothing else.
func flush(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client, err := connect(url)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, node := range client.Nodes() { // of a cluster each has its own keys
		if err := flushNode(ctx, client, node); err != nil {
			return err
		}
	}
	return nil
}

func flushNode(ctx context.Context, client, node valkey.Client) error {
	for cursor := uint64(0); ; {
		page, err := node.Do(ctx, node.B().Scan().Cursor(cursor).Match(namespace+":*").Count(1000).Build()).AsScanEntry()
		if err != nil {
			return err
		}
		for _, key := range page.Elements {
			if err := client.Do(ctx, client.B().Del().Key(key).Build()).Error(); err != nil {
				return err
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}
