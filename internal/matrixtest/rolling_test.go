package matrixtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/cbor"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/tier"
)

// rollingEnv makes the test binary one of the processes of a rolling change: its
// value is the server's URL and the version of the program.
const rollingEnv = "BELLWETHER_ROLLING"

func TestMain(m *testing.M) {
	if url, version, ok := strings.Cut(os.Getenv(rollingEnv), " "); ok {
		if err := runVersion(url, version); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// The struct before and after: one text became two, and another a number.
type (
	personV1 struct{ Name, Born string }
	personV2 struct {
		First, Last string
		Born        int
	}
)

func (p personV1) split() (personV2, error) {
	first, last, ok := strings.Cut(p.Name, " ")
	born, err := strconv.Atoi(p.Born)
	if !ok || err != nil {
		return personV2{}, errors.New("not a person as they were")
	}
	return personV2{first, last, born}, nil
}

func sourceV1(_ context.Context, id int) (personV1, error) {
	return personV1{fmt.Sprintf("First%d Last%d", id, id), strconv.Itoa(1900 + id)}, nil
}

func sourceV2(ctx context.Context, id int) (personV2, error) {
	p, _ := sourceV1(ctx, id)
	return p.split()
}

const (
	people  = 8    // keys
	readers = 4    // of each process
	reads   = 1000 // of each reader
	every   = 100  // read that a reader changes something after
)

// report is what a process did.
type report struct {
	Wrong, Errors, Changes int64
	First                  string // of what went wrong
	Loads, Gets            uint64
	Migrated, Foreign, Bad uint64
	Tier                   uint64 // errors of the shared tier
}

// runVersion is a process: it says that it is ready, waits for a line and works.
func runVersion(url, version string) error {
	if version == "1" {
		return work(url, version, &cache.Options[int, personV1]{Schema: 1}, sourceV1)
	}
	opts := &cache.Options[int, personV2]{Schema: 2, Codec: cbor.New[personV2]()}
	if version == "2" {
		opts.Migrations = []tier.Migration[personV2]{tier.MigrateFrom(1, codec.JSON[personV1](), personV1.split)}
	}
	return work(url, version, opts, sourceV2)
}

func work[V comparable](url, version string, opts *cache.Options[int, V], source cache.LoadFunc[int, V]) error {
	near, err := ristrettostore.New(nil)
	if err != nil {
		return err
	}
	far, err := valkeystore.Open(url, &valkeystore.Options{Namespace: "people"})
	if err != nil {
		return err
	}
	opts.Policy.TTL = time.Hour
	c, err := cache.New(source, opts, tier.Local(near, nil), tier.Remote(far, &tier.RemoteOptions{Budget: soon}))
	if err != nil {
		return err
	}
	_, _ = c.Peek(context.Background(), 0) // connects
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	var r report
	var mu sync.Mutex
	note := func(n *int64, what string) {
		mu.Lock()
		defer mu.Unlock()
		if *n++; r.First == "" {
			r.First = what
		}
	}
	var wg sync.WaitGroup
	var changes atomic.Int64
	for g := range readers {
		wg.Go(func() {
			for i := range reads {
				id := (g + i) % people
				want, _ := source(context.Background(), id)
				if v, err := c.Get(context.Background(), id); err != nil {
					note(&r.Errors, "Get: "+err.Error())
				} else if v != want {
					note(&r.Wrong, fmt.Sprintf("Get(%d) = %+v", id, v))
				}
				if i%every != every-1 {
					continue
				}
				changes.Add(1)
				change := func() error { return c.Set(context.Background(), id, want) }
				if (i/every+g)%2 == 0 {
					change = func() error { return c.Delete(context.Background(), id) }
				}
				if err := change(); err != nil {
					note(&r.Errors, "change: "+err.Error())
				}
			}
		})
	}
	wg.Wait()
	s := c.Stats()
	r.Loads, r.Gets, r.Changes = s.Loads, s.Gets(), changes.Load()
	r.Migrated, r.Foreign, r.Bad, r.Tier = s.Tiers[0].Migrated, s.Tiers[0].Foreign, s.Tiers[0].Corrupt, s.Tiers[0].Errors
	if err := c.Close(); err != nil {
		return fmt.Errorf("version %s: close: %w", version, err)
	}
	return json.NewEncoder(os.Stdout).Encode(&r)
}

// version is a process that runs.
type version struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err strings.Builder
}

func startVersion(t *testing.T, url, which string) *version {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	v := &version{cmd: exec.CommandContext(ctx, exe)}
	v.cmd.Env = append(os.Environ(), rollingEnv+"="+url+" "+which)
	v.cmd.Stderr = &v.err
	v.in, err = v.cmd.StdinPipe()
	must(t, err)
	out, err := v.cmd.StdoutPipe()
	must(t, err)
	v.out = bufio.NewReader(out)
	must(t, v.cmd.Start())
	t.Cleanup(func() { cancel(); _ = v.cmd.Wait() })
	return v
}

func (v *version) ready(t *testing.T) {
	t.Helper()
	if line, err := v.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("a process says %q, %v, %s; want ready", line, err, v.err.String())
	}
}

func (v *version) report(t *testing.T) (r report) {
	t.Helper()
	if err := json.NewDecoder(v.out).Decode(&r); err != nil {
		t.Fatalf("no report: %v, %s", err, v.err.String())
	}
	if err := v.cmd.Wait(); err != nil || v.err.Len() > 0 {
		t.Errorf("a process ends with %v, %s", err, v.err.String())
	}
	return r
}

// TestRollingChange: a process with a struct and JSON, and one with another struct
// and CBOR that reads the old one's entries, on the same keys at the same time.
func TestRollingChange(t *testing.T) {
	url := servertest.Valkey(t).URL()
	old, young := startVersion(t, url, "1"), startVersion(t, url, "2")
	for _, v := range []*version{old, young} {
		v.ready(t)
	}
	for _, v := range []*version{old, young} {
		_, err := io.WriteString(v.in, "go\n")
		must(t, err)
	}
	before, after := old.report(t), young.report(t)
	for name, r := range map[string]report{"old": before, "new": after} {
		t.Logf("%s: %+v", name, r)
		if r.Wrong != 0 || r.Errors != 0 || r.Bad != 0 || r.Tier != 0 || r.Gets < readers*reads {
			t.Errorf("%s: %+v, want no wrong value and no error", name, r)
		}
	}
	// Each key once, or twice if the new one came first; the same after each change;
	// and the load that a change cuts off.
	most := 3 * uint64(people+before.Changes+after.Changes)
	if n := before.Loads + after.Loads; n > most {
		t.Errorf("%d loads for %d changes of %d keys, want at most %d", n, before.Changes+after.Changes, people, most)
	}
	if after.Migrated == 0 || after.Foreign != 0 || before.Migrated != 0 || before.Foreign == 0 {
		t.Errorf("the new one reads %d old entries and misses %d, the old one %d and %d; want the new one to read all of them, and the old one to miss",
			after.Migrated, after.Foreign, before.Migrated, before.Foreign)
	}
}
