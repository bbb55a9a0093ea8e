package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bellwethercache/bellwether/backend"
)

// exec runs a statement and returns how many rows it has touched.
func (s *Store) exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.do(ctx, func() error {
		r, err := s.db.ExecContext(ctx, query, args...)
		if err == nil {
			n, err = r.RowsAffected()
		}
		return err
	})
	return n, err
}

// query runs a statement that gives a row at most, into dest. Without one it
// returns sql.ErrNoRows.
func (s *Store) query(ctx context.Context, query string, args []any, dest ...any) error {
	return s.do(ctx, func() error { return s.db.QueryRowContext(ctx, query, args...).Scan(dest...) })
}

const tries = 5

// do runs a statement, and again if the database has undone it in favour of
// another and asks for that.
func (s *Store) do(ctx context.Context, run func() error) (err error) {
	for range tries {
		if err := s.usable(ctx); err != nil {
			return err
		}
		err = run()
		if code := state(err); code != "40001" && code != "40P01" {
			break
		}
	}
	return wrap(err)
}

// ServerError is a refusal by the database itself.
type ServerError struct {
	Code string // the SQLSTATE: 42P01, 42501, 53100, ...
	err  error
}

// Error names the refusal without quoting the database, which may quote keys.
func (e *ServerError) Error() string { return "sqlstore: database refused: " + e.Code }

// Unwrap gives the driver's error.
func (e *ServerError) Unwrap() error { return e.err }

// state is the SQLSTATE of an error that carries one, as those of Postgres's
// drivers do.
func state(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// wrap classifies a driver's error. Whatever is not the database's own word on
// the statement is joined with backend.ErrUnavailable.
func wrap(err error) error {
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		return err
	}
	code := state(err)
	switch {
	case code == "", // the network, the pool, the context
		code[:min(2, len(code))] == "08",                  // connection exceptions
		code == "57P01", code == "57P02", code == "57P03", // shutting down, crashed, starting up
		code == "53300", code == "57014" && isContextError(err): // too many connections; canceled, by us
		return fmt.Errorf("sqlstore: %w: %w", backend.ErrUnavailable, err)
	}
	return &ServerError{Code: code, err: err}
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
