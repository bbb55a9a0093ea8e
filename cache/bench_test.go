package cache_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

type benchUser struct {
	ID, A, B, C, D int64
	Name           string
}

const benchHot = 1000 // of 100,000 keys: the code is measured, not the memory

func benchKeys() []string {
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = "user:" + strconv.Itoa(i*7919)
	}
	return keys
}

func newBenchCache[K comparable](b *testing.B, keys []K) *cache.Cache[K, benchUser] {
	b.Helper()
	m, err := ristrettostore.New(&ristrettostore.Options{MaxEntries: 200_000})
	if err != nil {
		b.Fatal(err)
	}
	c, err := cache.New(func(context.Context, K) (benchUser, error) { return benchUser{Name: "n"}, nil },
		&cache.Options[K, benchUser]{Policy: cache.Policy{TTL: time.Hour}}, tier.Local(m, nil))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	for _, k := range keys {
		if _, err := c.Get(context.Background(), k); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

func newBenchRistretto[K ristretto.Key](b *testing.B, keys []K) *ristretto.Cache[K, benchUser] {
	b.Helper()
	r, err := ristretto.NewCache(&ristretto.Config[K, benchUser]{
		NumCounters: 2_000_000, MaxCost: 200_000, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.Close)
	for i, k := range keys {
		r.SetWithTTL(k, benchUser{Name: "n"}, 1, time.Hour)
		if i%1000 == 0 {
			r.Wait()
		}
	}
	r.Wait()
	return r
}

// BenchmarkHit compares a hit of a whole Cache, TTL checked and counted, with
// the same hit of bare ristretto with a TTL.
func BenchmarkHit(b *testing.B) {
	strs := benchKeys()
	ints := make([]int, len(strs))
	for i := range ints {
		ints[i] = i * 7919
	}
	benchHit(b, "string", strs)
	benchHit(b, "int", ints)
}

func benchHit[K interface{ int | string }](b *testing.B, name string, keys []K) {
	ctx := context.Background()
	b.Run(name+"/bellwether", func(b *testing.B) {
		c := newBenchCache(b, keys)
		runHit(b, keys, func(k K) bool { _, err := c.Get(ctx, k); return err == nil })
	})
	b.Run(name+"/ristretto+TTL", func(b *testing.B) {
		r := newBenchRistretto(b, keys)
		runHit(b, keys, func(k K) bool { _, ok := r.Get(k); return ok })
	})
}

func runHit[K any](b *testing.B, keys []K, get func(K) bool) {
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if !get(keys[i%benchHot]) {
				b.Fatal("miss")
			}
			i++
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if !get(keys[i%benchHot]) {
					b.Fatal("miss")
				}
			}
		})
	})
}
