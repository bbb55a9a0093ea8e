package diskstore

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func BenchmarkStore(b *testing.B) {
	for _, size := range []int{100, 4096} {
		s := open(b, fileIn(b), nil)
		value := make([]byte, size)
		const keys = 10_000
		key := func(i int) string { return fmt.Sprintf("users:%016x", uint64(i)*0x9E3779B97F4A7C15) }
		if err := s.do(b.Context(), 1, func(t *tables) error {
			for i := range keys {
				if err := t.put(key(i), record(key(i), value, s.now(), time.Hour)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint("get/", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Get(b.Context(), key(rand.IntN(keys))); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("set/", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Set(b.Context(), key(rand.IntN(keys)), value, time.Hour); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("set-16-writers/", size), func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := s.Set(b.Context(), key(rand.IntN(keys)), value, time.Hour); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
