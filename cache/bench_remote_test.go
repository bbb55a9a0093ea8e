package cache_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeyconn"
	"github.com/bellwethercache/bellwether/tier"
)

type benchDoc struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
	Body string `json:"body"`
}

const benchDocs = 1000

// BenchmarkRemoteHit compares a hit of the shared tier through a whole Cache
// with a bare GET and the same decoder on the same client settings.
func BenchmarkRemoteHit(b *testing.B) {
	url := servertest.Valkey(b).URL()
	for _, goroutines := range []int{8, 64, 512} {
		b.Run(strconv.Itoa(goroutines)+"/valkey-go", func(b *testing.B) { benchBare(b, url, goroutines) })
		b.Run(strconv.Itoa(goroutines)+"/bellwether", func(b *testing.B) { benchRemote(b, url, goroutines) })
	}
}

func benchRemote(b *testing.B, url string, goroutines int) {
	store, err := valkeystore.Open(url, &valkeystore.Options{Namespace: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	c := open[string, benchDoc](b, nil, &cache.Options[string, benchDoc]{Policy: cache.Policy{TTL: time.Hour}}, tier.Remote(store, nil))
	load := func(context.Context, string) (benchDoc, error) {
		b.Error("the loader was called: not a hit")
		return benchDoc{}, nil
	}
	keys := make([]string, benchDocs)
	for i := range keys {
		keys[i] = fmt.Sprint("doc:", i)
		if err := c.Set(context.Background(), keys[i], benchDoc{ID: i, Name: "n", Body: strings.Repeat("x", 60)}); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	spread(b, goroutines, func(i int) error {
		_, err := c.GetOrLoad(ctx, keys[i%benchDocs], load)
		return err
	})
}

func benchBare(b *testing.B, url string, goroutines int) {
	opt, err := valkeyconn.Options(url)
	if err != nil {
		b.Fatal(err)
	}
	opt.PipelineMultiplex = 0 // the client's own default
	client, err := valkey.NewClient(opt)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	keys := make([]string, benchDocs)
	for i := range keys {
		keys[i] = fmt.Sprint("bench:bare:", i)
		text, _ := json.Marshal(benchDoc{ID: i, Name: "n", Body: strings.Repeat("x", 60)})
		if err := client.Do(context.Background(), client.B().Set().Key(keys[i]).Value(string(text)).Build()).Error(); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	spread(b, goroutines, func(i int) error {
		data, err := client.Do(ctx, client.B().Get().Key(keys[i%benchDocs]).Build()).AsBytes()
		if err != nil {
			return err
		}
		var d benchDoc
		return json.Unmarshal(data, &d)
	})
}

// spread runs b.N calls on so many goroutines.
func spread(b *testing.B, goroutines int, call func(i int) error) {
	b.ReportAllocs()
	cpu := processCPU()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				if err := call(i * 31); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(processCPU()-cpu)/float64(b.N), "cpu-ns/op")
}

// processCPU is the time that this process has spent on the CPUs: on a busy
// machine it is steadier than the clock on the wall.
func processCPU() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
