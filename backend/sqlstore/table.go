package sqlstore

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"
)

// DDL is what Migrate runs: for those whose schema another tool looks after.
func (s *Store) DDL() string { return strings.Join(s.ddl(), ";\n") + ";\n" }

func (s *Store) ddl() []string {
	if s.logged {
		return s.sql.ddl
	}
	return s.sql.unlogged
}

// Migrate creates the table and its index unless they are there. Any number of
// processes may call it at once. It does not change a table that is there.
func (s *Store) Migrate(ctx context.Context) error {
	return s.do(ctx, func() error {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to undo
		if _, err := tx.ExecContext(ctx, s.sql.migrateLock, "bellwether/sqlstore"); err != nil {
			return err
		}
		for _, statement := range s.ddl() {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return tx.Commit()
	})
}

const sweepBatch = 1000

// Cleanup removes the rows that are over, a thousand a statement, and returns
// how many there were. Several may run at once: each takes what the others do
// not.
func (s *Store) Cleanup(ctx context.Context) (removed int64, err error) {
	for {
		n, err := s.exec(ctx, s.sql.cleanup, sweepBatch)
		removed += n
		if err != nil || n < sweepBatch {
			return removed, err
		}
	}
}

// sweepEvery cleans up about every d, not in step with other processes.
func (s *Store) sweepEvery(ctx context.Context, d time.Duration) {
	for {
		timer := time.NewTimer(d - d/8 + rand.N(d/4+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		n, err := s.Cleanup(limited)
		cancel()
		if s.onSweep != nil && ctx.Err() == nil {
			s.onSweep(n, err)
		}
	}
}
