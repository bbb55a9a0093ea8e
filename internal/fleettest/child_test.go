package fleettest

import (
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/internal/servertest"
)

// A process whose test is gone must not stay.
func TestProcessEndsWithItsInput(t *testing.T) {
	f := Start(t, servertest.Valkey(t).URL(), 1, Config{Loader: Loader{Block: true, IgnoreCtx: true}})
	p := f.Procs[0]
	herd := p.Go("k", 1, 0)
	f.AwaitLoad("k", 1, patience)
	_ = p.life.in.Close()
	select {
	case <-p.life.gone:
	case <-time.After(3 * time.Second):
		t.Fatal("the process lives on")
	}
	if got := herd.Wait(); p.life.err != nil || got.Callers != 1 {
		t.Errorf("ended with %v, Get = %v", p.life.err, got)
	}
}
