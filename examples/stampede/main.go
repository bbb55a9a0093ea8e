// Stampede shows a cache stampede and how it is stopped: a herd of requests
// asks for the weather of one city at once, a slow weather API answers, and a
// cache stands between them. See --help.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// The exit statuses.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	if os.Getenv(workerEnv) != "" {
		signal.Ignore(os.Interrupt) // a Ctrl-C ends the parent, which ends us
		if serveWorker(os.Stdin, os.Stdout) != nil {
			os.Exit(exitFailed) // the parent has been told why
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], console{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv})
	stop()
	os.Exit(code)
}

// console is where the demo talks to its user.
type console struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	getenv func(string) string
}

// terminal reports whether w is a terminal that can move its cursor.
func (c console) terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && c.getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, c console) int {
	s, err := parseFlags(args, c.getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(c.out, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(c.err, "stampede: %v\n", err)
		return exitUsage
	}
	out := &paper{w: bufio.NewWriter(c.out), colour: !s.json && c.getenv("NO_COLOR") == "" && c.terminal(c.out)}
	defer out.flush()
	if s.interactive {
		err = interact(ctx, &s, c, out)
	} else {
		err = once(ctx, &s, c, out)
	}
	switch {
	case ctx.Err() != nil:
		out.flush()
		fmt.Fprintln(c.err, "stampede: interrupted")
		return exitInterrupted
	case errors.Is(err, errNotPrevented):
		return exitFailed
	case err != nil:
		out.flush()
		fmt.Fprintf(c.err, "stampede: %v\n", err)
		return exitFailed
	}
	return exitOK
}

// errNotPrevented says that the report has told of a stampede that full
// protection let through.
var errNotPrevented = errors.New("the stampede was not prevented")

// once runs the herd as s says and reports.
func once(ctx context.Context, s *settings, c console, out *paper) error {
	progress := &bar{}
	if !s.json && c.terminal(c.err) {
		progress.w = c.err
	}
	ses, err := openSession(ctx, s, out, c.err, progress)
	if err != nil {
		return err
	}
	defer ses.close()
	return ses.report(ctx, s)
}

// report runs and prints, as text or as JSON.
func (ses *session) report(ctx context.Context, s *settings) error {
	each := func(string, *test) {}
	if !s.json {
		ses.out.configuration(s, ses)
		each = func(protection string, t *test) {
			ses.out.test(s, protection, t)
			ses.out.flush()
		}
	}
	all, err := ses.run(ctx, s, each)
	if err != nil {
		return err
	}
	if s.json {
		if err := writeJSON(ses.out.w, s, ses, all); err != nil {
			return err
		}
	} else {
		ses.out.summary(s, all)
	}
	if s.report != "" {
		if err := ses.writePage(s, all); err != nil {
			return err
		}
		if !s.json {
			ses.out.line("  timeline: %s", s.report)
		}
	}
	ses.out.flush()
	for i := range all {
		if all[i].Protection == protectFull && !all[i].Summary.Prevented {
			return errNotPrevented
		}
	}
	return nil
}
