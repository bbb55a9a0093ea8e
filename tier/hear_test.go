package tier_test

import (
	"context"
	"slices"
	"testing"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/tier"
)

// teller is a store that tells what the test has it tell.
type teller struct {
	*memstore.Store
	on func(backend.Invalidation)
}

func (s *teller) Invalidations(_ backend.Interest, on func(backend.Invalidation)) func() {
	s.on = on
	return func() {}
}

func TestHearingIsReportedOnceAChange(t *testing.T) {
	var got []tier.Hearing
	hooks := &tier.Hooks{Hearing: func(_ context.Context, h tier.Hearing) { got = append(got, h) }}
	st := &teller{Store: memstore.NewStore()}
	newStack(t, hooks, tier.Local(memstore.NewMemory(10), nil), tier.Remote(st, nil))
	for _, kind := range []backend.InvalidationKind{
		backend.Deaf, backend.Heard, backend.Heard, backend.Deaf, backend.Deaf, backend.Heard,
	} {
		st.on(backend.Invalidation{Kind: kind})
	}
	want := []tier.Hearing{{Tier: 2, Heard: true}, {Tier: 2}, {Tier: 2, Heard: true}}
	if !slices.Equal(got, want) {
		t.Errorf("Hearing: %v, want %v", got, want)
	}
	newStack(t, nil, tier.Local(memstore.NewMemory(10), nil), tier.Remote(st, nil))
	st.on(backend.Invalidation{Kind: backend.Heard}) // nobody is told, and nothing breaks
}

func TestLocalStats(t *testing.T) {
	type uncounted struct{ backend.Memory }
	s := newStack(t, nil,
		tier.Local(memstore.NewMemory(3), nil), tier.Local(&uncounted{memstore.NewMemory(3)}, nil))
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		s.SetLocal(key, entry(key, 1e9, 1e9))
	}
	want := []tier.LocalStats{{Counted: true, Entries: 3, Evicted: 2}, {}}
	if got := s.LocalStats(); !slices.Equal(got, want) {
		t.Errorf("LocalStats = %+v, want %+v", got, want)
	}
}
