package fleettest

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long the harness waits for what should come at once.
const patience = 10 * time.Second

// lineUp is how long the processes of a fleet have to line their callers up.
const lineUp = 5 * time.Millisecond

// Fleet is processes with a cache each, on one server. Its methods, and those
// of what it returns, fail the test when a process does not answer; call them
// from the test's own goroutine.
type Fleet struct {
	Procs []*Proc

	tb  testing.TB
	cfg Config

	mu      sync.Mutex
	loaders map[string]Loader
	loads   []*Load       // in the order in which they were heard of
	changed chan struct{} // closed and replaced at each change
}

// Start starts n processes and stops them with the test. It returns when each
// has opened its cache on the server that rawURL names.
func Start(tb testing.TB, rawURL string, n int, cfg Config) *Fleet {
	tb.Helper()
	f := &Fleet{tb: tb, cfg: cfg, loaders: map[string]Loader{"": cfg.Loader}, changed: make(chan struct{})}
	for i := range n {
		p := &Proc{fleet: f, Index: i, url: rawURL}
		if cfg.Proxied {
			u, err := url.Parse(rawURL)
			if err != nil {
				tb.Fatal(err)
			}
			p.Proxy = NewProxy(tb, u.Host)
			u.Host = p.Proxy.Addr()
			p.url = u.String()
		}
		f.Procs = append(f.Procs, p)
	}
	tb.Cleanup(f.stop)
	var opening []*pending
	for _, p := range f.Procs {
		opening = append(opening, p.start())
	}
	for _, o := range opening {
		o.mustAnswer(tb)
	}
	return f
}

// Go lets so many callers in each process Get key at once, each with timeout
// (0: none), and returns without waiting for them.
func (f *Fleet) Go(key string, callers int, timeout time.Duration) *Herd {
	f.tb.Helper()
	h := &Herd{tb: f.tb}
	at := Now() + Moment(lineUp)
	for _, p := range f.Procs {
		h.add(p, command{Op: opGet, Key: key, Callers: callers, Timeout: timeout, At: at})
	}
	return h
}

// Get is Go and Wait.
func (f *Fleet) Get(key string, callers int, timeout time.Duration) *Got {
	f.tb.Helper()
	return f.Go(key, callers, timeout).Wait()
}

// SetLoader says what loads of key do from now on, in all processes and in
// those that are started again. Those that run go on. "" is all other keys.
func (f *Fleet) SetLoader(key string, l Loader) {
	f.tb.Helper()
	f.mu.Lock()
	f.loaders[key] = l
	f.mu.Unlock()
	for _, p := range f.Procs {
		if p.Alive() {
			p.SetLoader(key, l)
		}
	}
}

// Release lets all running loads of key end: with out, or without one as their
// Loader says. It returns how many.
func (f *Fleet) Release(key string, out ...Outcome) int {
	f.tb.Helper()
	n := 0
	for _, l := range f.Loads(key) {
		if l.Ended == 0 {
			l.Release(out...)
			n++
		}
	}
	return n
}

// Loads returns the loads of key so far in all processes, in the order in
// which they began; of "" those of all keys.
func (f *Fleet) Loads(key string) []Load {
	f.tb.Helper()
	f.sync()
	f.mu.Lock()
	defer f.mu.Unlock()
	var loads []Load
	for _, l := range f.loads {
		if key == "" || l.Key == key {
			loads = append(loads, *l)
		}
	}
	slices.SortStableFunc(loads, func(a, b Load) int { return int(a.Began - b.Began) })
	return loads
}

// WantLoads fails the test unless so many loads of key have begun.
func (f *Fleet) WantLoads(key string, n int) {
	f.tb.Helper()
	if loads := f.Loads(key); len(loads) != n {
		f.tb.Errorf("%d loads of %q, want %d:%s", len(loads), key, n, list(loads))
	}
}

// AwaitLoad waits until n loads of key have begun, and returns the nth that was
// heard of; the first is 1.
func (f *Fleet) AwaitLoad(key string, n int, within time.Duration) Load {
	f.tb.Helper()
	var found Load
	f.await(fmt.Sprintf("load %d of %q", n, key), within, func() bool {
		i := 0
		for _, l := range f.loads {
			if l.Key == key {
				if i++; i == n {
					found = *l
				}
			}
		}
		return i >= n
	})
	return found
}

// sync waits until each process that can has told what has happened in it.
func (f *Fleet) sync() {
	f.tb.Helper()
	var waits []*pending
	for _, p := range f.Procs {
		if p.Alive() && !p.paused {
			waits = append(waits, p.send(command{Op: opSync}))
		}
	}
	for _, w := range waits {
		w.wait(f.tb, patience)
	}
}

// await waits until ok, which is called with mu held.
func (f *Fleet) await(what string, within time.Duration, ok func() bool) {
	f.tb.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		f.mu.Lock()
		is, changed := ok(), f.changed
		all := make([]Load, 0, len(f.loads))
		for _, l := range f.loads {
			all = append(all, *l)
		}
		f.mu.Unlock()
		if is {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			f.tb.Fatalf("no %s within %v; the loads:%s", what, within, list(all))
		}
	}
}

// note keeps what process p tells.
func (f *Fleet) note(p *Proc, e *event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch l := f.find(e.Load); {
	case e.Kind == eventBegin:
		f.loads = append(f.loads, &Load{Proc: p, ID: e.Load, Key: e.Key, Fence: e.Fence, Role: e.Role, Began: e.At})
	case l == nil:
		return
	case e.Kind == eventEnd:
		l.Ended, l.Outcome = e.At, *e.Outcome
	case e.Lost:
		l.Lost = true
	case e.Kind == eventCommit:
		l.Committed = e.At
	}
	f.broadcast()
}

// gone ends the loads of a process that has ended.
func (f *Fleet) gone(prefix string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.loads {
		if l.Ended == 0 && strings.HasPrefix(l.ID, prefix+".") {
			l.Ended, l.Outcome = Now(), Outcome{Kind: KindGone}
		}
	}
	f.broadcast()
}

func (f *Fleet) broadcast() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *Fleet) find(id string) *Load {
	for _, l := range f.loads {
		if l.ID == id {
			return l
		}
	}
	return nil
}

// currentLoaders is what a process that starts begins with.
func (f *Fleet) currentLoaders() map[string]Loader {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.loaders)
}

// stop ends all processes.
func (f *Fleet) stop() {
	for _, p := range f.Procs {
		p.end()
	}
	for _, p := range f.Procs {
		p.join()
	}
}

// Load is a load as it was when it was asked for.
type Load struct {
	Proc  *Proc
	ID    string // also the value, unless an Outcome says otherwise
	Key   string
	Fence uint64 // 0: no lease
	Role  string // as cache.Role says it

	Began     Moment
	Ended     Moment  // when the loader returned, or its process was found to be gone
	Outcome   Outcome // once Ended; of a long value only what Got shows of it
	Committed Moment  // when its process knew that the shared tier had its entry
	Lost      bool    // the shared tier refused its entry, for something newer
}

// Release lets the load end: with an outcome, or without one as its Loader
// says.
func (l Load) Release(out ...Outcome) {
	l.Proc.fleet.tb.Helper()
	cmd := command{Op: opRelease, Load: l.ID}
	if len(out) > 0 {
		cmd.Outcome = &out[0]
	}
	l.Proc.tell(cmd)
}

// AwaitEnd waits until the load has ended, and returns it as it is then.
func (l Load) AwaitEnd(within time.Duration) Load {
	return l.await("end", within, func(now *Load) bool { return now.Ended != 0 })
}

// AwaitCommit waits until the load's entry is in the shared tier or was refused
// (Lost), and returns the load as it is then.
func (l Load) AwaitCommit(within time.Duration) Load {
	return l.await("commit", within, func(now *Load) bool { return now.Committed != 0 || now.Lost })
}

func (l Load) await(what string, within time.Duration, ok func(now *Load) bool) Load {
	f := l.Proc.fleet
	f.tb.Helper()
	f.await(fmt.Sprintf("%s of load %s", what, l.ID), within, func() bool {
		now := f.find(l.ID)
		l = *now
		return ok(now)
	})
	return l
}

// list shows loads, one a line.
func list(loads []Load) string {
	if len(loads) == 0 {
		return " none"
	}
	var b strings.Builder
	for _, l := range loads {
		fmt.Fprintf(&b, "\n\t%s of %q (%s, fence %d) began at %v", l.ID, l.Key, l.Role, l.Fence, l.Began.Sub(loads[0].Began))
		if l.Ended != 0 {
			fmt.Fprintf(&b, ", ended after %v with %s %q", l.Ended.Sub(l.Began), l.Outcome.Kind, l.Outcome.Text)
		}
		if l.Committed != 0 {
			fmt.Fprintf(&b, ", committed after %v", l.Committed.Sub(l.Began))
		}
		if l.Lost {
			fmt.Fprint(&b, ", lost")
		}
	}
	return b.String()
}
