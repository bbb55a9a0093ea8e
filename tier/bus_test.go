package tier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/tier"
)

// untold leases many keys at once and tells of no change. The reply to the commit
// of one key is lost.
type untold struct {
	backend.Store
	backend.Leaser
	backend.MultiLeaser
	lost string
}

func (s *untold) CommitMulti(ctx context.Context, asks []backend.CommitAsk) []backend.CommitAnswer {
	answers := s.MultiLeaser.CommitMulti(ctx, asks)
	for i, a := range asks {
		if a.Key == s.lost {
			answers[i] = backend.CommitAnswer{Err: backend.ErrUnavailable}
		}
	}
	return answers
}

// TestManyCommitsAreToldOverABus: each that has replaced something, or may have,
// and no other.
func TestManyCommitsAreToldOverABus(t *testing.T) {
	under := memstore.NewStore()
	bus := memstore.NewBus()
	var mu sync.Mutex
	told := make(map[string][]backend.Invalidation)
	stop := bus.Peer().Invalidations(backend.Interest{Keys: true}, func(inv backend.Invalidation) {
		if inv.Kind != backend.KeyChanged {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		told[inv.Key] = append(told[inv.Key], inv)
	})
	defer stop()
	s := newStack(t, nil, tier.Local(memstore.NewMemory(10), nil),
		tier.Remote(&untold{Store: under, Leaser: under, MultiLeaser: under, lost: "perhaps"}, &tier.RemoteOptions{Bus: bus}))

	var asks []backend.LeaseAsk
	var commits []tier.CommitOne[string]
	for i, key := range []string{"a", "b", "perhaps", "late"} {
		token := fmt.Sprintf("%032x", i+1)
		asks = append(asks, backend.LeaseAsk{Key: key, LeaseRequest: backend.LeaseRequest{Token: token, TTL: time.Minute}})
		commits = append(commits, tier.CommitOne[string]{Key: key, Token: token, Entry: entry("v"+key, time.Minute, time.Hour)})
	}
	replies, errs := s.LeaseMulti(t.Context(), asks)
	for i, r := range replies {
		if !r.Won || errs[i] != nil {
			t.Fatalf("LeaseMulti of %s = %+v, %v", asks[i].Key, r, errs[i])
		}
	}
	if err := under.Delete(t.Context(), "late"); err != nil { // ends its lease
		t.Fatal(err)
	}
	oks, errs := s.CommitMulti(t.Context(), commits)
	for i, want := range []struct {
		ok  bool
		err error
	}{{true, nil}, {true, nil}, {false, backend.ErrUnavailable}, {false, nil}} {
		if oks[i] != want.ok || !errors.Is(errs[i], want.err) {
			t.Errorf("CommitMulti of %s = %t, %v, want %t, %v", commits[i].Key, oks[i], errs[i], want.ok, want.err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, key := range []string{"a", "b", "perhaps"} {
		v, err := under.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if n := told[key]; len(n) != 1 || n[0].Unsure || len(n[0].Head) != backend.HeadLen || !bytes.HasPrefix(v, n[0].Head) {
			t.Errorf("told of %s: %+v, want one piece of news with the head of what it holds", key, n)
		}
	}
	if n := told["late"]; len(n) > 0 {
		t.Errorf("told of a commit that has changed nothing: %+v", n)
	}
}

// TestUnsureNewsMeetsTheEndOfARead: the read is no longer under way, and what it
// has brought is in memory: in this order the two are looked at.
func TestUnsureNewsMeetsTheEndOfARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &teller{Store: memstore.NewStore()}
		var s *tier.Stack[string, string]
		news := tier.News{
			Changed: func(_ string, _ uint64, drop func()) { drop() },
			Busy:    func(key string) bool { s.SetLocal(key, entry("old", time.Minute, time.Hour)); return false },
		}
		var err error
		s, err = tier.NewStack(tier.Config[string, string]{
			Key: func(s string) string { return s }, Parse: func(s string) (string, bool) { return s, true },
			Codec: codec.String(), Hooks: &tier.Hooks{}, News: news,
		}, tier.Local(memstore.NewMemory(10), nil), tier.Remote(st, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		st.on(backend.Invalidation{Kind: backend.Heard})
		st.on(backend.Invalidation{Kind: backend.KeyChanged, Key: "k", Unsure: true})
		synctest.Wait()
		if e, ok := s.Local("k"); ok {
			t.Errorf("memory has %q, which is not in the store", e.Value)
		}
	})
}
