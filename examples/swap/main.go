// Swap is one service whose backend and codec are chosen by flags, and whose
// answers are the same with all of them:
//
//	go run ./examples/swap --backend memory --codec json
//	go run ./examples/swap --backend otter+disk+valkey --codec cbor+zstd+aead
//	go run ./examples/swap --help
//
// A backend is a list of tiers, nearest first: memory (ristretto), otter, disk,
// valkey, redis, memcached, postgres. A codec is json, cbor, msgpack, gob,
// protobuf or string, and what wraps it: zstd, s2, aead. Run it again with
// another codec on the same server: what is there is a miss, and no error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
)

// settings are the flags.
type settings struct {
	backend, codec, namespace, dir, secret string
	valkey, redis, memcached, postgres     string
	budget                                 time.Duration
}

func main() {
	_, err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "swap:", err)
		os.Exit(1)
	}
}

func parse(args []string, log io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("swap", flag.ContinueOnError)
	f.SetOutput(log)
	f.Usage = func() { fmt.Fprint(log, usage) }
	env := func(name, otherwise string) string {
		if v := os.Getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	f.StringVar(&s.backend, "backend", "memory", "")
	f.StringVar(&s.codec, "codec", "json", "")
	f.StringVar(&s.namespace, "namespace", "swap", "")
	f.StringVar(&s.dir, "dir", os.TempDir(), "")
	f.StringVar(&s.valkey, "valkey", env("VALKEY_URL", "valkey://localhost:6379"), "")
	f.StringVar(&s.redis, "redis", env("REDIS_URL", "redis://localhost:6379"), "")
	f.StringVar(&s.memcached, "memcached", env("MEMCACHED", "localhost:11211"), "")
	f.StringVar(&s.postgres, "postgres", os.Getenv("POSTGRES_URL"), "")
	f.DurationVar(&s.budget, "budget", 100*time.Millisecond, "")
	err = f.Parse(args)
	s.secret = os.Getenv("SWAP_SECRET") // 64 hexadecimal digits, for aead; a flag would show it in the list of processes
	return s, err
}

// run is the service: it answers the same questions each time.
func run(ctx context.Context, args []string, out, log io.Writer) (cache.Stats, error) {
	s, err := parse(args, log)
	if err != nil {
		return cache.Stats{}, err
	}
	products, closeAll, err := open(ctx, &s, log)
	if err != nil {
		return cache.Stats{}, err
	}
	for range 2 { // the second time nothing is loaded
		for id := range 6 {
			switch p, err := products.Get(ctx, id); {
			case errors.Is(err, cache.ErrNotFound):
				fmt.Fprintf(out, "%d: none\n", id)
			case err != nil:
				return cache.Stats{}, errors.Join(err, closeAll())
			default:
				fmt.Fprintf(out, "%d: %q, %d cents, %q, %d bytes of text with sum %x\n", id, p.Name, p.Cents, p.Labels, len(p.Text), crc32.ChecksumIEEE([]byte(p.Text)))
			}
		}
	}
	stats := products.Stats()
	fmt.Fprintf(log, "%s with %s: %d reads, %d loads\n", s.backend, s.codec, stats.Gets(), stats.Loads)
	return stats, closeAll()
}

// open makes the cache that the flags ask for. The only lines that know are in
// backends.go and codecs.go.
func open(ctx context.Context, s *settings, log io.Writer) (*cache.Cache[int, product], func() error, error) {
	c, err := codecOf(s)
	if err != nil {
		return nil, nil, err
	}
	tiers, err := tiersOf(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	products, err := cache.New(fetch, &cache.Options[int, product]{
		Name:   "products",
		Codec:  c,
		Schema: 1,
		Policy: policy,
		Hooks: cache.Hooks{Warn: func(_ context.Context, w lock.Warning) {
			fmt.Fprintf(log, "%s: %s\n", w.Code, w.Message)
		}},
	}, tiers.all...)
	if err != nil {
		return nil, nil, errors.Join(err, tiers.abandon())
	}
	return products, func() error { return errors.Join(products.Close(), tiers.after()) }, nil
}
