package fleettest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/fleettest"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

func TestMain(m *testing.M) {
	fleettest.RunIfChild()
	goleak.VerifyTestMain(m)
}

const (
	lease = 300 * time.Millisecond
	soon  = 3 * time.Second // what comes at once on an idle machine
)

func TestOneLoadForTheFleet(t *testing.T) {
	s := servertest.Valkey(t)
	f := fleettest.Start(t, s.URL(), 4, fleettest.Config{Loader: fleettest.Loader{Takes: 50 * time.Millisecond}})
	before := s.Commands()
	got := f.Get("k", 20, soon)
	f.WantLoads("k", 1)
	load := f.Loads("k")[0].AwaitCommit(soon)
	got.Want(t, load.ID)
	if got.Callers != 80 || len(got.Latencies) != 80 || got.Percentile(1) < load.Ended.Sub(load.Began) {
		t.Errorf("Get = %v, want 80 callers, the longest for as long as the load", got)
	}
	if load.Fence == 0 || load.Role != "holder" || !(got.Began <= load.Began && load.Began < load.Ended && load.Ended < load.Committed) {
		t.Errorf("load = %+v, want a fence and times in order", load)
	}
	if late := got.Last.Sub(load.Committed); late < 0 || late > soon {
		t.Errorf("the last caller had its value %v after the commit", late)
	}
	if d := s.Commands().Since(before); d["evalsha"]+d["eval"] < 2 {
		t.Errorf("Commands = %v, want at least a lease and a commit", d)
	}
}

func TestHolderIsKilled(t *testing.T) {
	f := fleettest.Start(t, servertest.Valkey(t).URL(), 3, fleettest.Config{
		LeaseTTL: lease, Loader: fleettest.Loader{Block: true},
	})
	herd := f.Go("k", 20, soon)
	first := f.AwaitLoad("k", 1, soon)
	first.Proc.Kill()
	if first = first.AwaitEnd(soon); first.Outcome.Kind != fleettest.KindGone || first.Proc.Alive() {
		t.Errorf("load = %+v, want its process gone", first)
	}
	second := f.AwaitLoad("k", 2, soon)
	second.Release()
	got := herd.Wait()
	if got.Lost != 20 || got.Values[second.ID] != 40 || second.Fence <= first.Fence {
		t.Errorf("Get = %v, want 20 lost and 40 with %q", got, second.ID)
	}
	f.WantLoads("k", 2)

	first.Proc.Restart()
	first.Proc.Get("k", 1, soon).Want(t, second.ID)
}

func TestHolderStandsStill(t *testing.T) {
	f := fleettest.Start(t, servertest.Valkey(t).URL(), 2, fleettest.Config{
		LeaseTTL: lease, Loader: fleettest.Loader{Block: true, IgnoreCtx: true},
	})
	herd := f.Go("k", 5, soon)
	first := f.AwaitLoad("k", 1, soon)
	first.Proc.Pause()
	second := f.AwaitLoad("k", 2, soon)
	second.Release()
	second = second.AwaitCommit(soon)
	first.Release(fleettest.Value("late"))
	first.Proc.Resume()
	got := herd.Wait()
	if got.Values[second.ID] != 5 || got.Values["late"]+got.Failed(context.DeadlineExceeded) != 5 {
		t.Errorf("Get = %v, want each process to have its own", got)
	}
	if first = first.AwaitCommit(soon); first.Ended < second.Ended || !first.Lost || first.Committed != 0 {
		t.Errorf("late load = %+v, want it lost", first)
	}
	for _, p := range f.Procs {
		if v, err := p.Peek("k"); v != second.ID || err != nil {
			t.Errorf("Peek = %q, %v in process %d, want %q", v, err, p.Index, second.ID)
		}
	}
}

func TestReplyIsLost(t *testing.T) {
	f := fleettest.Start(t, servertest.Valkey(t).URL(), 1, fleettest.Config{Proxied: true})
	p := f.Procs[0]
	p.Get("other", 1, soon) // the server knows the scripts
	for name, contains := range map[string][]string{
		"lease":  {"EVALSHA", ":l:", ":f:", ":lease"},
		"commit": {"EVALSHA", ":l:", "a value of commit"},
	} {
		f.SetLoader(name, fleettest.Loader{Then: fleettest.Value("a value of " + name)})
		lost := p.Proxy.LoseReply(1, contains...)
		p.Get(name, 5, soon).Want(t, "a value of "+name)
		await(t, "lost reply of the "+name, lost)
		f.WantLoads(name, 1)
	}
	if s := p.Stats(); s.Unprotected != 0 || s.LeasesLost != 0 {
		t.Errorf("Stats = %+v, want the same lease to go on", s)
	}
}

func TestOutcomes(t *testing.T) {
	f := fleettest.Start(t, servertest.Valkey(t).URL(), 1, fleettest.Config{
		Policy: cache.Policy{AbsentTTL: time.Minute}, Loader: fleettest.Loader{Block: true, Size: 1000},
	})
	p := f.Procs[0]
	for _, c := range []struct {
		name string
		out  fleettest.Outcome
		is   error
	}{
		{"LoadError+boom", fleettest.Error("boom"), nil},
		{"PanicError", fleettest.Panic("boom"), nil},
		{"ErrGoexit", fleettest.Goexit(), cache.ErrGoexit},
		{"ErrNotFound", fleettest.NotFound(), cache.ErrNotFound},
	} {
		herd := p.Go(c.name, 1, soon) // a second might be late, and told that the key cools down
		f.AwaitLoad(c.name, 1, soon).Release(c.out)
		got := herd.Wait()
		if got.Errors[c.name] != 1 || c.is != nil && got.Failed(c.is) != 1 {
			t.Errorf("Get = %v, want %s", got, c.name)
		}
	}
	if got := p.Get("slow", 2, 10*time.Millisecond); got.Failed(context.DeadlineExceeded) != 2 {
		t.Errorf("Get = %v, want DeadlineExceeded", got)
	}
	if l := f.AwaitLoad("slow", 1, soon).AwaitEnd(soon); l.Outcome.Kind != fleettest.KindCanceled {
		t.Errorf("load of callers that have left = %+v, want it canceled", l)
	}
	herd := p.Go("long", 2, soon)
	f.AwaitLoad("long", 1, soon)
	if n := f.Release("long"); n != 1 {
		t.Errorf("Release = %d, want 1", n)
	}
	got, out := herd.Wait(), f.Loads("long")[0].Outcome
	if got.Want(t, out.Text); !strings.Contains(out.Text, "1000 bytes") {
		t.Errorf("Outcome of a long value = %+v", out)
	}
}

func TestCalls(t *testing.T) {
	f := fleettest.Start(t, servertest.Valkey(t).URL(), 2, fleettest.Config{Policy: cache.Policy{Wait: cache.FailFast}, MaxWait: 20 * time.Millisecond})
	a, b := f.Procs[0], f.Procs[1]
	if err := a.Set("k", "v"); err != nil {
		t.Errorf("Set = %v", err)
	}
	b.Get("k", 1, soon).Want(t, "v")
	if err := b.Delete("k"); err != nil {
		t.Errorf("Delete = %v", err)
	}
	if v, err := b.Peek("k"); !errors.Is(err, cache.ErrMiss) || errors.Is(err, cache.ErrClosed) {
		t.Errorf("Peek = %q, %v, want ErrMiss", v, err)
	}
	a.Get("e", 1, soon).Want(t, f.AwaitLoad("e", 1, soon).ID)
	if err := a.Expire("e"); err != nil {
		t.Errorf("Expire = %v", err)
	}
	many, err := a.GoMany("e", "m").Wait()
	if want := f.AwaitLoad("e", 2, soon).ID; len(many) != 2 || many["e"] != want || err != nil {
		t.Errorf("GetMany = %v, %v, want e = %q and m", many, err, want)
	}
	f.SetLoader("held", fleettest.Loader{Block: true})
	herd := a.Go("held", 1, soon)
	held := f.AwaitLoad("held", 1, soon)
	if got := b.Get("held", 2, soon); got.Failed(cache.ErrInProgress) != 2 {
		t.Errorf("Get = %v, want ErrInProgress", got)
	}
	held.Release()
	herd.Wait().Want(t, held.ID)
	if s := b.Stats(); s.Gets() != 3 || s.Tiers[0].Hits == 0 {
		t.Errorf("Stats = %+v, want 3 gets", s)
	}
	if c, err := b.Close(); err != nil || c.Leaks != "" || c.Took > soon {
		t.Errorf("Close = %+v, %v, want no leaks", c, err)
	}
	if got := b.Get("k", 1, soon); got.Failed(cache.ErrClosed) != 1 {
		t.Errorf("Get = %v, want ErrClosed", got)
	}
}

// await waits for a channel to be closed.
func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(soon):
		t.Fatalf("no %s within %v", what, soon)
	}
}
