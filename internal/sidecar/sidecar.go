// Package sidecar starts the programs that examples and tests look through:
// Jaeger and Prometheus, and the Valkey that they watch. Each listens on free
// loopback ports and is ended by its process id.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Look finds a program: the one that the environment variable env names, else
// name on PATH, else in Go's bin folder or one of places.
func Look(env, name string, places ...string) (string, error) {
	if named := os.Getenv(env); named != "" {
		return exec.LookPath(named)
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, place := range append(goBins(), places...) {
		if found, e := exec.LookPath(filepath.Join(place, name)); e == nil {
			return found, nil
		}
	}
	return "", err
}

// goBins is where go install puts programs, without asking the go command,
// which need not be there.
func goBins() (folders []string) {
	if bin := os.Getenv("GOBIN"); bin != "" {
		folders = append(folders, bin)
	}
	for _, root := range filepath.SplitList(os.Getenv("GOPATH")) {
		folders = append(folders, filepath.Join(root, "bin"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		folders = append(folders, filepath.Join(home, "go", "bin"))
	}
	return folders
}

// Addrs returns n free loopback addresses. All are held at once, so that they
// differ; another program may still take one before it is used.
func Addrs(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// Program is a program that runs.
type Program struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// readyWait is how long a program may take until it answers.
const readyWait = 20 * time.Second

// Start starts cmd and waits until ready reports true. Stop ends it.
func Start(ctx context.Context, cmd *exec.Cmd, ready func(context.Context) bool) (*Program, error) {
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Program{cmd: cmd, done: make(chan struct{})}
	go func() { // ends with the program
		_ = cmd.Wait() // its end is all we want to know
		close(p.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !ready(ctx) {
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended at once", filepath.Base(cmd.Path))
		case <-ctx.Done():
			p.Stop()
			return nil, fmt.Errorf("%s does not answer: %w", filepath.Base(cmd.Path), context.Cause(ctx))
		case <-tick.C:
		}
	}
	return p, nil
}

// Stop ends the program at once: what it keeps is in memory or in a folder that
// goes as well.
func (p *Program) Stop() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// answers reports whether a GET of url succeeds.
func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	req.Close = true // whoever checks for leaks finds no idle connection
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// again starts a program up to three times: another program may take a port
// between our look and its own.
func again[P any](ctx context.Context, start func() (P, error)) (p P, err error) {
	for range 3 {
		if p, err = start(); err == nil || ctx.Err() != nil || errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	return p, err
}
