package valkeystore_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

// info is a figure of the server's.
func info(b *testing.B, s *servertest.Server, section, name string) float64 {
	b.Helper()
	for line := range strings.Lines(s.Do("INFO " + section)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			n, err := strconv.ParseFloat(v, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatalf("INFO %s has no %s", section, name)
	return 0
}

// BenchmarkCoherence is what a write costs when others hold its key in memory: a Set
// in one of n stores, of which each of the others hears and, where news is unsure,
// reads the key, as the tier above does. The stores are in one process, with
// connections of their own.
func BenchmarkCoherence(b *testing.B) {
	for _, n := range []int{2, 16} {
		for _, mode := range []backend.CoherenceMode{backend.CoherencePublish, backend.CoherencePrefix, backend.CoherenceKeys} {
			b.Run(fmt.Sprintf("%s-%d", mode, n), func(b *testing.B) { benchCoherence(b, mode, n) })
		}
	}
}

func benchCoherence(b *testing.B, mode backend.CoherenceMode, n int) {
	server := servertest.Valkey(b)
	ctx := context.Background()
	value := make([]byte, 200)
	var (
		mu    sync.Mutex
		delay []time.Duration
		began time.Time
		round int
		heard sync.WaitGroup
	)
	ready := make(chan struct{}, n)
	stores := make([]*valkeystore.Store, n)
	for i := range stores {
		s, err := valkeystore.Open(server.URL(), &valkeystore.Options{Namespace: "b", Coherence: mode})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		stores[i] = s
		news := make(chan backend.Invalidation, 1024)
		stop := s.Invalidations(backend.Interest{Keys: true}, func(inv backend.Invalidation) { news <- inv })
		defer close(news)
		defer stop()
		go func() { // ends with news
			last := 0
			for inv := range news {
				if inv.Kind != backend.KeyChanged {
					ready <- struct{}{}
					continue
				}
				if inv.Unsure {
					_, _ = s.Get(ctx, inv.Key) // what is there now
				}
				mu.Lock()
				if i > 0 && last != round { // it may be told more than once
					delay = append(delay, time.Since(began))
					last = round
					heard.Done()
				}
				mu.Unlock()
			}
		}()
	}
	for range stores {
		<-ready
	}
	if got := stores[0].CoherenceMode(); got != mode {
		b.Fatalf("CoherenceMode = %q, want %q", got, mode)
	}
	for i := range 8 {
		_ = stores[0].Set(ctx, fmt.Sprint("k", i), value, time.Hour)
		for _, s := range stores {
			_, _ = s.Get(ctx, fmt.Sprint("k", i))
		}
	}
	<-time.After(200 * time.Millisecond) // what they were told of that is over
	mu.Lock()
	delay = nil
	mu.Unlock()
	cpu := func() float64 {
		return info(b, server, "cpu", "used_cpu_sys_main_thread") + info(b, server, "cpu", "used_cpu_user_main_thread")
	}
	out := func() float64 { return info(b, server, "stats", "total_net_output_bytes") }
	asked := func() float64 { return info(b, server, "stats", "total_commands_processed") }
	cpu0, out0, asked0 := cpu(), out(), asked()
	b.ResetTimer()
	for i := range b.N {
		heard.Add(n - 1)
		mu.Lock()
		began, round = time.Now(), round+1
		mu.Unlock()
		if err := stores[0].Set(ctx, fmt.Sprint("k", i%8), value, time.Hour); err != nil {
			b.Fatal(err)
		}
		heard.Wait()
	}
	b.StopTimer()
	writes := float64(b.N)
	b.ReportMetric((cpu()-cpu0)/writes*1e6, "server-µs/op")
	b.ReportMetric((out()-out0)/writes, "out-B/op")
	b.ReportMetric((asked()-asked0)/writes, "commands/op")
	slices.Sort(delay)
	b.ReportMetric(float64(delay[len(delay)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(delay[len(delay)*99/100].Microseconds()), "p99-µs")
}
