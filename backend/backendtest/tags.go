package backendtest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// stamp stamps tags and returns their stamps, which must have become those.
func stamp(t *kit.T, s backend.Store, expire bool, tags ...string) uint64 {
	t.Helper()
	g, ok := s.(backend.Tagger)
	if !ok {
		t.Fatalf("the store does not implement backend.Tagger")
	}
	n, err := g.StampTags(t.Context(), expire, tags...)
	t.Must(err)
	return n
}

func stamps(t *kit.T, s backend.Store, tags ...string) []backend.TagStamp {
	t.Helper()
	all, err := s.(backend.Tagger).TagStamps(t.Context(), tags...) //nolint:forcetypeassert // stamp has looked
	t.Must(err)
	if len(all) != len(tags) {
		t.Fatalf("TagStamps of %d tags = %d stamps", len(tags), len(all))
	}
	return all
}

var tagCases = kit.Rules(
	kit.Case[StoreHarness]{
		Name: "tags/stamps",
		Rule: "a tag keeps the last stamp of each kind, as StampTags has returned it; one that was never stamped has 0",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			a := stamp(t, s, false, "red", "blue\x00:{}", strings.Repeat("t", 2000))
			b := stamp(t, s, true, "red")
			c := stamp(t, s, false, "green")
			if a == 0 || b <= a || c <= b {
				t.Errorf("stamps %d, %d, %d, want them to rise", a, b, c)
			}
			got := stamps(t, s, "red", "blue\x00:{}", "never", strings.Repeat("t", 2000), "green", "")
			want := []backend.TagStamp{{Removed: a, Expired: b}, {Removed: a}, {}, {Removed: a}, {Removed: c}, {}}
			if !slices.Equal(got, want) {
				t.Errorf("TagStamps = %v, want %v", got, want)
			}
		},
	},
	kit.Case[StoreHarness]{
		Name: "tags/all",
		Rule: `the tag "" is stamped as others are, and its removal makes no other stamp younger`,
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			stamp(t, s, false, "red")
			x := stamp(t, s, true, "")
			a := stamp(t, s, false, "")
			if got := stamps(t, s, ""); got[0].Removed != a || got[0].Expired != x && got[0].Expired != 0 {
				t.Errorf("TagStamps = %v, want removed %d, expired %d or, as it no longer matters, 0", got, a, x)
			}
			if got := stamps(t, s, "red")[0]; got.Removed > a {
				t.Errorf("TagStamps = %v, want no more than %d", got, a)
			}
			b := stamp(t, s, false, "blue")
			if got := stamps(t, s, "", "blue"); got[0].Removed != a || got[1].Removed != b {
				t.Errorf("TagStamps = %v, want %d and %d", got, a, b)
			}
		},
	},
	kit.Case[StoreHarness]{
		Name: "tags/time",
		Rule: "a stamp is greater than every AsOf and every fence that was given before, and no greater than those that come after it",
		Run: func(t *kit.T, h StoreHarness) {
			s := h.New(t.TB)
			g, ok := s.(backend.Tagger)
			if !ok {
				t.Fatalf("the store does not implement backend.Tagger")
			}
			fence := func(n int) uint64 {
				l, ok := s.(backend.Leaser)
				if !ok || !h.Leases {
					return 0
				}
				r, err := l.Lease(t.Context(), "key"+string(rune('a'+n)), backend.LeaseRequest{Token: token(n + 1), TTL: long})
				t.Must(err)
				return r.Fence
			}
			step := 2 * time.Millisecond
			if h.Advance != nil { // a clock that stands still is left behind by estimates
				step = time.Second
			}
			for i := range 5 {
				before, err := g.AsOf(t.Context())
				t.Must(err)
				won := fence(2 * i)
				h.pass(step)
				n := stamp(t, s, i%2 == 0, "tag")
				if n <= before || n <= won {
					t.Fatalf("stamp %d, want more than AsOf %d and fence %d", n, before, won)
				}
				h.pass(step)
				after, err := g.AsOf(t.Context())
				t.Must(err)
				if later := fence(2*i + 1); after <= n || h.Leases && later <= n {
					t.Fatalf("AsOf %d and fence %d after stamp %d, want more", after, later, n)
				}
			}
		},
	},
	kit.Case[StoreHarness]{
		Name: "tags/told",
		Rule: `a peer's stamps are told as they are, and the stamp of the tag "" with Heard`,
		Run: func(t *kit.T, h StoreHarness) {
			if h.Peer == nil {
				return
			}
			s := h.New(t.TB)
			p := h.Peer(t.TB, s)
			e := listen(t, h, s, keysAndTags)
			a := stamp(t, p, false, "red", "blue")
			b := stamp(t, p, true, "")
			for _, want := range []backend.Invalidation{
				{Tag: "red", Stamp: backend.TagStamp{Removed: a}}, {Tag: "blue", Stamp: backend.TagStamp{Removed: a}}, {Stamp: backend.TagStamp{Expired: b}},
			} {
				e.expect(fmt.Sprintf("the stamp %v of the tag %q", want.Stamp, want.Tag), func(inv backend.Invalidation) bool {
					return inv.Kind == backend.TagStamped && inv.Tag == want.Tag && inv.Stamp == want.Stamp
				})
			}
			var all backend.TagStamp
			late := s.(backend.Invalidator) //nolint:forcetypeassert // listen has looked
			heard := make(chan struct{})
			var once sync.Once
			stop := late.Invalidations(keysAndTags, func(inv backend.Invalidation) {
				if inv.Kind == backend.Heard { // what was told before may be told again
					once.Do(func() { all = inv.Stamp; close(heard) })
				}
			})
			defer stop()
			<-heard
			if all.Expired != b {
				t.Errorf("Heard with stamp %v, want expired %d", all, b)
			}
		},
	},
	kit.Case[StoreHarness]{
		Name: "tags/context",
		Rule: "a call whose context has ended returns an error",
		Run: func(t *kit.T, h StoreHarness) {
			g, ok := h.New(t.TB).(backend.Tagger)
			if !ok {
				t.Fatalf("the store does not implement backend.Tagger")
			}
			_, err := g.StampTags(canceled(t), false, "tag")
			refused(t, "StampTags", err)
			_, err = g.TagStamps(canceled(t), "tag")
			refused(t, "TagStamps", err)
		},
	},
)
