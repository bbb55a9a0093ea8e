package backendtest

import (
	"fmt"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/kit"
)

func multi(t *kit.T, h StoreHarness) (*leasing, backend.MultiLeaser) {
	l := newLeasing(t, h)
	m, ok := l.Store.(backend.MultiLeaser)
	if !ok {
		t.Fatalf("the store does not implement backend.MultiLeaser")
	}
	return l, m
}

var multiCases = kit.Rules(
	kit.Case[StoreHarness]{
		Name: "multi/lease",
		Rule: "LeaseMulti answers as Lease does, each key for itself and in the order of the questions",
		Run: func(t *kit.T, h StoreHarness) {
			l, m := multi(t, h)
			set(t, l.Store, "there", "v")
			set(t, l.Store, "stale", "old")
			l.fail(1)
			_, err := l.Lease(t.Context(), "held", backend.LeaseRequest{Token: token(1), Owner: "o", TTL: h.lifetime()})
			t.Must(err)
			ask := func(key string, rejected []byte) backend.LeaseAsk {
				return backend.LeaseAsk{Key: key, LeaseRequest: backend.LeaseRequest{Token: token(2), TTL: h.lifetime(), Rejected: rejected}}
			}
			a := m.LeaseMulti(t.Context(), []backend.LeaseAsk{
				ask("free", nil), ask("there", nil), ask("held", nil), ask("k", nil), ask("stale", []byte("old")), ask("stale2", nil),
			})
			for i, ok := range []bool{
				len(a) == 6,
				a[0].Won && a[0].Fence > 0, string(a[1].Value) == "v" && !a[1].Won, !a[2].Won && a[2].Value == nil && a[2].Owner == "o",
				a[3].Cooling != nil && a[3].Cooling.Failures == 1, a[4].Won, a[5].Won,
			} {
				if !ok {
					t.Errorf("LeaseMulti = %+v: wrong at %d", a, i-1)
				}
			}
			for _, x := range a {
				t.Must(x.Err)
			}
			if len(m.LeaseMulti(t.Context(), nil)) != 0 || len(m.CommitMulti(t.Context(), nil)) != 0 {
				t.Errorf("answers without questions")
			}
		},
	},
	kit.Case[StoreHarness]{
		Name: "multi/commit",
		Rule: "CommitMulti answers as Commit does, each key for itself and in the order of the questions",
		Run: func(t *kit.T, h StoreHarness) {
			l, m := multi(t, h)
			l.win(1)
			_, err := l.Lease(t.Context(), "b", backend.LeaseRequest{Token: token(1), TTL: h.lifetime()})
			t.Must(err)
			commit := func(key string, n int) backend.CommitAsk {
				return backend.CommitAsk{Key: key, Token: token(n), Value: []byte("v-" + key), TTL: long}
			}
			a := m.CommitMulti(t.Context(), []backend.CommitAsk{commit("none", 1), commit("k", 1), commit("b", 2)})
			if len(a) != 3 || a[0] != (backend.CommitAnswer{}) || a[1] != (backend.CommitAnswer{OK: true}) || a[2] != (backend.CommitAnswer{}) {
				t.Errorf("CommitMulti = %+v, want only the second written", a)
			}
			get(t, l.Store, "k", "v-k")
			miss(t, l.Store, "none")
			miss(t, l.Store, "b")
		},
	},
	kit.Case[StoreHarness]{
		Name: "multi/many",
		Rule: "a thousand keys at once are fine",
		Run: func(t *kit.T, h StoreHarness) {
			l, m := multi(t, h)
			var asks []backend.LeaseAsk
			var commits []backend.CommitAsk
			for i := range 1000 {
				key := fmt.Sprint("k", i)
				asks = append(asks, backend.LeaseAsk{Key: key, LeaseRequest: backend.LeaseRequest{Token: token(i), TTL: time.Minute}})
				commits = append(commits, backend.CommitAsk{Key: key, Token: token(i), Value: []byte(key), TTL: long})
			}
			for i, a := range m.LeaseMulti(t.Context(), asks) {
				if a.Err != nil || !a.Won {
					t.Fatalf("answer %d = %+v, want it won", i, a)
				}
			}
			for i, a := range m.CommitMulti(t.Context(), commits) {
				if a.Err != nil || !a.OK {
					t.Fatalf("answer %d = %+v, want it written", i, a)
				}
			}
			for i, a := range m.LeaseMulti(t.Context(), asks) {
				if a.Err != nil || string(a.Value) != asks[i].Key {
					t.Fatalf("answer %d = %+v, want the value of its key", i, a)
				}
			}
			get(t, l.Store, "k999", "k999")
		},
	},
	kit.Case[StoreHarness]{
		Name: "multi/context",
		Rule: "a call whose context has ended answers each key with an error",
		Run: func(t *kit.T, h StoreHarness) {
			_, m := multi(t, h)
			for _, a := range m.LeaseMulti(canceled(t), []backend.LeaseAsk{{Key: "a", LeaseRequest: backend.LeaseRequest{Token: token(1), TTL: long}}, {Key: "b"}}) {
				refused(t, "LeaseMulti", a.Err)
			}
			for _, a := range m.CommitMulti(canceled(t), []backend.CommitAsk{{Key: "a", Token: token(1), TTL: long}, {Key: "b", Token: token(1), TTL: long}}) {
				refused(t, "CommitMulti", a.Err)
			}
		},
	},
)
