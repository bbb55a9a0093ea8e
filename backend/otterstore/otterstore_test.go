package otterstore

import (
	"fmt"
	"math"
	"strings"
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

// settle runs otter's evictions to their end.
func settle(m backend.Memory) { m.(*Store).cache.CleanUp() }

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
	for _, ttl := range []time.Duration{time.Nanosecond, 500 * time.Millisecond, time.Second, time.Minute, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, 1000)
			time.Sleep(999 * time.Millisecond) // the coarse clock is as late as it can be
			n := &node{}
			s.Set(1, n, 1, ttl)
			time.Sleep(ttl - 1)
			if s.Get(1) == nil {
				t.Errorf("gone before its ttl of %v was over", ttl)
			}
			n.expired.Store(true)
			// The wheel turns in steps of a second, a minute, an hour, a day. No
			// read helps: it would clean up as well.
			time.Sleep(3*tick + ttl/2)
			synctest.Wait()
			if held := s.cache.EstimatedSize(); held != 0 || !n.Dead() {
				t.Errorf("%d entries held long after their ttl of %v, killed %t", held, ttl, n.Dead())
			}
		})
	}
}

// TestKill: who holds a node learns that it went, however it went, and one that
// is set again stays alive.
func TestKill(t *testing.T) {
	s := open(t, 10)
	again, replaced, deleted := &node{}, &node{}, &node{}
	for range 2 {
		s.Set(1, again, 1, time.Hour)
	}
	s.Set(2, replaced, 1, time.Hour)
	s.Set(2, &node{}, 1, time.Hour)
	s.Set(3, deleted, 1, time.Hour)
	s.Delete(3)
	for name, dead := range map[string]bool{
		"set again": !again.Dead(), "replaced": replaced.Dead(), "deleted": deleted.Dead(),
	} {
		if !dead {
			t.Errorf("the node that was %s is in the wrong state", name)
		}
	}
	many := make([]*node, 100)
	for i := range many {
		many[i] = &node{}
		s.Set(uint64(i+10), many[i], 1, time.Hour)
	}
	settle(s)
	for i, n := range many {
		if n.Dead() == (s.Get(uint64(i+10)) != nil) {
			t.Errorf("node %d: killed %t, but held %t", i, n.Dead(), !n.Dead())
		}
	}
	_ = s.Close()
	if !again.Dead() {
		t.Error("alive after Close")
	}
}

func TestCost(t *testing.T) {
	s := open(t, 1000)
	for i := range 1000 {
		s.Set(uint64(i+1), &node{}, 100, time.Hour)
	}
	settle(s)
	held := 0
	for i := range 1000 {
		if s.Get(uint64(i+1)) != nil {
			held++
		}
	}
	if held == 0 || held > 10 {
		t.Errorf("%d entries of cost 100 held with room for 1000", held)
	}
	big := &node{}
	s.Set(5000, big, math.MaxInt64, time.Hour)
	settle(s)
	if s.Get(5000) != nil || !big.Dead() {
		t.Error("an entry that costs more than there is room was kept")
	}
}

func TestManyEntriesFit(t *testing.T) {
	s := open(t, 10_000)
	for i := range 10_000 {
		s.Set(uint64(i+1), &node{v: i}, 1, time.Hour)
	}
	settle(s)
	held := 0
	for i := range 10_000 {
		if n, ok := s.Get(uint64(i + 1)).(*node); ok && n.v == i {
			held++
		}
	}
	if held < 9_900 {
		t.Errorf("%d of 10000 entries held with room for all", held)
	}
}

func TestGetDoesNotAllocate(t *testing.T) {
	s := open(t, 1000)
	for i := range 1000 {
		s.Set(uint64(i+1), &node{}, 1, time.Hour)
	}
	i := uint64(0)
	if n := testing.AllocsPerRun(10_000, func() { i++; s.Get(i % 2000) }); n != 0 {
		t.Errorf("%v allocations a Get", n)
	}
}

func TestNothingIsHeldAfterClose(t *testing.T) {
	s := open(t, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 100_000 {
			s.Set(uint64(i), &node{}, 1, time.Hour)
		}
	}()
	for s.cache.EstimatedSize() == 0 {
		<-time.After(time.Microsecond)
	}
	_ = s.Close()
	<-done
	if n := s.cache.EstimatedSize(); n != 0 {
		t.Errorf("%d entries held", n)
	}
}

func TestBadOption(t *testing.T) {
	if _, err := New(&Options{MaxEntries: -1}); err == nil || !strings.Contains(err.Error(), "Options.MaxEntries") {
		t.Errorf("New = %v, want an error naming Options.MaxEntries", err)
	}
}

func TestSeconds(t *testing.T) {
	for ttl, want := range map[time.Duration]uint32{
		1: 2, time.Second: 2, time.Second + 1: 3, math.MaxInt64: math.MaxUint32,
	} {
		if got := seconds(ttl); got != want {
			t.Errorf("seconds(%v) = %d, want %d", ttl, got, want)
		}
	}
	if fmt.Sprint(time.Duration(math.MaxUint32)*time.Second) != "1193046h28m15s" {
		t.Error("the longest ttl overflows")
	}
}
