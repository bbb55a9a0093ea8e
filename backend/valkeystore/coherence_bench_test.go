package valkeystore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/fleettest"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/tier"
)

// BenchmarkCoherence is what a write costs the server when n other processes listen,
// each with a cache of two tiers: a Set of 200 B whose key each of them has in
// memory, and reads once afterwards; and one whose key none of them has. A script
// and what it calls count as commands; PING does not. Two keys are set by turns.
func BenchmarkCoherence(b *testing.B) {
	for _, mode := range []backend.CoherenceMode{backend.CoherencePublish, backend.CoherencePrefix, backend.CoherenceKeys} {
		for _, n := range []int{2, 16} {
			b.Run(fmt.Sprintf("%s-%d", mode, n), func(b *testing.B) {
				server := servertest.Valkey(b)
				f := fleettest.Start(b, server.URL(), 1+n, fleettest.Config{Coherence: mode, Remote: tier.RemoteOptions{Budget: 5 * time.Second}})
				for _, p := range f.Procs {
					tells(b, p, mode)
				}
				b.Run("held", func(b *testing.B) { benchCoherence(b, server, f, "held", true) })
				b.Run("not-held", func(b *testing.B) { benchCoherence(b, server, f, "other", false) })
			})
		}
	}
}

// tells waits until a process is told of changes in this way.
func tells(b *testing.B, p *fleettest.Proc, mode backend.CoherenceMode) {
	b.Helper()
	for late := time.After(10 * time.Second); p.Stats().Tiers[0].CoherenceMode != mode; {
		select {
		case <-late:
			b.Fatalf("CoherenceMode of process %d = %q, want %q", p.Index, p.Stats().Tiers[0].CoherenceMode, mode)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func benchCoherence(b *testing.B, server *servertest.Server, f *fleettest.Fleet, name string, held bool) {
	round := func(i int) {
		key := fmt.Sprint(name, i%2)
		value := fmt.Sprint(i, strings.Repeat(".", 60))
		value += strings.Repeat("x", 200-len(value))
		if err := f.Procs[0].Set(key, value); err != nil {
			b.Fatal(err)
		}
		if held {
			readBy(b, f.Procs[1:], key, value)
		}
	}
	warm := 4
	if held {
		warm = 48 // tiers whose lookups hit read by GET by then
	}
	for i := range warm {
		round(-1 - i)
	}
	before := settled(server)
	b.ResetTimer()
	for i := range b.N {
		round(i)
	}
	b.StopTimer()
	u, n := settled(server).Since(before), float64(b.N)
	b.ReportMetric(0, "ns/op") // it is the harness's
	b.ReportMetric(float64(u.Commands.Total())/n, "commands/op")
	b.ReportMetric(float64((u.Took["evalsha"]+u.Took["get"]).Microseconds())/n, "commands-µs/op")
	b.ReportMetric(float64(u.CPU.Microseconds())/n, "cpu-µs/op")
	b.ReportMetric(float64(u.Out)/n, "out-B/op")
}

// readBy has each process read key until it has the value.
func readBy(b *testing.B, procs []*fleettest.Proc, key, value string) {
	b.Helper()
	sees := make([]*fleettest.See, len(procs))
	for i, p := range procs {
		sees[i] = p.GoSee(key, "", 5*time.Second)
	}
	for i, p := range procs {
		for see := sees[i]; ; {
			seen, err := see.Wait()
			if err != nil {
				b.Fatal(err)
			}
			if strings.HasPrefix(seen.Value, value[:32]) {
				break
			}
			see = p.GoSee(key, seen.Value, 5*time.Second) // it has yet to hear
		}
	}
}

// settled is what the server has done once nobody asks anything any more.
func settled(server *servertest.Server) servertest.Usage {
	for u := server.Usage(); ; {
		<-time.After(50 * time.Millisecond)
		next := server.Usage()
		if next.Commands.Since(u.Commands).Total() == 0 {
			return next
		}
		u = next
	}
}
