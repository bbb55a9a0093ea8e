package stampedetest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/fleettest"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

func TestMain(m *testing.M) {
	fleettest.RunIfChild()
	goleak.VerifyTestMain(m)
}

// soon is when what comes at once on an idle machine has come.
const soon = 8 * time.Second

// long says that there is time for more rounds.
var long = os.Getenv("BELLWETHER_LONG") != ""

type (
	config = fleettest.Config
	loader = fleettest.Loader
)

// blocks is a loader that waits for Release, whatever becomes of its context.
var blocks = loader{Block: true, IgnoreCtx: true}

// start starts a fleet. It bears with a machine so busy that an answer takes
// longer than the usual budget, which would be an outage, and cost a load.
func start(t *testing.T, url string, n int, c config) *fleettest.Fleet {
	t.Helper()
	c.Remote.Budget = 5 * time.Second
	return fleettest.Start(t, url, n, c)
}

// server is a server, and what the fleet keeps on it.
type server struct {
	*servertest.Server
	t *testing.T
}

func newServer(t *testing.T, args ...string) *server {
	t.Helper()
	return &server{servertest.Valkey(t, args...), t}
}

// keys are the server's keys of a cache key.
func (s *server) keys(key string) valkeylease.Keys {
	l, err := valkeylease.NewLayout("fleet")
	if err != nil {
		s.t.Fatal(err)
	}
	return l.Keys(key)
}

// free fails the test if the lease of key's load is left.
func (s *server) free(key string) {
	s.t.Helper()
	if got := s.Do("EXISTS " + s.keys(key).Lease); got != ":0" {
		s.t.Errorf("EXISTS lease = %s after all is over, want :0", got)
	}
}

// waiting waits until n processes are on the list of those to be told of the
// end of key's lease.
func (s *server) waiting(key string, n int) {
	s.t.Helper()
	lease := s.keys(key).Lease
	s.until(fmt.Sprintf("%d waiting processes", n), func() bool {
		return strings.Count(s.Do("GET "+lease), "\n") >= n
	})
}

// until waits for what no event tells.
func (s *server) until(what string, ok func() bool) {
	s.t.Helper()
	for late := time.After(soon); !ok(); {
		select {
		case <-late:
			s.t.Fatalf("no %s within %v", what, soon)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// user adds a user with rights on the fleet's keys, those to poll and more, and
// returns its URL.
func (s *server) user(more string) string {
	s.t.Helper()
	const polling = "+hello +client +ping +get +set +del +append +pttl +pexpire +time +eval +evalsha"
	if got := s.Do("ACL SETUSER some on >secret resetchannels ~fleet:* " + polling + " " + more); got != "+OK" {
		s.t.Fatalf("ACL SETUSER = %s", got)
	}
	return strings.Replace(s.URL(), "://", "://some:secret@", 1)
}

// wantMode fails the test unless each process is woken in that way.
func wantMode(t *testing.T, f *fleettest.Fleet, mode backend.WakeMode) {
	t.Helper()
	for _, p := range f.Procs {
		if got := p.Stats().Tiers[0].WakeMode; got != mode {
			t.Fatalf("WakeMode = %v in process %d, want %v", got, p.Index, mode)
		}
	}
}

// wantPeek fails the test unless each process has the value.
func wantPeek(t *testing.T, f *fleettest.Fleet, key, value string) {
	t.Helper()
	for _, p := range f.Procs {
		if v, err := p.Peek(key); v != value || err != nil {
			t.Errorf("Peek = %q, %v in process %d, want %q", v, err, p.Index, value)
		}
	}
}

// others are the processes but one.
func others(f *fleettest.Fleet, but *fleettest.Proc) (procs []*fleettest.Proc) {
	for _, p := range f.Procs {
		if p != but {
			procs = append(procs, p)
		}
	}
	return procs
}

// held starts a load in the first process of the fleet, and n callers in each
// other one that wait for it.
func (s *server) held(f *fleettest.Fleet, key string, n int) (load fleettest.Load, all []*fleettest.Herd) {
	s.t.Helper()
	all = append(all, f.Procs[0].Go(key, n, soon))
	load = f.AwaitLoad(key, 1, soon)
	for _, p := range others(f, load.Proc) {
		all = append(all, p.Go(key, n, soon))
	}
	return load, all
}
