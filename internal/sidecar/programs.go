package sidecar

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

// JaegerHow says how to get a Jaeger, in one line.
const JaegerHow = "go install github.com/jaegertracing/jaeger/cmd/all-in-one@v1.48.0, or name one in JAEGER_ALL_IN_ONE"

// PrometheusHow says how to get a Prometheus.
const PrometheusHow = "install the package prometheus, or name one in PROMETHEUS"

// PromtoolHow says how to get a promtool.
const PromtoolHow = "install the package prometheus, or name one in PROMTOOL"

// LookJaeger finds Jaeger's all-in-one.
func LookJaeger() (string, error) { return Look("JAEGER_ALL_IN_ONE", "all-in-one") }

// LookPrometheus finds Prometheus.
func LookPrometheus() (string, error) { return Look("PROMETHEUS", "prometheus") }

// Jaeger is an all-in-one that keeps traces in memory.
type Jaeger struct {
	*Program
	OTLP  string // base URL of OTLP over HTTP
	Query string // base URL of its API and pages
}

// JaegerOptions configure a Jaeger. The zero value means its own defaults.
type JaegerOptions struct {
	UIConfig string // file with the configuration of its pages
	Pages    string // folder with pages to serve instead of its own
}

// StartJaeger starts the all-in-one at path. By default it would listen on all
// interfaces, hence the many flags.
func StartJaeger(ctx context.Context, path string, opts JaegerOptions) (*Jaeger, error) {
	flags := []string{
		"collector.otlp.http.host-port", "query.http-server.host-port", "collector.otlp.grpc.host-port",
		"query.grpc-server.host-port", "collector.grpc-server.host-port", "collector.http-server.host-port",
		"admin.http.host-port", "http-server.host-port", "processor.jaeger-binary.server-host-port",
		"processor.jaeger-compact.server-host-port", "processor.zipkin-compact.server-host-port",
	}
	return again(ctx, func() (*Jaeger, error) {
		addrs, err := Addrs(len(flags))
		if err != nil {
			return nil, err
		}
		args := []string{"--memory.max-traces=50000"}
		for i, flag := range flags {
			args = append(args, "--"+flag+"="+addrs[i])
		}
		if opts.UIConfig != "" {
			args = append(args, "--query.ui-config="+opts.UIConfig)
		}
		if opts.Pages != "" {
			args = append(args, "--query.static-files="+opts.Pages)
		}
		j := &Jaeger{OTLP: "http://" + addrs[0], Query: "http://" + addrs[1]}
		j.Program, err = Start(ctx, exec.Command(path, args...), func(ctx context.Context) bool {
			return answers(ctx, j.Query+"/api/services")
		})
		if err != nil {
			return nil, err
		}
		return j, nil
	})
}

// HasPages reports whether it was built with its pages. One from go install is
// not: they are no Go code.
func (j *Jaeger) HasPages(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.Query+"/", nil)
	if err != nil {
		return true
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return true
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return err != nil || !strings.Contains(string(page), "not compiled with the UI assets")
}

// Prometheus is a Prometheus that keeps its data in a folder.
type Prometheus struct {
	*Program
	URL string // base URL of its API and pages
}

// StartPrometheus starts the one at path with the configuration file config;
// its data go to folder data.
func StartPrometheus(ctx context.Context, path, config, data string) (*Prometheus, error) {
	return again(ctx, func() (*Prometheus, error) {
		addrs, err := Addrs(1)
		if err != nil {
			return nil, err
		}
		p := &Prometheus{URL: "http://" + addrs[0]}
		cmd := exec.Command(path, "--config.file="+config, "--storage.tsdb.path="+data, "--web.listen-address="+addrs[0],
			"--enable-feature=exemplar-storage", "--log.level=error")
		p.Program, err = Start(ctx, cmd, func(ctx context.Context) bool { return answers(ctx, p.URL+"/-/ready") })
		if err != nil {
			return nil, err
		}
		return p, nil
	})
}

// Valkey is a valkey-server without persistence.
type Valkey struct {
	*Program
	URL string // what valkeystore.Open takes
}

// StartValkey starts the one at path in folder dir.
func StartValkey(ctx context.Context, path, dir string) (*Valkey, error) {
	return again(ctx, func() (*Valkey, error) {
		addrs, err := Addrs(1)
		if err != nil {
			return nil, err
		}
		host, port, err := net.SplitHostPort(addrs[0])
		if err != nil {
			return nil, err
		}
		v := &Valkey{URL: "valkey://" + addrs[0]}
		cmd := exec.Command(path, "--bind", host, "--port", port, "--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no")
		cmd.Dir = dir
		v.Program, err = Start(ctx, cmd, func(ctx context.Context) bool { return pong(ctx, addrs[0]) })
		if err != nil {
			return nil, err
		}
		return v, nil
	})
}

// pong reports whether the server at addr answers a PING.
func pong(ctx context.Context, addr string) bool {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return false
	}
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.HasPrefix(line, "+PONG")
}
