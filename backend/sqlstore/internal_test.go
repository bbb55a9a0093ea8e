package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

// TestTakeLooksAgain: what came between the look and the statement that takes
// the lease is not run over.
func TestTakeLooksAgain(t *testing.T) {
	db, err := sql.Open("pgx", servertest.Postgres(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := New(db, Postgres, &Options{MaxValue: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	lease := func(token string) {
		if r, err := s.Lease(ctx, "k", backend.LeaseRequest{Token: token, TTL: time.Minute}); err != nil || !r.Won {
			t.Fatalf("Lease = %+v, %v", r, err)
		}
	}
	for _, tc := range []struct {
		name     string
		before   func() error
		rejected []byte
		won      bool
	}{
		{"free", func() error { return nil }, nil, true},
		{"held", func() error { lease("other"); return nil }, nil, false},
		{"our own", func() error { lease("ours"); return nil }, nil, true},
		{"cooling", func() error {
			lease("other")
			_, err := s.Release(ctx, "k", "other", backend.Failure{CoolDown: time.Minute})
			return err
		}, nil, false},
		{"fresh", func() error { return s.Set(ctx, "k", []byte("value"), time.Minute) }, nil, false},
		{"fresh, another rejected", func() error { return s.Set(ctx, "k", []byte("value"), time.Minute) }, []byte("old"), false},
		{"fresh, too long a prefix", func() error { return s.Set(ctx, "k", []byte("value"), time.Minute) }, []byte("value1"), false},
		{"rejected", func() error { return s.Set(ctx, "k", []byte("value"), time.Minute) }, []byte("val"), true},
		{"any rejected", func() error { return s.Set(ctx, "k", []byte("value"), time.Minute) }, []byte{}, true},
	} {
		if err := errors.Join(s.Delete(ctx, "k"), tc.before()); err != nil {
			t.Fatal(err)
		}
		var fence int64
		err := s.query(ctx, s.sql.take, []any{column("k"), "ours", micros(time.Minute), 0, []byte{}, []byte{}, orNull(tc.rejected), s.max}, &fence)
		if won := err == nil && fence > 0; won != tc.won || !won && !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("%s: taken: %t, %v, want %t", tc.name, won, err, tc.won)
		}
	}

	// A key that no compression makes fit into an index.
	long := make([]byte, 1<<16)
	for i := range long {
		long[i] = byte(rand.IntN(256))
	}
	if err := s.Set(ctx, string(long), []byte("v"), time.Minute); err != nil {
		t.Errorf("Set with a long key = %v", err)
	}
}

type stateError string

func (e stateError) Error() string    { return "secret" }
func (e stateError) SQLState() string { return string(e) }

func TestErrorsAreTold(t *testing.T) {
	for _, tc := range []struct {
		err         error
		unavailable bool
	}{
		{stateError("08006"), true}, {stateError("57P01"), true}, {stateError("57P02"), true}, {stateError("57P03"), true},
		{stateError("53300"), true}, {stateError("57014"), false}, {stateError("42P01"), false}, {stateError("53100"), false},
		{fmt.Errorf("%w: %w", context.Canceled, stateError("57014")), true},
		{context.DeadlineExceeded, true}, {sql.ErrConnDone, true}, {errors.New("dial"), true},
	} {
		err := wrap(tc.err)
		if errors.Is(err, backend.ErrUnavailable) != tc.unavailable || !errors.Is(err, tc.err) {
			t.Errorf("wrap(%q) = %v, want it unavailable: %t", state(tc.err), err, tc.unavailable)
		}
		if !tc.unavailable && strings.Contains(err.Error(), "secret") {
			t.Errorf("wrap(%q) = %v, which quotes the database", state(tc.err), err)
		}
	}
}

// TestTriedAgain: what the database has undone in favour of another, a few
// times, and nothing else.
func TestTriedAgain(t *testing.T) {
	for code, want := range map[string]int{"40001": 3, "40P01": 3, "42P01": 1} {
		ran := 0
		err := new(Store).do(t.Context(), func() error {
			if ran++; ran < 3 {
				return stateError(code)
			}
			return nil
		})
		if ran != want || (err == nil) != (want == 3) {
			t.Errorf("after %s it ran %d times, %v, want %d", code, ran, err, want)
		}
	}
	ran := 0
	if err := new(Store).do(t.Context(), func() error { ran++; return stateError("40001") }); ran != tries || err == nil {
		t.Errorf("it ran %d times, %v, want %d and an error", ran, err, tries)
	}
}
