package backendtest

import (
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/kit"
)

func swap(t *kit.T, s backend.Store, old, value string, ttl time.Duration, want bool) {
	t.Helper()
	w, ok := s.(backend.Swapper)
	if !ok {
		t.Fatalf("the store does not implement backend.Swapper")
	}
	if ok, err := w.Swap(t.Context(), "k", []byte(old), []byte(value), ttl); err != nil || ok != want {
		t.Errorf("Swap = %t, %v, want %t, nil", ok, err, want)
	}
}

var swapCases = kit.Rules(
	kit.Case[StoreHarness]{
		Name: "swap/compares",
		Rule: "Swap writes only if what is there begins with old; repeated after a lost reply it still reports true",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			swap(t, s, "", "new", long, false)
			miss(t, s, "k")
			set(t, s, "k", "old-1")
			swap(t, s, "other", "new", long, false)
			swap(t, s, "old-1+", "new", long, false)
			get(t, s, "k", "old-1")
			swap(t, s, "old", "new", long, true)
			get(t, s, "k", "new")
			swap(t, s, "old", "new", long, true)
			swap(t, s, "old", "newer", long, false)
			get(t, s, "k", "new")
		},
	},
	kit.Case[StoreHarness]{
		Name: "swap/ttl",
		Rule: "Swap replaces the ttl together with the value",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			set(t, s, "k", "old")
			swap(t, s, "old", "new", h.lifetime(), true)
			h.pass(h.lifetime() + 10*time.Millisecond)
			miss(t, s, "k")
		},
	},
	kit.Case[StoreHarness]{
		Name: "swap/context",
		Rule: "a call whose context has ended returns an error",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			set(t, s, "k", "old")
			_, err := s.(backend.Swapper).Swap(canceled(t), "k", nil, []byte("new"), long) //nolint:forcetypeassert // a panic is a failure
			refused(t, "Swap", err)
			get(t, s, "k", "old")
		},
	},
	kit.Case[StoreHarness]{
		Name: "swap/lease",
		Rule: "Swap ends the key's lease if it writes, and only then",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			if !h.Leases {
				return
			}
			l := &leasing{Store: s, Leaser: s.(backend.Leaser), t: t, h: h} //nolint:forcetypeassert // the harness says so
			set(t, s, "k", "old")
			if r := l.ask(1, []byte("old")...); !r.Won {
				t.Fatalf("Lease = %+v, want it won", r)
			}
			swap(t, s, "other", "new", long, false)
			l.renew(1, true)
			swap(t, s, "old", "new", long, true)
			l.commit(1, "loaded", false)
			get(t, s, "k", "new")
		},
	},
)

var swapWakeCases = kit.Rules(
	wakeCase("swap", "Swap during a load wakes those who wait",
		func(t *kit.T, l *leasing) {
			set(t, l.Store, "k", "old")
			if r := l.ask(1, []byte("old")...); !r.Won {
				t.Fatalf("Lease = %+v, want it won", r)
			}
			b := l.watch("k")
			r, err := l.Lease(t.Context(), "k", backend.LeaseRequest{Token: token(2), TTL: l.h.lifetime(), Watch: true, Rejected: []byte("old")})
			t.Must(err)
			if !r.Pushed {
				t.Fatalf("Lease = %+v, want its end to be told", r)
			}
			swap(t, l.Store, "old", "new", long, true)
			b.again()
		}),
)
