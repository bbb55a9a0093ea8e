// Custombackend is a cache over a store of one's own: a folder of files, in
// store.go. It shows what the cache says, when it is made, of the abilities that
// such a store lacks and what it does instead; main_test.go runs the conformance
// kit over the store, and over a broken one to see what the kit says.
//
//	go run ./examples/custombackend
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

func main() {
	path, err := os.MkdirTemp("", "custombackend-*")
	if err != nil {
		log.Fatal(err)
	}
	err = run(os.Stdout, path)
	_ = os.RemoveAll(path)
	if err != nil {
		log.Fatal(err)
	}
}

// run asks two caches over one folder, one after the other, for the same key.
func run(out io.Writer, path string) error {
	for _, who := range []string{"the first", "the second"} {
		load := func(_ context.Context, id int) (string, error) {
			return fmt.Sprintf("user %d, loaded by %s", id, who), nil
		}
		opts := &cache.Options[int, string]{Name: "users"}
		if who == "the first" { // one is enough to read it all
			opts.Hooks.Warn = func(_ context.Context, w lock.Warning) { fmt.Fprintf(out, "%s: %s\n", w.Code, w.Message) }
		}
		users, err := cache.New(load, opts, tier.Remote(&dir{path: path}, nil))
		if err != nil {
			return err
		}
		user, err := users.Get(context.Background(), 7)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s gets %q\n", who, user)
		if err := users.Close(); err != nil {
			return err
		}
	}
	return nil
}
