package sqlstore_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/sqlstore"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

// TestTables: made by many at once, under a reserved word, in a schema; and
// what a table is like.
func TestTables(t *testing.T) {
	db := connect(t, servertest.Postgres(t).URL())
	run(t, db, `CREATE SCHEMA "order"`)
	for _, tc := range []struct {
		opts        sqlstore.Options
		persistence string
	}{
		{sqlstore.Options{}, "u"}, {sqlstore.Options{Table: "order.user", Logged: true}, "p"},
	} {
		s, err := sqlstore.New(db, sqlstore.Postgres, &tc.opts)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := s.Migrate(t.Context()); err != nil {
					t.Errorf("Migrate = %v", err)
				}
			})
		}
		wg.Wait()
		set(t, s, "k", "v")
		want(t, s, "k", "v")
		var persistence string
		name := tc.opts.Table[strings.LastIndex(tc.opts.Table, ".")+1:]
		if name == "" {
			name = "bellwether"
		}
		if err := db.QueryRowContext(t.Context(), `SELECT relpersistence FROM pg_class WHERE relname = $1`, name).Scan(&persistence); err != nil || persistence != tc.persistence {
			t.Errorf("persistence of %s = %q, %v, want %q", name, persistence, err, tc.persistence)
		}
		if ddl := s.DDL(); strings.Count(ddl, ";\n") != 2 || !strings.Contains(ddl, "PRIMARY KEY") {
			t.Errorf("DDL = %s", ddl)
		}
	}
}

func TestCleanup(t *testing.T) {
	db := connect(t, servertest.Postgres(t).URL())
	swept := make(chan int64, 100)
	open(t, db, sqlstore.Options{}) // the table is there before the first sweep
	s := open(t, db, sqlstore.Options{Table: fmt.Sprint("t", tables.Load()), SweepEvery: 20 * time.Millisecond, OnSweep: func(n int64, err error) {
		if err != nil {
			t.Errorf("sweep = %v", err)
		}
		swept <- n
	}})
	table := fmt.Sprint("t", tables.Load())
	set(t, s, "stays", "v")
	run(t, db, `INSERT INTO `+table+` (key, keep_until) SELECT convert_to('=' || n, 'UTF8'), n FROM generate_series(1, 2500) n`)
	removed := int64(0)
	for removed < 2500 {
		select {
		case n := <-swept:
			removed += n
		case <-time.After(20 * time.Second):
			t.Fatalf("%d rows swept, want 2500", removed)
		}
	}
	_ = s.Close()
	if left := run(t, db, `DELETE FROM `+table); removed != 2500 || left != 1 {
		t.Errorf("%d rows swept and %d left, want 2500 and 1", removed, left)
	}

	s = open(t, db, sqlstore.Options{SweepEvery: -1})
	table = fmt.Sprint("t", tables.Load())
	run(t, db, `INSERT INTO `+table+` (key, keep_until) SELECT convert_to('=' || n, 'UTF8'), n FROM generate_series(1, 2500) n`)
	if n, err := s.Cleanup(t.Context()); n != 2500 || err != nil {
		t.Errorf("Cleanup = %d, %v, want 2500, nil", n, err)
	}
	// What is to be kept, and for how long after what was done.
	soon, hour := 10*time.Minute, time.Hour
	for key, tc := range map[string]struct {
		do   func(key string)
		kept time.Duration
	}{
		"set":    {func(k string) { set(t, s, k, "v") }, time.Minute + soon},
		"lease":  {func(k string) { lease(t, s, k, 1) }, time.Minute + hour},
		"delete": {func(k string) { set(t, s, k, "v"); _ = s.Delete(t.Context(), k) }, soon},
		"commit": {func(k string) {
			lease(t, s, k, 1)
			_, _ = s.Commit(t.Context(), k, token(1), nil, 2*time.Minute)
		}, 2*time.Minute + soon},
		"fail": {func(k string) {
			lease(t, s, k, 1)
			_, _ = s.Release(t.Context(), k, token(1), backend.Failure{CoolDown: 2 * time.Hour})
		}, 3 * hour},
		"renew": {func(k string) { lease(t, s, k, 1); _, _ = s.Renew(t.Context(), k, token(1), 2*time.Hour) }, 2 * hour},
	} {
		tc.do(key)
		var left float64
		err := db.QueryRowContext(t.Context(), `SELECT keep_until / 1e6 - extract(epoch from now()) FROM `+table+` WHERE key = $1`, []byte("="+key)).Scan(&left)
		if err != nil || left > tc.kept.Seconds()+1 || left < tc.kept.Seconds()-30 {
			t.Errorf("after %s the row is kept for %.0f s, %v, want %v", key, left, err, tc.kept)
		}
	}
	if n, err := s.Cleanup(t.Context()); n != 0 || err != nil {
		t.Errorf("Cleanup = %d, %v, want 0, nil", n, err)
	}
}
