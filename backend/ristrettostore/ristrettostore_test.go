package ristrettostore

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(tb testing.TB, entries int64) *Store {
	tb.Helper()
	s, err := New(&Options{MaxEntries: entries})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// settle waits until the overlay is empty.
func settle(m backend.Memory) {
	for m.(*Store).waiting.Load() != 0 {
		<-time.After(time.Millisecond)
	}
}

func TestConformance(t *testing.T) {
	for name, bubble := range map[string]bool{"real time": false, "bubble": true} {
		t.Run(name, func(t *testing.T) {
			backendtest.RunMemory(t, backendtest.MemoryHarness{
				New:      func(tb testing.TB) backend.Memory { return open(tb, 1000) },
				Capacity: 1000, Ranges: true, Settle: settle, Bubble: bubble, Counted: true,
			})
		})
	}
}

type node struct {
	backend.Life
	v       int
	expired atomic.Bool
}

func (n *node) Expired() bool { return n.expired.Load() }

func TestExpiredEntriesGiveTheirRoomBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, 1000)
		n := &node{}
		s.Set(1, n, 1, time.Second)
		settle(s)
		if _, ok := s.cache.Get(1); !ok {
			t.Fatal("not in ristretto")
		}
		n.expired.Store(true)
		time.Sleep(2*sweepEvery + time.Second)
		synctest.Wait()
		if _, ok := s.cache.Get(1); ok {
			t.Error("still in ristretto two sweeps after its end")
		}
		if s.expiry.size != 0 {
			t.Errorf("%d hashes remembered", s.expiry.size)
		}
	})
}

// TestOverlayIsBounded fills it faster than it can be emptied.
func TestOverlayIsBounded(t *testing.T) {
	s := open(t, 1<<20)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50_000 {
				s.Set(uint64(g)<<32|uint64(i), &node{}, 1, time.Hour)
			}
		})
	}
	wg.Wait()
	if n := s.waiting.Load(); n > maxWaiting+4 {
		t.Errorf("%d writes wait, bound %d", n, maxWaiting)
	}
	settle(s)
	s.Set(7, &node{v: 7}, 1, time.Hour)
	if n, ok := s.Get(7).(*node); !ok || n.v != 7 {
		t.Error("a Set is not seen after the burst")
	}
}

// TestManyEntriesFit: a cost of 1 is an entry, not ristretto's own bytes.
func TestManyEntriesFit(t *testing.T) {
	s := open(t, 10_000)
	for i := range 10_000 {
		s.Set(uint64(i+1)*0x9E3779B97F4A7C15, &node{}, 1, time.Hour)
	}
	settle(s)
	held := 0
	for i := range 10_000 {
		if s.Get(uint64(i+1)*0x9E3779B97F4A7C15) != nil {
			held++
		}
	}
	if held < 9_900 {
		t.Errorf("%d of 10000 entries held with room for all", held)
	}
}

func TestBadOption(t *testing.T) {
	if _, err := New(&Options{MaxEntries: -1}); err == nil || !strings.Contains(err.Error(), "Options.MaxEntries") {
		t.Errorf("New = %v, want an error naming Options.MaxEntries", err)
	}
}
