package cache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// modes are how c's tiers tell of changes by others.
func modes(c *cache.Cache[string, int]) (all []backend.CoherenceMode) {
	for _, s := range c.Stats().Tiers {
		all = append(all, s.CoherenceMode)
	}
	return all
}

// TestCoherenceModeIsAWord: also of a store that tells nothing, and of a tier that
// is not asked.
func TestCoherenceModeIsAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, tc := range map[string]struct {
			tiers []tier.Tier
			want  []backend.CoherenceMode
		}{
			"tells nothing": {[]tier.Tier{memory(t), tier.Remote(dumb{newServer()}, nil)}, []backend.CoherenceMode{backend.CoherenceOff}},
			"is off": {[]tier.Tier{memory(t), tier.Remote(&late{peer: &peer{Store: memstore.NewStore()}, mode: backend.CoherenceOff}, nil)},
				[]backend.CoherenceMode{backend.CoherenceOff}},
			"is not asked": {[]tier.Tier{memory(t), tier.Remote(memstore.NewStore(), nil), tier.Remote(memstore.NewStore(), nil)},
				[]backend.CoherenceMode{backend.CoherenceOff, memstore.NewStore().CoherenceMode()}},
		} {
			got := modes(open[string, int](t, nil, nil, tc.tiers...))
			for i := range tc.want {
				if len(got) != len(tc.want) || got[i] != tc.want[i] || got[i] == "" {
					t.Errorf("%s: CoherenceMode = %q, want %q", name, got, tc.want)
					break
				}
			}
		}
	})
}

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &late{peer: &peer{Store: memstore.NewStore()}, mode: backend.CoherenceDeaf}
		c := open[string, int](t, nil, nil, memory(t), tier.Remote(l, nil))
		returned := make(chan error)
		ask := func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			t.Cleanup(cancel)
			go func() { returned <- c.Ready(ctx) }()
			synctest.Wait()
			select {
			case err := <-returned:
				t.Fatalf("Ready = %v while nothing is told", err)
			default:
			}
		}
		ask()
		l.on(backend.Invalidation{Kind: backend.Heard})
		ok(t, <-returned)
		ok(t, c.Ready(t.Context()))
		l.on(backend.Invalidation{Kind: backend.Deaf})
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Ready(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Ready = %v while deaf, want the deadline", err)
		}
		ask()
		l.on(backend.Invalidation{Kind: backend.Heard})
		ok(t, <-returned)
		l.on(backend.Invalidation{Kind: backend.Deaf})
		ask()
		ok(t, c.Close())
		if err := <-returned; !errors.Is(err, cache.ErrClosed) {
			t.Errorf("Ready of a cache that is closed meanwhile = %v", err)
		}
		if err := c.Ready(t.Context()); !errors.Is(err, cache.ErrClosed) {
			t.Errorf("Ready of a closed cache = %v", err)
		}
	})
}

// TestReadyWithNothingToHear: it must not wait for what never comes.
func TestReadyWithNothingToHear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ok(t, open[string, int](t, nil, nil, memory(t)).Ready(t.Context()))
		ok(t, open[string, int](t, nil, nil, memory(t), tier.Remote(dumb{newServer()}, nil)).Ready(t.Context()))
	})
}
