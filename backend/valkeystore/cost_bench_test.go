package valkeystore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

// BenchmarkServerCost reports what each call costs the server, beside a plain
// GET: µs by its own account, what scripts call included.
func BenchmarkServerCost(b *testing.B) {
	srv := servertest.Valkey(b)
	s := openBench(b, srv.URL(), 4<<10)
	ctx, v := b.Context(), []byte(strings.Repeat("v", 100))
	if err := s.Set(ctx, "hit", v, time.Hour); err != nil {
		b.Fatal(err)
	}
	lease := func(key string, n int) (won bool, err error) {
		r, err := s.Lease(ctx, key, backend.LeaseRequest{Token: token(n), TTL: time.Minute})
		return r.Won, err
	}
	for _, bm := range []struct {
		name, command string
		call          func(i int) error
	}{
		{"get", "get", func(int) error { _, err := s.Get(ctx, "hit"); return err }},
		{"lease, found", "evalsha", func(int) error { _, err := lease("hit", 1); return err }},
		{"lease, won", "evalsha", func(i int) error { _, err := lease(fmt.Sprint("won", i), i); return err }},
		{"set", "evalsha", func(i int) error { return s.Set(ctx, fmt.Sprint("set", i), v, time.Minute) }},
		{"delete", "evalsha", func(i int) error { return s.Delete(ctx, fmt.Sprint("set", i)) }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			if err := bm.call(0); err != nil { // the server knows the script from here on
				b.Fatal(err)
			}
			us, calls := serverTime(b, srv.URL(), bm.command)
			i := 0
			for b.Loop() {
				if i++; bm.call(i) != nil {
					b.Fatal("the call failed")
				}
			}
			us2, calls2 := serverTime(b, srv.URL(), bm.command)
			b.ReportMetric((us2-us)/(calls2-calls), "server-us/op")
		})
	}
}

// serverTime is the time the server has spent on a command, and on how many.
func serverTime(b *testing.B, url, command string) (us, calls float64) {
	b.Helper()
	c := admin(b, url)
	info, err := c.Do(b.Context(), c.B().Info().Section("commandstats").Build()).ToString()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if _, err := fmt.Sscanf(line, "cmdstat_"+command+":calls=%f,usec=%f", &calls, &us); err == nil {
			return us, calls
		}
	}
	b.Fatalf("the server counts no %s", command)
	return 0, 0
}
