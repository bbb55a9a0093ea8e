package sqlstore

import (
	"fmt"
	"strings"
	"time"
)

// Dialect is how a kind of database is spoken to. The zero value is none.
type Dialect struct {
	statements func(table, index string) statements
}

// Postgres is PostgreSQL 12 or later, and what understands its SQL, with any
// driver that takes []byte for bytea, as pgx and lib/pq do.
var Postgres = Dialect{statements: postgres}

// statements are the operations, each atomic. Arguments are numbered in the
// order of their names here.
type statements struct {
	migrateLock string   // taken by those who migrate, until their transaction ends
	ddl         []string // of a table that is logged
	unlogged    []string

	now     string             // → now
	read    string             // key → columns of row
	take    string             // key, token, ttl, usual, owner, tag, rejected, most bytes → fence, if won
	commit  string             // key, token, value, ttl
	renew   string             // key, token, ttl
	release string             // key, token
	fail    string             // key, token, cool-down, longest, why
	set     string             // key, value, ttl
	swap    string             // key, old, value, ttl
	holds   string             // key, value → 1, if it is there
	delete  func(n int) string // keys
	cleanup string             // most
}

const (
	grace    = 10 * time.Minute // a row is kept after what it holds has ended
	rowFor   = time.Hour        // a row of failures is remembered, from the last lease on
	failures = 9999             // at most
)

func postgres(table, index string) statements {
	r := strings.NewReplacer(
		"{t}", table, "{index}", index,
		// One value a statement, also in its retries after waiting for a row.
		"{now}", "(extract(epoch from statement_timestamp())*1000000)::bigint",
		"{grace}", fmt.Sprint(grace.Microseconds()), "{rowFor}", fmt.Sprint(rowFor.Microseconds()), "{most}", fmt.Sprint(failures),
		"{end}", "token = NULL, since = 0, lease_until = 0, usual = 0, owner = NULL, tag = NULL, cool_until = 0, why = NULL",
		"{mine}", "key = $1 AND (token = $2 OR token || '|' || fence = $2) AND lease_until > (extract(epoch from statement_timestamp())*1000000)::bigint",
		// The failures before this one, if they are not forgotten.
		"{before}", "(CASE WHEN fence < (extract(epoch from statement_timestamp())*1000000)::bigint - "+fmt.Sprint(rowFor.Microseconds())+" THEN 0 ELSE failures END)",
	).Replace
	ddl := func(kind string) []string {
		return []string{
			r(`CREATE ` + kind + `TABLE IF NOT EXISTS {t} (
	key         bytea  PRIMARY KEY,
	value       bytea,
	value_until bigint NOT NULL DEFAULT 0,
	token       text,
	fence       bigint NOT NULL DEFAULT 0,
	since       bigint NOT NULL DEFAULT 0,
	lease_until bigint NOT NULL DEFAULT 0,
	usual       bigint NOT NULL DEFAULT 0,
	owner       bytea,
	tag         bytea,
	failures    bigint NOT NULL DEFAULT 0,
	cool_until  bigint NOT NULL DEFAULT 0,
	why         bytea,
	keep_until  bigint NOT NULL
) WITH (fillfactor = 80)`),
			r(`CREATE INDEX IF NOT EXISTS {index} ON {t} (keep_until)`),
		}
	}
	return statements{
		migrateLock: `SELECT pg_advisory_xact_lock(hashtext($1))`,
		ddl:         ddl(""),
		unlogged:    ddl("UNLOGGED "),

		now: r(`SELECT {now}`),
		read: r(`SELECT {now}, CASE WHEN length(value) <= $2 THEN value END, value_until, coalesce(token, ''), since, lease_until, usual,
	coalesce(owner, ''), coalesce(tag, ''), failures, cool_until, coalesce(why, '') FROM {t} WHERE key = $1`),

		// excluded.since is now. Our own token takes it again, with the fence
		// that it has: its first reply may have been lost.
		take: r(`INSERT INTO {t} AS e (key, token, fence, since, lease_until, usual, owner, tag, keep_until)
VALUES ($1, $2, {now}, {now}, {now} + $3, $4, $5, $6, {now} + $3 + {rowFor})
ON CONFLICT (key) DO UPDATE SET
	fence = CASE WHEN e.token = excluded.token AND e.lease_until > excluded.since THEN e.fence ELSE greatest(e.fence + 1, excluded.fence) END,
	since = CASE WHEN e.token = excluded.token AND e.lease_until > excluded.since THEN e.since ELSE excluded.since END,
	token = excluded.token, lease_until = excluded.lease_until, usual = excluded.usual, owner = excluded.owner, tag = excluded.tag,
	failures = CASE WHEN e.fence < excluded.since - {rowFor} THEN 0 ELSE e.failures END,
	cool_until = 0, why = NULL, keep_until = greatest(e.keep_until, excluded.keep_until)
WHERE (e.token IS NULL OR e.lease_until <= excluded.since OR e.token = excluded.token)
	AND e.cool_until <= excluded.since
	AND (e.value IS NULL OR e.value_until <= excluded.since OR length(e.value) > $8
		OR substring(e.value FROM 1 FOR length($7::bytea)) = $7::bytea)
RETURNING fence`),

		commit: r(`UPDATE {t} SET value = $3, value_until = {now} + $4, {end}, failures = 0, keep_until = {now} + $4 + {grace} WHERE {mine}`),
		renew:  r(`UPDATE {t} SET lease_until = {now} + $3, keep_until = greatest(keep_until, {now} + $3) WHERE {mine}`),

		release: r(`UPDATE {t} SET {end} WHERE {mine}`),
		fail: r(`UPDATE {t} SET token = NULL, since = 0, lease_until = 0, usual = 0, owner = NULL, tag = NULL,
	failures = least({before} + 1, {most}), why = $5,
	cool_until = {now} + least($4::float8, $3::float8 * power(2, least({before}, 62)))::bigint,
	keep_until = greatest(keep_until, {now} + $4::bigint + {rowFor}) WHERE {mine}`),

		set: r(`INSERT INTO {t} AS e (key, value, value_until, keep_until) VALUES ($1, $2, {now} + $3, {now} + $3 + {grace})
ON CONFLICT (key) DO UPDATE SET value = excluded.value, value_until = excluded.value_until, {end}, keep_until = excluded.keep_until`),
		swap: r(`UPDATE {t} SET value = $3, value_until = {now} + $4, {end}, keep_until = {now} + $4 + {grace}
WHERE key = $1 AND value_until > {now} AND substring(value FROM 1 FOR length($2::bytea)) = $2::bytea`),
		holds: r(`SELECT 1 FROM {t} WHERE key = $1 AND value_until > {now} AND value = $2`),

		// The rows are locked in the order of their keys, or two of these
		// could wait for each other. The last fence stays.
		delete: func(n int) string {
			in := make([]string, n)
			for i := range in {
				in[i] = fmt.Sprintf("$%d", i+1)
			}
			return r(`WITH rows AS (SELECT key AS k FROM {t} WHERE key IN (` + strings.Join(in, ", ") + `) ORDER BY key FOR UPDATE)
UPDATE {t} SET value = NULL, value_until = 0, {end}, keep_until = {now} + {grace} FROM rows WHERE key = rows.k`)
		},
		cleanup: r(`DELETE FROM {t} WHERE key IN (
	SELECT key FROM {t} WHERE keep_until < {now} ORDER BY keep_until LIMIT $1 FOR UPDATE SKIP LOCKED)`),
	}
}
