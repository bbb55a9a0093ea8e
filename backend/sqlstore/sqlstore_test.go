package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
	"github.com/bellwethercache/bellwether/backend/sqlstore"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect opens a database until the test ends.
func connect(tb testing.TB, url string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

var tables atomic.Int64

// open gives a store on a table of its own.
func open(tb testing.TB, db *sql.DB, opts sqlstore.Options) *sqlstore.Store {
	tb.Helper()
	if opts.Table == "" {
		opts.Table = fmt.Sprint("t", tables.Add(1))
	}
	s, err := sqlstore.New(db, sqlstore.Postgres, &opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	if err := s.Migrate(ctx); err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	db := connect(t, servertest.Postgres(t).URL())
	backendtest.RunStore(t, backendtest.StoreHarness{
		New:    func(tb testing.TB) backend.Store { return open(tb, db, sqlstore.Options{}) },
		Leases: true, Clock: true, Swaps: true,
	})
}
