package tier_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/tier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a memstore that can be told to fail or to hang.
type store struct {
	*memstore.Store
	mu   sync.Mutex
	fail error
	hang bool
	gets int
}

func newStore() *store { return &store{Store: memstore.NewStore()} }

func (s *store) set(fail error, hang bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.hang = fail, hang
}

func (s *store) Get(ctx context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	s.gets++
	fail, hang := s.fail, s.hang
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if fail != nil {
		return nil, fail
	}
	return s.Store.Get(ctx, key)
}

func newStack(t *testing.T, hooks *tier.Hooks, tiers ...tier.Tier) *tier.Stack[string, string] {
	t.Helper()
	if hooks == nil {
		hooks = &tier.Hooks{}
	}
	s, err := tier.NewStack(tier.Config[string, string]{Key: func(s string) string { return s }, Codec: codec.String(), Hooks: hooks}, tiers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func entry(v string, fresh, lives time.Duration) *tier.Entry[string] {
	return &tier.Entry[string]{Value: v, FreshFor: fresh, LivesFor: lives}
}

func TestEntriesSurviveTheTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, nil, tier.Local(memstore.NewMemory(10), nil), tier.Remote(newStore(), nil))
		in := entry("v", time.Minute, time.Hour)
		in.Fence, in.Cost, in.Age = 7, 300*time.Millisecond, time.Second
		in.Meta = &tier.Meta{Tags: []string{"a"}, ETag: "e", LastModified: time.UnixMicro(1e15)}
		s.SetLocal("k", in)
		if err := s.SetRemote(t.Context(), "k", in, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		near, ok := s.Local("k")
		far, err := s.Look(t.Context(), "k", false, nil)
		if !ok || err != nil || !far.Found || far.Index != 2 {
			t.Fatalf("Local %t, Look %t in tier %d, %v", ok, far.Found, far.Index, err)
		}
		for where, e := range map[string]tier.Entry[string]{"near": near, "far": far.Entry} {
			if e.Value != "v" || e.Age != 11*time.Second || e.FreshFor != 50*time.Second || e.LivesFor != time.Hour-10*time.Second ||
				e.Fence != 7 || e.Cost != in.Cost || e.Meta.ETag != "e" || !slices.Equal(e.Meta.Tags, in.Meta.Tags) || !e.Meta.LastModified.Equal(in.Meta.LastModified) {
				t.Errorf("%s: %+v %+v", where, e, e.Meta)
			}
		}
	})
}

func TestStaleIsFoundAndNotFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, nil, tier.Local(memstore.NewMemory(10), nil), tier.Remote(newStore(), nil))
		e := entry("v", time.Minute, time.Hour)
		s.SetLocal("k", e)
		_ = s.SetRemote(t.Context(), "k", e, 0)
		time.Sleep(time.Minute)
		if _, ok := s.Fresh("k"); ok {
			t.Error("Fresh gives what is stale")
		}
		near, ok := s.Local("k")
		far, _ := s.Look(t.Context(), "k", false, nil)
		if !ok || near.Fresh() || !far.Found || far.Entry.Fresh() {
			t.Errorf("near %t fresh %t, far %t fresh %t, want both found and stale", ok, near.Fresh(), far.Found, far.Entry.Fresh())
		}
		time.Sleep(time.Hour)
		if _, ok := s.Local("k"); ok {
			t.Error("expired and found")
		}
	})
}

func TestMaxTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, nil, tier.Local(memstore.NewMemory(10), &tier.LocalOptions{MaxTTL: time.Second}),
			tier.Remote(newStore(), &tier.RemoteOptions{MaxTTL: time.Minute}))
		e := entry("v", time.Hour, 2*time.Hour)
		s.SetLocal("k", e)
		_ = s.SetRemote(t.Context(), "k", e, 0)
		near, _ := s.Local("k")
		far, _ := s.Look(t.Context(), "k", false, nil)
		if near.FreshFor != time.Second || near.LivesFor != time.Second || far.Entry.LivesFor != time.Minute {
			t.Errorf("near %v %v, far %v", near.FreshFor, near.LivesFor, far.Entry.LivesFor)
		}
	})
}

func TestThreeTiers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, shared := newStore(), newStore()
		s := newStack(t, nil, tier.Local(memstore.NewMemory(10), nil), tier.Remote(disk, nil), tier.Remote(shared, nil))
		e := entry("v", time.Minute, time.Minute)
		if err := s.SetRemote(t.Context(), "k", e, 0); err != nil {
			t.Fatal(err)
		}
		_ = disk.Delete(t.Context(), "k")
		look, err := s.Look(t.Context(), "k", false, nil)
		if !look.Found || look.Index != 3 || err != nil {
			t.Fatalf("found %t in tier %d, %v, want 3", look.Found, look.Index, err)
		}
		if err := s.SetRemote(t.Context(), "k", &look.Entry, look.Index); err != nil { // up
			t.Fatal(err)
		}
		if look, _ = s.Look(t.Context(), "k", false, nil); look.Index != 2 {
			t.Errorf("then in tier %d, want 2", look.Index)
		}
		disk.set(errors.New("broken"), false)
		if look, err := s.Look(t.Context(), "k", false, nil); !look.Found || look.Index != 3 || err != nil {
			t.Errorf("with a broken tier 2: found %t in tier %d, %v, want it passed by", look.Found, look.Index, err)
		}
	})
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []bool
		var skipped int
		hooks := &tier.Hooks{
			Breaker: func(_ context.Context, i tier.Breaker) { changes = append(changes, i.Open) },
			OpDone: func(_ context.Context, i tier.OpDone) {
				if i.Skipped {
					skipped++
				}
			},
		}
		st := newStore()
		s := newStack(t, hooks, tier.Remote(st, nil))
		ask := func() error { _, err := s.Look(t.Context(), "k", false, nil); return err }
		st.set(errors.Join(backend.ErrUnavailable, errors.New("refused")), false)
		for range 10 {
			if err := ask(); !errors.Is(err, backend.ErrUnavailable) {
				t.Fatalf("Look = %v, want ErrUnavailable", err)
			}
		}
		if !s.Stats()[0].BreakerOpen {
			t.Error("Stats do not say that the breaker is open")
		}
		if st.gets != 5 || skipped != 5 || !slices.Equal(changes, []bool{true}) {
			t.Errorf("%d calls, %d skipped, changes %v; want 5, 5 and open", st.gets, skipped, changes)
		}
		if err := ask(); !errors.Is(err, tier.ErrBreakerOpen) {
			t.Errorf("Look = %v, want ErrBreakerOpen", err)
		}
		time.Sleep(time.Second)
		_, _ = ask(), ask()
		if st.gets != 6 {
			t.Errorf("%d calls, want one trial", st.gets)
		}
		st.set(nil, false)
		time.Sleep(time.Second)
		if err := ask(); err != nil || !slices.Equal(changes, []bool{true, false}) {
			t.Errorf("Look = %v, changes %v; want it closed again", err, changes)
		}
		if s.Stats()[0].BreakerOpen {
			t.Error("Stats say that the breaker is open still")
		}
	})
}

func TestCallersOwnEndIsNoFailureOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStore()
		s := newStack(t, nil, tier.Remote(st, nil))
		st.set(nil, true)
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if _, err := s.Look(ctx, "k", false, nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, backend.ErrUnavailable) {
				t.Fatalf("Look = %v, want the caller's deadline", err)
			}
			cancel()
		}
		st.set(nil, false)
		if _, err := s.Look(t.Context(), "k", false, nil); err != nil {
			t.Errorf("Look = %v: impatient callers opened the breaker", err)
		}
	})
}

func TestCallsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStore()
		s := newStack(t, nil, tier.Remote(st, &tier.RemoteOptions{InFlight: 3, BreakerFailures: -1}))
		st.set(nil, true)
		var wg sync.WaitGroup
		var mu sync.Mutex
		busy := 0
		began := time.Now()
		for range 10 {
			wg.Go(func() {
				_, err := s.Look(t.Context(), "k", false, nil)
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, tier.ErrBusy) {
					busy++
				}
			})
		}
		synctest.Wait()
		st.mu.Lock()
		running := st.gets
		st.mu.Unlock()
		if running != 3 {
			t.Errorf("%d calls run, want 3", running)
		}
		wg.Wait()
		if d := time.Since(began); d > 250*time.Millisecond || busy == 0 {
			t.Errorf("%d were refused after %v; want some, within their budget", busy, d)
		}
	})
}

func TestPanickingCodecIsAMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := tier.NewStack(tier.Config[string, string]{Key: func(s string) string { return s }, Codec: bomb{}, Hooks: &tier.Hooks{}}, tier.Remote(newStore(), nil))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		if err := s.SetRemote(t.Context(), "k", entry("fine", time.Minute, time.Minute), 0); err != nil {
			t.Fatal(err)
		}
		look, err := s.Look(t.Context(), "k", false, nil)
		if look.Found || err != nil || s.Stats()[0].Corrupt != 1 {
			t.Errorf("found %t, %v, %+v; want a counted miss", look.Found, err, s.Stats())
		}
		if err := s.SetRemote(t.Context(), "k", entry("boom", time.Minute, time.Minute), 0); err == nil {
			t.Error("SetRemote with a codec that panics = nil, want an error")
		}
	})
}

// bomb is a codec that panics.
type bomb struct{}

func (bomb) ID() uint16 { return 99 }

func (bomb) Append(dst []byte, v string) ([]byte, error) {
	if v == "boom" {
		panic(v)
	}
	return append(dst, v...), nil
}

func (bomb) Decode([]byte) (string, error) { panic("boom") }

// A codec that binds bytes to their key does not open those of another.
func TestKeyedCodec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStore()
		s, err := tier.NewStack(tier.Config[string, string]{Key: func(s string) string { return s }, Codec: bound{}, Hooks: &tier.Hooks{}}, tier.Remote(st, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		if err := s.SetRemote(t.Context(), "k", entry("v", time.Minute, time.Minute), 0); err != nil {
			t.Fatal(err)
		}
		look, err := s.Look(t.Context(), "k", false, nil)
		if !look.Found || look.Entry.Value != "v" || err != nil {
			t.Errorf("Look = %+v, %v, want v", look, err)
		}
		if raw, _ := st.Store.Get(t.Context(), "k"); !bytes.Contains(raw, []byte("k|v")) {
			t.Errorf("%q was not bound to its key", raw)
		}
	})
}

// bound is a codec that binds values to their key.
type bound struct{ bomb }

func (bound) AppendKey(dst []byte, key string, v string) ([]byte, error) {
	return append(dst, key+"|"+v...), nil
}

func (bound) DecodeKey(data []byte, key string) (string, error) {
	v, ok := strings.CutPrefix(string(data), key+"|")
	if !ok {
		return "", errors.New("another key's")
	}
	return v, nil
}

func TestClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, nil, tier.Local(memstore.NewMemory(10), nil))
		e := entry("v", time.Minute, time.Hour)
		e.DueIn = 50 * time.Second
		s.SetLocal("k", e)
		if _, ok := s.Fresh("k"); !ok || s.Lapsed("k") {
			t.Error("fresh, and not found fresh")
		}
		time.Sleep(50 * time.Second)
		if _, ok := s.Fresh("k"); ok {
			t.Error("due, and not looked at closer")
		}
		if !s.Claim("k", time.Second) || s.Claim("k", time.Second) {
			t.Error("Claim: want the first to get it, and nobody else for a second")
		}
		if _, ok := s.Fresh("k"); !ok {
			t.Error("claimed, and still due")
		}
		time.Sleep(time.Second)
		if _, ok := s.Fresh("k"); ok || !s.Claim("k", time.Minute) {
			t.Error("nobody has seen to it: want it due again")
		}
		time.Sleep(9 * time.Second)
		if _, ok := s.Fresh("k"); ok {
			t.Error("a claim keeps what is stale fresh")
		}
		time.Sleep(time.Hour)
		if !s.Lapsed("k") {
			t.Error("gone by age, and not known to have lapsed")
		}
	})
	t.Run("capped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStack(t, nil, tier.Local(memstore.NewMemory(10), &tier.LocalOptions{MaxTTL: time.Second}))
			s.SetLocal("k", entry("v", time.Minute, time.Hour))
			time.Sleep(time.Second)
			if s.Lapsed("k") {
				t.Error("only this copy has ended")
			}
		})
	})
}

func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStore()
		s := newStack(t, nil, tier.Local(memstore.NewMemory(10), nil), tier.Remote(st, nil))
		e := entry("v", time.Minute, time.Hour)
		s.SetLocal("k", e)
		_ = s.SetRemote(t.Context(), "k", e, 0)
		time.Sleep(time.Second)
		s.ExpireLocal("k")
		if err := s.ExpireRemote(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		near, ok := s.Local("k")
		far, _ := s.Look(t.Context(), "k", false, nil)
		for where, e := range map[string]tier.Entry[string]{"near": near, "far": far.Entry} {
			if !ok || !far.Found || e.Fresh() || e.LivesFor != time.Hour-time.Second || e.Value != "v" {
				t.Errorf("%s: %+v, want it stale, for the rest of its life", where, e)
			}
		}
	})
}
