package otterstore

import (
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/backend/ristrettostore"
)

func ristretto(tb testing.TB, entries int64) backend.Memory {
	tb.Helper()
	s, err := ristrettostore.New(&ristrettostore.Options{MaxEntries: entries})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func spread(i int) uint64 { return uint64(i+1) * 0x9E3779B97F4A7C15 }

const hot = 1000

// fill sets n entries, slowly enough for none to be dropped, and waits until
// they are where they belong.
func fill(m backend.Memory, n int) {
	nodes := make([]node, n)
	for i := range n {
		m.Set(spread(i), &nodes[i], 1, time.Hour)
		if i%5000 == 4999 || i == n-1 {
			<-time.After(2 * time.Millisecond)
			for range 100 { // it may be dropped for good
				if m.Get(spread(i)) != nil {
					break
				}
				<-time.After(time.Millisecond)
			}
		}
	}
	<-time.After(100 * time.Millisecond)
}

func hits(m backend.Memory, n int) (missed int) {
	for i := range n {
		if m.Get(spread(i%hot)) == nil {
			missed++
		}
	}
	return missed
}

// BenchmarkHit reads both stores in turns, so that their ratio does not depend
// on what else the machine does.
func BenchmarkHit(b *testing.B) {
	stores := []struct {
		name string
		m    backend.Memory
	}{{"otter", open(b, 1<<16)}, {"ristretto", ristretto(b, 1<<16)}}
	for _, s := range stores {
		fill(s.m, hot)
	}
	report := func(b *testing.B, spent [2]time.Duration, reads int) {
		for i, s := range stores {
			b.ReportMetric(float64(spent[i].Nanoseconds())/float64(reads), s.name+"-ns/Get")
		}
		b.ReportMetric(float64(spent[0])/float64(spent[1]), "ratio")
		b.ReportMetric(0, "ns/op")
	}
	const round = 10 * hot
	b.Run("serial", func(b *testing.B) {
		var spent [2]time.Duration
		rounds := 0
		for b.Loop() {
			for i, s := range stores {
				began := time.Now()
				if hits(s.m, round) != 0 {
					b.Fatal("a miss")
				}
				spent[i] += time.Since(began)
			}
			rounds++
		}
		report(b, spent, rounds*round)
	})
	b.Run("parallel", func(b *testing.B) {
		var spent [2]time.Duration
		rounds, procs := 0, runtime.GOMAXPROCS(0)
		for b.Loop() {
			for i, s := range stores {
				done := make(chan int, procs)
				began := time.Now()
				for range procs {
					go func() { done <- hits(s.m, round) }()
				}
				for range procs {
					if <-done != 0 {
						b.Fatal("a miss")
					}
				}
				spent[i] += time.Since(began)
			}
			rounds++
		}
		report(b, spent, rounds*round*procs)
	})
}

// BenchmarkBytesPerEntry reports what a store needs for an entry besides the
// node: the heap of 1e6 of them, divided. There is room for all.
func BenchmarkBytesPerEntry(b *testing.B) {
	const entries, room = 1_000_000, 1 << 20
	for name, open := range map[string]func() backend.Memory{
		"memstore":       func() backend.Memory { return memstore.NewMemory(room) },
		"ristrettostore": func() backend.Memory { return ristretto(b, room) },
		"otterstore":     func() backend.Memory { return open(b, room) },
	} {
		b.Run(name, func(b *testing.B) {
			nodes := int64(entries * unsafe.Sizeof(node{}))
			for b.Loop() {
				before := heap()
				m := open()
				fill(m, entries)
				used := heap() - before
				held := 0
				for i := range entries {
					if m.Get(spread(i)) != nil {
						held++
					}
				}
				b.ReportMetric(float64(used-nodes)/float64(held), "B/entry")
				b.ReportMetric(float64(held), "held")
				b.ReportMetric(0, "ns/op")
				_ = m.Close()
			}
		})
	}
}

func heap() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
