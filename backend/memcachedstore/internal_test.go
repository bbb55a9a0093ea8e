package memcachedstore

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

// TestARestartBetweenReadAndSwap: the restarted server gives its first item the
// number that the read one had.
func TestARestartBetweenReadAndSwap(t *testing.T) {
	srv := servertest.Memcached(t)
	store := func() *Store {
		s, err := Open([]string{srv.Addr()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	paused, other := store(), store()
	if err := other.Set(t.Context(), "k", []byte("before"), time.Minute); err != nil {
		t.Fatal(err)
	}
	c := paused.change("k", nil)
	c.decide = func(it *item, now int64) bool {
		if string(it.value) != "before" {
			t.Errorf("it decides again, over %q", it.value)
			return false
		}
		srv.Restart()
		if err := other.Set(t.Context(), "k", []byte("after"), time.Minute); err != nil {
			t.Error(err)
		}
		seen := c.cas
		look := other.change("k", func(*item, int64) bool { return false })
		if err := other.apply(t.Context(), []*change{look}); err != nil || look.cas != seen {
			t.Errorf("the restarted server counts %d after %d: nothing is tested if it does not begin anew", look.cas, seen)
			return false
		}
		it.put([]byte("late"), now, time.Minute)
		return true
	}
	if err := paused.apply(t.Context(), []*change{c}); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("the late write = %v, want backend.ErrUnavailable", err)
	}
	if v, err := other.Get(t.Context(), "k"); string(v) != "after" {
		t.Errorf("Get = %q, %v, want %q", v, err, "after")
	}
}

func TestKeys(t *testing.T) {
	s := &Store{namespace: "n"}
	hash := strings.Repeat("0", 64)
	for key, kept := range map[string]bool{
		"": true, "user:1": true, "{a}#b": true, strings.Repeat("k", 248): true, strings.Repeat("k", 249): false,
		"#": false, "#" + hash: false, "a b": false, "a\r\nset x 0 0 1\r\n": false, "é": false, "\x7f": false,
	} {
		name := s.key(key)
		if (name == "n:"+key) != kept || len(name) > 250 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("key(%q) = %q, want it kept: %t", key, name, kept)
		}
	}
}

func TestLayout(t *testing.T) {
	it := item{
		fence: 0x0102030405060708, failures: 3, has: true, value: []byte("value"), valueUntil: 1,
		token: "t", since: 2, until: 3, usual: 4, owner: "o", tag: "", coolUntil: 5, text: "why",
	}
	// Others read these bytes: a change needs another mark.
	const golden = "\x07\x01\x02\x03\x04\x05\x06\x07\x08\x00\x03" + "\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x04" +
		"\x00\x01t\x00\x01o\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x05\x00\x03why" + "value"
	if b := append(it.header(), it.value...); string(b) != golden {
		t.Errorf("item = %q, want %q", b, golden)
	}
	if got := parse([]byte(golden)); !reflect.DeepEqual(got, it) {
		t.Errorf("parse = %+v, want %+v", got, it)
	}
	for n := range len(golden) - len("value") {
		if got := parse([]byte(golden[:n])); !reflect.DeepEqual(got, item{}) {
			t.Errorf("parse of %d bytes = %+v, want nothing", n, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add(append((&item{has: true, value: []byte("v"), token: "t", coolUntil: 1}).header(), 'v'))
	f.Fuzz(func(t *testing.T, b []byte) {
		it := parse(b)
		if reflect.DeepEqual(it, item{}) {
			return
		}
		again := append(it.header(), it.value...)
		if it.token != "" && it.coolUntil != 0 && it.failures <= maxFailures && !bytes.Equal(again, b) {
			t.Errorf("%q is read and written as %q", b, again)
		}
		it.tidy(time.Now().UnixMicro())
		_ = it.seconds(time.Now().UnixMicro())
	})
}

func TestSeconds(t *testing.T) {
	const now = 1_800_000_000_000_000
	for _, tc := range []struct {
		it   item
		want int64
	}{
		{item{}, 602},
		{item{failures: 1}, 3602},
		{item{has: true, valueUntil: now + 1}, 2},
		{item{has: true, valueUntil: now + 999_999}, 2},
		{item{has: true, valueUntil: now + 1e6}, 3},
		{item{has: true, valueUntil: now + 1, until: now + 10e6}, 12},
		{item{has: true, valueUntil: now + 1, coolUntil: now + 10e6}, 12},
		{item{has: true, valueUntil: now + 31*24*3600e6}, 1_800_000_000 + 31*24*3600 + 2},
		{item{has: true, valueUntil: 1<<63 - 1}, 0},
	} {
		if got := tc.it.seconds(now); got != tc.want {
			t.Errorf("seconds of %+v = %d, want %d", tc.it, got, tc.want)
		}
	}
}

// TestFencesRise: also over a last one that lies ahead of the clock, through
// Set, Delete, Release and Commit.
func TestFencesRise(t *testing.T) {
	s, err := Open([]string{servertest.Memcached(t).Addr()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ahead := uint64(time.Now().Add(time.Minute).UnixMicro())
	if err := s.update(t.Context(), "k", func(it *item, _ int64) bool { it.fence = ahead; return true }); err != nil {
		t.Fatal(err)
	}
	for i, end := range []func() error{
		func() error { return s.Set(t.Context(), "k", []byte("v"), time.Minute) },
		func() error { return s.Delete(t.Context(), "k") },
		func() error { _, err := s.Release(t.Context(), "k", "t", backend.Failure{}); return err },
		func() error {
			_, err := s.Release(t.Context(), "k", "t", backend.Failure{CoolDown: time.Microsecond})
			return err
		},
		func() error { _, err := s.Commit(t.Context(), "k", "t", []byte("v"), time.Minute); return err },
		func() error { return s.Delete(t.Context(), "k") },
	} {
		<-time.After(time.Millisecond) // the cool-down
		r, err := s.Lease(t.Context(), "k", backend.LeaseRequest{Token: "t", TTL: time.Minute, Rejected: []byte("v")})
		if err != nil || !r.Won || r.Fence != ahead+uint64(i)+1 {
			t.Errorf("Lease = %+v, %v, want fence %d", r, err, ahead+uint64(i)+1)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}

// TestARowOfFailuresEnds an hour after its last lease.
func TestARowOfFailuresEnds(t *testing.T) {
	now := time.Now().UnixMicro()
	for age, want := range map[time.Duration]uint64{59 * time.Minute: 4, 61 * time.Minute: 1} {
		it := item{fence: uint64(now - age.Microseconds()), failures: 3}
		it.fail(backend.Failure{CoolDown: time.Second, CoolDownMax: time.Hour}, now)
		if it.failures != want || it.coolUntil != now+1e6<<(want-1) {
			t.Errorf("after %v: %d failures, cool-down until %d, want %d", age, it.failures, it.coolUntil-now, want)
		}
	}
}

func TestErrorsSayNothingOfKeys(t *testing.T) {
	for _, line := range []string{"VALUE secret 0", "SERVER_ERROR secret", "CLIENT_ERROR bad key secret", "secret"} {
		if err := refusal(line); strings.Contains(err.Error(), "secret") {
			t.Errorf("refusal(%q) = %v", line, err)
		}
	}
	if err := fmt.Sprint(join([]error{errProtocol, nil, errProtocol})); err != errProtocol.Error() {
		t.Errorf("join = %q, want it said once", err)
	}
}
