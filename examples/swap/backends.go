package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/diskstore"
	"github.com/bellwethercache/bellwether/backend/memcachedstore"
	"github.com/bellwethercache/bellwether/backend/otterstore"
	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/sqlstore"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/tier"
)

// tiers are what a cache is made of, and what is to be closed: by the cache, and
// after it.
type tiers struct {
	all    []tier.Tier
	stores []interface{ Close() error }
	db     *sql.DB
	budget time.Duration
}

// after closes what the cache does not: a database is its opener's.
func (t *tiers) after() error {
	if t.db == nil {
		return nil
	}
	return t.db.Close()
}

// abandon closes all, if there is no cache to do it.
func (t *tiers) abandon() error {
	var errs []error
	for _, s := range t.stores {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, t.after())...)
}

func (t *tiers) local(m backend.Memory, err error) error {
	if err == nil {
		t.all, t.stores = append(t.all, tier.Local(m, nil)), append(t.stores, m)
	}
	return err
}

func (t *tiers) remote(s backend.Store, err error) error {
	if err == nil {
		t.all, t.stores = append(t.all, tier.Remote(s, &tier.RemoteOptions{Budget: t.budget})), append(t.stores, s)
	}
	return err
}

// tiersOf opens the tiers that --backend lists.
func tiersOf(ctx context.Context, s *settings) (*tiers, error) {
	t := &tiers{budget: s.budget}
	for name := range strings.FieldsFuncSeq(s.backend, func(r rune) bool { return r == '+' || r == ',' }) {
		if err := t.add(ctx, s, name); err != nil {
			return nil, errors.Join(fmt.Errorf("backend %s: %w", name, err), t.abandon())
		}
	}
	return t, nil
}

// add opens one of them: this is the line that a swap takes.
func (t *tiers) add(ctx context.Context, s *settings, name string) error {
	switch name {
	case "memory":
		m, err := ristrettostore.New(nil)
		return t.local(m, err)
	case "otter":
		m, err := otterstore.New(nil)
		return t.local(m, err)
	case "disk":
		d, err := diskstore.Open(filepath.Join(s.dir, s.namespace+".cache"), nil)
		return t.remote(d, err)
	case "valkey":
		v, err := valkeystore.Open(s.valkey, &valkeystore.Options{Namespace: s.namespace})
		return t.remote(v, err)
	case "redis":
		v, err := valkeystore.Open(s.redis, &valkeystore.Options{Namespace: s.namespace})
		return t.remote(v, err)
	case "memcached":
		m, err := memcachedstore.Open([]string{s.memcached}, &memcachedstore.Options{Namespace: s.namespace})
		return t.remote(m, err)
	case "postgres":
		return t.table(ctx, s)
	}
	return errors.New("there is none of this name; see --help")
}

// table opens the database, and makes the table unless it is there.
func (t *tiers) table(ctx context.Context, s *settings) (err error) {
	switch {
	case t.db != nil:
		return errors.New("it is listed twice")
	case s.postgres == "":
		return errors.New("it needs the URL of a database: --postgres, or POSTGRES_URL")
	}
	if t.db, err = sql.Open("pgx", s.postgres); err != nil {
		return err
	}
	t.db.SetMaxOpenConns(16)
	t.db.SetMaxIdleConns(16)
	store, err := sqlstore.New(t.db, sqlstore.Postgres, &sqlstore.Options{Table: s.namespace})
	if err := t.remote(store, err); err != nil {
		return err
	}
	return store.Migrate(ctx)
}
