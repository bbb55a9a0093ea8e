package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/bellwethercache/bellwether/backend/sqlstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

func ExampleNew() {
	db, err := sql.Open("pgx", "postgres://localhost/app") // after import _ "github.com/jackc/pgx/v5/stdlib"
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)

	store, err := sqlstore.New(db, sqlstore.Postgres, &sqlstore.Options{Table: "cached_users"})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := store.Migrate(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	load := func(_ context.Context, id int) (string, error) { return fmt.Sprint("user ", id), nil }
	users, err := cache.New(load, nil, tier.Remote(store, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close() // and the store, not the database
	fmt.Println(users.Get(context.Background(), 123))
}
