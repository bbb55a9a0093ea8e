// Package sqlstore keeps entries in a table of a SQL database, and with them
// the leases that decide who loads: for those who have a database that all
// their processes reach, and want no other server. It implements backend.Store,
// backend.Leaser, backend.Swapper and backend.Clock.
//
//	db, err := sql.Open("pgx", url) // the driver is yours
//	store, err := sqlstore.New(db, sqlstore.Postgres, nil)
//	err = store.Migrate(ctx)
//	users, err := cache.New(loadUser, nil, tier.Remote(store, nil))
//
// # What it is for
//
// A shared tier where a load costs much more than a query: a hit costs one
// SELECT by primary key, which is some ten times what Valkey takes.
//
// # Stampede protection there
//
// One process loads and the others wait, as with Valkey: the lease is in the
// key's row, taken and given up by one statement each. Those who wait are not
// woken: they look again and again.
//
// # The table
//
// [Store.Migrate] creates it, or your own tool does from [Store.DDL]. Each key
// has one row, so that every operation is one statement, atomic without a
// transaction:
//
//	key          bytea, primary key: "=" and the key, or "#" and the SHA-256 of one of more than 1 KiB
//	value        bytea: the entry
//	value_until  when it ends; all times are microseconds since 1970, by the database's clock
//	token, since, lease_until, usual, owner, tag
//	             the lease of the key's load
//	fence        the last one, and so about when the last load began
//	failures     of loads, in a row
//	cool_until, why
//	             the cool-down after the last of them
//	keep_until   when [Store.Cleanup] may remove the row; indexed
//
// By default the table is UNLOGGED: writing costs no log, and after a crash of
// the database, or on a replica that is promoted, it is empty. A cache can bear
// that. Options.Logged keeps it.
//
// Rows are removed 10 minutes after what they hold has ended (an hour after a
// lease), by each store in turn every Options.SweepEvery.
//
// # The database
//
// Operations expect the isolation level READ COMMITTED, Postgres's default; with
// a stricter one they are tried again a few times when the database asks for it.
// They are written for a connection pool, also one between: no session state, no
// transactions, no locks that outlive a statement. Set db.SetMaxOpenConns, and
// give the pool some idle connections.
//
// Rights: SELECT, INSERT, UPDATE and DELETE on the table; CREATE on its schema
// for Migrate.
//
// # Limits
//
//   - Wake-ups. There are none: those who wait for a lease look again and again,
//     at one SELECT each. A dead holder's lease ends with its time.
//   - Fences rise by max(last+1, the database's clock), through all but this: the
//     row is gone (a crash of an UNLOGGED table, a promoted replica, Cleanup) and
//     the database's clock has been set back behind the last one.
//   - Size. An entry is at most Options.MaxValue.
//
// # Settings
//
// Options.Table must be another one for each type of entries. Options.Logged is
// for a table that is to survive a crash or a failover of the database, and
// Options.SweepEvery for how soon expired rows give their room back. The pool's
// size bounds how many ask at once.
package sqlstore
