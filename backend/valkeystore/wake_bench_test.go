package valkeystore_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

// BenchmarkWake compares how those who wait for a lease can learn that it has
// ended: a message with the value, a message with the key (who gets it reads the
// value), and server-assisted tracking of the value's key (the same). Each waiter
// has a client of its own, as a process would. Delays are from before the commit until a
// waiter has the value.
func BenchmarkWake(b *testing.B) {
	for _, waiters := range []int{2, 16} {
		for _, size := range []int{100, 4 << 10, 64 << 10} {
			for name, join := range map[string]func(b *testing.B, url string, wake chan<- []byte) waiter{
				"value":    func(b *testing.B, url string, wake chan<- []byte) waiter { return byMessage(b, url, 128<<10, wake) },
				"key":      func(b *testing.B, url string, wake chan<- []byte) waiter { return byMessage(b, url, -1, wake) },
				"tracking": byTracking,
			} {
				b.Run(fmt.Sprintf("%d waiters/%d B/%s", waiters, size, name), func(b *testing.B) {
					benchWake(b, waiters, size, name == "value", join)
				})
			}
		}
	}
}

// waiter begins to wait for key. It sends what it hears of, nil: look.
type waiter struct {
	wait func(key string) (stop func())
	read func(key string) []byte
}

func benchWake(b *testing.B, n, size int, pushes bool, join func(*testing.B, string, chan<- []byte) waiter) {
	s := servertest.Valkey(b)
	push := -1
	if pushes {
		push = 128 << 10
	}
	holder := openBench(b, s.URL(), push)
	wakes, waiters := make([]chan []byte, n), make([]waiter, n)
	for i := range waiters {
		wakes[i] = make(chan []byte, 4)
		waiters[i] = join(b, s.URL(), wakes[i])
	}
	value := []byte(strings.Repeat("v", size))
	ctx := context.Background()
	var mu sync.Mutex
	var delays []time.Duration
	before := s.Commands()
	round := 0
	for b.Loop() {
		round++
		key := fmt.Sprint("k", round)
		token := fmt.Sprintf("%032x", round)
		if r, err := holder.Lease(ctx, key, backend.LeaseRequest{Token: token, TTL: time.Minute}); err != nil || !r.Won {
			b.Fatalf("Lease = %+v, %v", r, err)
		}
		stops := make([]func(), n)
		for i := range waiters {
			stops[i] = waiters[i].wait(key)
		}
		var wg sync.WaitGroup
		began := time.Now()
		for i, w := range waiters {
			wg.Go(func() {
				v := <-wakes[i]
				if v == nil {
					v = w.read(key)
				}
				d := time.Since(began)
				if len(v) != size {
					b.Errorf("woken to %d bytes", len(v))
				}
				mu.Lock()
				delays = append(delays, d)
				mu.Unlock()
			})
		}
		if ok, err := holder.Commit(ctx, key, token, value, time.Minute); err != nil || !ok {
			b.Fatalf("Commit = %t, %v", ok, err)
		}
		wg.Wait()
		for i := range stops {
			stops[i]()
			select {
			case <-wakes[i]: // a second one
			default:
			}
		}
	}
	slices.Sort(delays)
	b.ReportMetric(float64(delays[len(delays)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(delays[len(delays)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(float64(s.Commands().Since(before).Total())/float64(round*n), "commands/waiter")
}

func openBench(b *testing.B, url string, push int) *valkeystore.Store {
	s, err := valkeystore.Open(url, &valkeystore.Options{Namespace: "w", PushValue: push})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	s.Listen(context.Background())
	return s
}

func byMessage(b *testing.B, url string, push int, wake chan<- []byte) waiter {
	s := openBench(b, url, push)
	ctx := context.Background()
	return waiter{
		wait: func(key string) func() {
			stop := s.Watch(key, func(n backend.Notice) { wake <- n.Value })
			if r, err := s.Lease(ctx, key, backend.LeaseRequest{Token: strings.Repeat("f", 32), TTL: time.Minute, Watch: true}); err != nil || !r.Pushed {
				b.Fatalf("Lease = %+v, %v", r, err)
			}
			return stop
		},
		read: func(key string) []byte { v, _ := s.Get(ctx, key); return v },
	}
}

func byTracking(b *testing.B, url string, wake chan<- []byte) waiter {
	read := valkey.NewLuaScript(`return redis.call('GET', KEYS[1])`) // what a script reads is tracked
	layout, err := valkeylease.NewLayout("w")
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	s := openBench(b, url, -1)
	c, err := valkey.NewClient(valkey.ClientOption{
		InitAddress: []string{strings.TrimPrefix(url, "valkey://")}, ForceSingleClient: true, AlwaysPipelining: true,
		ClientTrackingOptions: []string{"OPTOUT"}, CacheSizeEachConn: 1 << 20,
		OnInvalidations: func(keys []valkey.ValkeyMessage) {
			if keys != nil {
				wake <- nil
			}
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return waiter{
		wait: func(k string) func() {
			if err := read.Exec(ctx, c, []string{layout.Value(k)}, nil).Error(); err != nil && !valkey.IsValkeyNil(err) {
				b.Fatal(err)
			}
			return func() {}
		},
		read: func(k string) []byte { v, _ := s.Get(ctx, k); return v },
	}
}
