package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/sqlstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/tier"
)

const slack = 2 * time.Second // what a busy machine may add to a bound

func token(n int) string { return fmt.Sprintf("%032x", n) }

func set(t *testing.T, s backend.Store, key, value string) {
	t.Helper()
	if err := s.Set(t.Context(), key, []byte(value), time.Minute); err != nil {
		t.Errorf("Set = %v", err)
	}
}

func want(t *testing.T, s backend.Store, key, value string) {
	t.Helper()
	if v, err := s.Get(t.Context(), key); err != nil || string(v) != value {
		t.Errorf("Get = %.40q, %v, want %q", v, err, value)
	}
}

func run(t *testing.T, db *sql.DB, statement string, args ...any) int64 {
	t.Helper()
	r, err := db.ExecContext(t.Context(), statement, args...)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	n, _ := r.RowsAffected()
	return n
}

func lease(t *testing.T, s *sqlstore.Store, key string, n int, rejected ...byte) backend.LeaseReply {
	t.Helper()
	r, err := s.Lease(t.Context(), key, backend.LeaseRequest{Token: token(n), TTL: time.Minute, Rejected: rejected})
	if err != nil {
		t.Fatalf("Lease = %v", err)
	}
	return r
}

// TestTheFleetLoadsOnce: two processes' caches, and a crowd before each.
func TestTheFleetLoadsOnce(t *testing.T) {
	url := servertest.Postgres(t).URL()
	var loads atomic.Int32
	load := func(context.Context, string) (int, error) {
		<-time.After(200 * time.Millisecond)
		return int(loads.Add(1)), nil
	}
	var wg sync.WaitGroup
	for range 2 {
		s := open(t, connect(t, url), sqlstore.Options{Table: "fleet"})
		c, err := cache.New(load, nil, tier.Remote(s, &tier.RemoteOptions{Budget: slack}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		for range 25 {
			wg.Go(func() {
				if v, err := c.Get(t.Context(), "k"); v != 1 || err != nil {
					t.Errorf("Get = %d, %v, want 1, nil", v, err)
				}
			})
		}
	}
	wg.Wait()
}

// TestFaults: one server, because starting one takes long.
func TestFaults(t *testing.T) {
	srv := servertest.Postgres(t)
	db := connect(t, srv.URL())
	s := open(t, db, sqlstore.Options{Logged: true})
	set(t, s, "k", "v")

	t.Run("hung", func(t *testing.T) {
		srv.Pause()
		began := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				if _, err := s.Get(ctx, "k"); !errors.Is(err, backend.ErrUnavailable) {
					t.Errorf("Get = %v from a hung server, want backend.ErrUnavailable", err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(began); d > 100*time.Millisecond+slack {
			t.Errorf("100 calls with 100ms each took %v", d)
		}
		srv.Resume()
		want(t, s, "k", "v")
	})

	t.Run("gone", func(t *testing.T) {
		srv.Kill()
		began := time.Now()
		if _, err := s.Get(t.Context(), "k"); !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrMiss) {
			t.Errorf("Get = %v, want backend.ErrUnavailable", err)
		}
		if err := s.Set(t.Context(), "k", nil, time.Minute); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Set = %v, want backend.ErrUnavailable", err)
		}
		if ok, err := s.Commit(t.Context(), "k", token(1), []byte("v"), time.Minute); ok || !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Commit = %t, %v, want false, backend.ErrUnavailable", ok, err)
		}
		if d := time.Since(began); d > slack {
			t.Errorf("without a server three calls took %v", d)
		}
		srv.Restart()
		for deadline := time.Now().Add(5 * time.Second); ; { // connections found dead one by one
			v, err := s.Get(t.Context(), "k")
			if err == nil && string(v) == "v" { // it was logged
				break
			}
			if !errors.Is(err, backend.ErrUnavailable) || time.Now().After(deadline) {
				t.Fatalf("Get = %q, %v of a server that is back", v, err)
			}
		}
	})

	t.Run("shut down", func(t *testing.T) {
		// The database says so itself, and that is no refusal.
		run(t, db, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`)
		for range 20 {
			if _, err := s.Get(t.Context(), "k"); err != nil && !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("Get = %v, want it unavailable, if anything", err)
			}
		}
		want(t, s, "k", "v")
	})
}

func TestRefusals(t *testing.T) {
	db := connect(t, servertest.Postgres(t).URL())
	s, err := sqlstore.New(db, sqlstore.Postgres, &sqlstore.Options{Table: "nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Get(t.Context(), "secret")
	var refused *sqlstore.ServerError
	if !errors.As(err, &refused) || refused.Code != "42P01" || errors.Is(err, backend.ErrUnavailable) || strings.Contains(err.Error(), "nowhere") {
		t.Errorf("Get without a table = %v, want a refusal with its code and no words of the database's", err)
	}

	s = open(t, db, sqlstore.Options{MaxValue: 10})
	if err := s.Set(t.Context(), "k", make([]byte, 11), time.Minute); !errors.Is(err, sqlstore.ErrTooLarge) {
		t.Errorf("Set = %v, want ErrTooLarge", err)
	}
	if _, err := s.Commit(t.Context(), "k", token(1), make([]byte, 11), time.Minute); !errors.Is(err, sqlstore.ErrTooLarge) {
		t.Errorf("Commit = %v, want ErrTooLarge", err)
	}
	if _, err := s.Swap(t.Context(), "k", nil, make([]byte, 11), time.Minute); !errors.Is(err, sqlstore.ErrTooLarge) {
		t.Errorf("Swap = %v, want ErrTooLarge", err)
	}
	// One that somebody else has written is a miss, and gives way.
	table := fmt.Sprint("t", tables.Load())
	set(t, s, "k", "v")
	run(t, db, `UPDATE `+table+` SET value = $1`, []byte("elevenbytes"))
	if v, err := s.Get(t.Context(), "k"); !errors.Is(err, backend.ErrMiss) {
		t.Errorf("Get = %q, %v of an entry beyond MaxValue, want a miss", v, err)
	}
	if r := lease(t, s, "k", 1); !r.Won {
		t.Errorf("Lease = %+v over an entry beyond MaxValue, want it won", r)
	}
}

func TestBadArguments(t *testing.T) {
	db := connect(t, "postgres://127.0.0.1:1/")
	for _, tc := range []struct {
		field string
		db    *sql.DB
		d     sqlstore.Dialect
		opts  sqlstore.Options
	}{
		{"db", nil, sqlstore.Postgres, sqlstore.Options{}},
		{"dialect", db, sqlstore.Dialect{}, sqlstore.Options{}},
		{"Options.Table", db, sqlstore.Postgres, sqlstore.Options{Table: `a"b`}},
		{"Options.Table", db, sqlstore.Postgres, sqlstore.Options{Table: "a.b.c"}},
		{"Options.Table", db, sqlstore.Postgres, sqlstore.Options{Table: "a."}},
		{"Options.Table", db, sqlstore.Postgres, sqlstore.Options{Table: "1a"}},
		{"Options.Table", db, sqlstore.Postgres, sqlstore.Options{Table: strings.Repeat("a", 49)}},
		{"Options.MaxValue", db, sqlstore.Postgres, sqlstore.Options{MaxValue: -1}},
	} {
		if _, err := sqlstore.New(tc.db, tc.d, &tc.opts); err == nil || !strings.Contains(err.Error(), tc.field) {
			t.Errorf("New(%+v) = %v, want an error naming %s", tc.opts, err, tc.field)
		}
	}
}

// TestFencesRise: also over a last one that lies ahead of the clock, through
// Set, Delete, Release and Commit.
func TestFencesRise(t *testing.T) {
	db := connect(t, servertest.Postgres(t).URL())
	s := open(t, db, sqlstore.Options{})
	lease(t, s, "k", 0)
	last := uint64(time.Now().Add(time.Minute).UnixMicro())
	run(t, db, fmt.Sprint(`UPDATE t`, tables.Load(), ` SET fence = $1, token = NULL, lease_until = 0`), int64(last))
	for i, end := range []func(){
		func() { set(t, s, "k", "v") },
		func() { _ = s.Delete(t.Context(), "k") },
		func() { _, _ = s.Release(t.Context(), "k", token(2), backend.Failure{}) },
		func() { _, _ = s.Release(t.Context(), "k", token(3), backend.Failure{CoolDown: time.Microsecond}) },
		func() { _, _ = s.Commit(t.Context(), "k", token(4), []byte("v"), time.Minute) },
		func() { _, _ = s.Swap(t.Context(), "k", []byte("v"), []byte("v2"), time.Minute) },
		func() {},
	} {
		<-time.After(time.Millisecond) // the cool-down
		r := lease(t, s, "k", i, 'v')
		if last++; !r.Won || r.Fence != last {
			t.Errorf("Lease %d = %+v, want fence %d", i, r, last)
		}
		end()
	}
}

// TestRacing: whatever races, one holds; what a load without its lease brings
// is not kept; and statements on many keys do not wait for each other for ever.
func TestRacing(t *testing.T) {
	srv := servertest.Postgres(t, "deadlock_timeout=50ms", "log_min_messages=fatal")
	db := connect(t, srv.URL())
	a, b := open(t, db, sqlstore.Options{Table: "r"}), open(t, db, sqlstore.Options{Table: "r"})
	var keys []string
	for round := range 30 {
		key := fmt.Sprint(round)
		keys = append(keys, key)
		var won atomic.Int32
		var wg sync.WaitGroup
		fences := make([]uint64, 8)
		for i := range 8 {
			s := []*sqlstore.Store{a, b}[i%2]
			wg.Go(func() {
				r, err := s.Lease(t.Context(), key, backend.LeaseRequest{Token: token(i), TTL: time.Minute})
				if err != nil {
					t.Errorf("Lease = %v", err)
				}
				if fences[i] = r.Fence; r.Won {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 8 have won, want 1", won.Load())
		}
		holder := slices.IndexFunc(fences, func(f uint64) bool { return f > 0 })
		wg.Go(func() { _, _ = a.Commit(t.Context(), key, token(holder), []byte("loaded"), time.Minute) })
		wg.Go(func() { set(t, b, key, "set") })
		wg.Wait()
		want(t, a, key, "set")
	}

	var before, after int
	deadlocks := func(n *int) {
		if err := db.QueryRowContext(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(n); err != nil {
			t.Fatal(err)
		}
	}
	deadlocks(&before)
	backwards := slices.Clone(keys)
	slices.Reverse(backwards)
	var wg sync.WaitGroup
	for i := range 8 {
		these := [][]string{keys, backwards}[i%2]
		wg.Go(func() {
			for range 20 {
				if err := a.Delete(t.Context(), these...); err != nil {
					t.Errorf("Delete = %v", err)
				}
			}
		})
	}
	wg.Wait()
	if deadlocks(&after); after != before {
		t.Errorf("%d deadlocks", after-before)
	}
}

func TestManyKeysAtOnce(t *testing.T) {
	s := open(t, connect(t, servertest.Postgres(t).URL()), sqlstore.Options{})
	var keys []string
	for i := range 1201 {
		keys = append(keys, fmt.Sprint(i))
	}
	set(t, s, "0", "v")
	set(t, s, "1200", "v")
	set(t, s, "other", "v")
	if err := s.Delete(t.Context(), append(keys, "0")...); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"0", "1200"} {
		if v, err := s.Get(t.Context(), k); !errors.Is(err, backend.ErrMiss) {
			t.Errorf("Get = %q, %v, want a miss", v, err)
		}
	}
	want(t, s, "other", "v")
}
