package cache_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// A long outage, of the shared tier and of the source, is a line each, and
// its end another; and what fails half of the time does not fill the log.
func TestLogVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := newServer()
		broken, half, n := false, false, 0
		load := func(context.Context, int) (int, error) {
			n++
			if broken || half && n%2 == 0 {
				return 0, errors.New("the database is away")
			}
			return 1, nil
		}
		hooks := logHooks(slog.New(slog.NewTextHandler(&out, nil)), 10*time.Second)
		c := open(t, load, &cache.Options[int, int]{Hooks: hooks}, s.tier(&tier.RemoteOptions{}))
		key := 0
		minutes := func(count int) (lines string) {
			out.Reset()
			for range count * 60 {
				time.Sleep(time.Second)
				_, _ = c.Get(t.Context(), key)
				key++ // nobody has it
			}
			return out.String()
		}
		expect := func(when, lines string, want ...string) {
			t.Helper()
			if strings.Count(lines, "\n") != len(want) {
				t.Errorf("%s:\n%swant %d lines", when, lines, len(want))
			}
			for _, w := range want {
				if !strings.Contains(lines, w) {
					t.Errorf("%s: no %q in\n%s", when, w, lines)
				}
			}
		}
		expect("all is well", minutes(1))
		s.set(func() { s.down = true })
		expect("without the shared tier", minutes(20), "not asked for now")
		s.set(func() { s.down = false })
		expect("with it again", minutes(1), "asked again")
		broken = true
		expect("without the source", minutes(20), "the source fails")
		broken = false
		expect("with it again", minutes(1), "works again")
		half = true
		expect("with half a source", minutes(20), "the source fails")
		half = false
		expect("with a whole one", minutes(1), "works again")

		out.Reset()
		for range 100 {
			hooks.Warn(t.Context(), lock.Warning{Code: lock.WarnRenewLate, Message: "renew"})
			hooks.Warn(t.Context(), lock.Warning{Code: lock.WarnEntryTTL, Message: "entries"})
		}
		expect("advice", out.String(), "msg=renew", "msg=entries")
		out.Reset()
		hooks.LoadDone(t.Context(), cache.LoadDone{Err: cache.ErrNotFound})
		hooks.LoadDone(t.Context(), cache.LoadDone{Err: context.Canceled})
		expect("a source that has none, a caller that has left", out.String())
	})
}
