package matrixtest

import (
	"database/sql"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/diskstore"
	"github.com/bellwethercache/bellwether/backend/memcachedstore"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/backend/otterstore"
	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/sqlstore"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

// place is where entries are. start begins what it needs, once; the openers that
// it gives open it, as one process each would, under a namespace that is empty.
type place struct {
	name  string
	near  func() (backend.Memory, error) // before it, in the process that reads; or nil
	start func(t *testing.T) opener
}

// opener opens a place for each of the processes that share a namespace.
type opener func(t *testing.T, namespace string) (open func() backend.Store)

func places() []place {
	return []place{
		{name: "memstore", start: inMemory},
		{name: "memory+memstore", near: func() (backend.Memory, error) { return memstore.NewMemory(1000), nil }, start: inMemory},
		{name: "ristretto+memstore", near: func() (backend.Memory, error) { return ristrettostore.New(nil) }, start: inMemory},
		{name: "otter+memstore", near: func() (backend.Memory, error) { return otterstore.New(nil) }, start: inMemory},
		{name: "disk", start: onDisk},
		{name: "valkey", start: func(t *testing.T) opener { return onServer(servertest.Valkey(t).URL()) }},
		{name: "redis", start: func(t *testing.T) opener { return onServer(servertest.Redis(t).URL()) }},
		{name: "memcached", start: onMemcached},
		{name: "postgres", start: onPostgres},
	}
}

// sharedFile outlives the caches that close it: one process at a time has a file.
type sharedFile struct{ backend.Store }

func (sharedFile) Close() error { return nil }

func inMemory(*testing.T) opener {
	return func(t *testing.T, _ string) func() backend.Store {
		s := memstore.NewStore()
		t.Cleanup(func() { _ = s.Close() })
		return func() backend.Store { return s.Peer() }
	}
}

func onDisk(t *testing.T) opener {
	dir := t.TempDir()
	return func(t *testing.T, namespace string) func() backend.Store {
		s, err := diskstore.Open(filepath.Join(dir, namespace), &diskstore.Options{MaxBytes: 256 << 20})
		must(t, err)
		t.Cleanup(func() { _ = s.Close() })
		return func() backend.Store { return sharedFile{s} }
	}
}

func onServer(url string) opener {
	return func(t *testing.T, namespace string) func() backend.Store {
		return func() backend.Store {
			s, err := valkeystore.Open(url, &valkeystore.Options{Namespace: namespace})
			must(t, err)
			return s
		}
	}
}

func onMemcached(t *testing.T) opener {
	addr := servertest.Memcached(t).Addr()
	return func(t *testing.T, namespace string) func() backend.Store {
		return func() backend.Store {
			s, err := memcachedstore.Open([]string{addr}, &memcachedstore.Options{Namespace: namespace})
			must(t, err)
			return s
		}
	}
}

func onPostgres(t *testing.T) opener {
	db, err := sql.Open("pgx", servertest.Postgres(t).URL())
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	return func(t *testing.T, namespace string) func() backend.Store {
		return func() backend.Store {
			s, err := sqlstore.New(db, sqlstore.Postgres, &sqlstore.Options{Table: namespace, SweepEvery: -1})
			must(t, err)
			must(t, s.Migrate(t.Context()))
			return s
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
