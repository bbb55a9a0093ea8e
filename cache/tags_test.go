package cache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

func TestDeleteTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 2, cache.Options[string, int]{}, nil)
		a, b := ps[0], ps[1]
		a.tags, b.tags = []string{"red", "big"}, []string{"red", "big"}
		a.has("k", 1, false)
		b.has("k", 1, false)
		a.tags, b.tags = []string{"blue"}, []string{"blue"}
		a.has("other", 2, false)
		b.has("other", 2, false)

		ok(t, a.DeleteTags(t.Context(), "big", "unknown"))
		a.has("k", 3, false)
		a.has("k", 3, true)
		b.has("k", 3, false)
		b.has("k", 3, true)
		a.has("other", 2, true)
		b.has("other", 2, true)

		ok(t, b.SetWith(t.Context(), "set", 9, cache.SetOptions{Tags: []string{"red"}}))
		a.has("set", 9, false)
		ok(t, b.DeleteTags(t.Context(), "red"))
		a.has("set", 4, false)
		b.has("set", 4, false)
		ok(t, a.SetWith(t.Context(), "set", 8, cache.SetOptions{Tags: []string{"red"}}))
		a.has("set", 8, true) // what comes after the stamp is not touched by it
		b.has("set", 8, false)
	})
}

// TestExpireTags: an entry that was expired by tag is there for those who may have
// what is stale.
func TestExpireTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 2, cache.Options[string, int]{Policy: cache.Policy{StaleWhileRevalidate: time.Hour}}, nil)
		a, b := ps[0], ps[1]
		a.tags = []string{"red"}
		a.has("k", 1, false)
		b.has("k", 1, false)
		ok(t, b.ExpireTags(t.Context(), "red"))
		for _, p := range ps {
			if e, err := p.GetEntry(t.Context(), "k"); e.Value != 1 && e.Value != 2 || err != nil {
				t.Errorf("GetEntry = %+v, %v, want what is stale, or fresh", e, err)
			}
			synctest.Wait()
		}
		if n := a.loads.Load() + b.loads.Load(); n != 2 {
			t.Errorf("%d loads, want 1 and 1 refresh", n)
		}
		e, err := b.GetEntry(t.Context(), "k")
		if e.Stale || err != nil {
			t.Errorf("GetEntry after the refresh = %+v, %v, want it fresh", e, err)
		}
	})
}

func TestClear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 2, cache.Options[string, int]{Policy: cache.Policy{StaleIfError: time.Hour}}, nil)
		a, b := ps[0], ps[1]
		ok(t, a.Set(t.Context(), "set", 7))
		b.has("set", 7, false)
		a.has("k", 1, false)
		b.has("k", 1, false)
		ok(t, a.Clear(t.Context()))
		for _, p := range ps {
			if _, err := p.Peek(t.Context(), "set"); !errors.Is(err, cache.ErrMiss) {
				t.Errorf("Peek after Clear = %v, want ErrMiss", err)
			}
		}
		b.has("k", 1, false) // its first load
		ok(t, b.Set(t.Context(), "set", 8))
		b.has("set", 8, true)
		a.has("set", 8, false)
		ok(t, b.ExpireAll(t.Context()))
		if v, err := a.Peek(t.Context(), "set"); v != 8 || err != nil {
			t.Errorf("Peek of what is stale = %d, %v, want 8", v, err)
		}
		a.has("set", 2, false)
	})
}

// TestTagsDuringALoad: a load that began before the stamp gives its value to its
// callers, and nobody else has it.
func TestTagsDuringALoad(t *testing.T) {
	for name, stamp := range map[string]func(c *process) error{
		"tags":  func(p *process) error { return p.DeleteTags(p.t.Context(), "red") },
		"clear": func(p *process) error { return p.Clear(p.t.Context()) },
	} {
		for who := range 2 {
			synctest.Test(t, func(t *testing.T) {
				ps := newProcesses(t, 2, cache.Options[string, int]{}, nil)
				a, b := ps[0], ps[1]
				a.tags, a.took = []string{"red"}, time.Second
				b.tags = a.tags
				go a.has("k", 1, false)
				synctest.Wait()
				<-time.After(time.Millisecond)
				ok(t, stamp(ps[who]))
				late := make(chan int, 1)
				go func() { v, _ := a.Get(t.Context(), "k"); late <- v }()
				<-time.After(2 * time.Second)
				synctest.Wait()
				if v := <-late; v != 2 {
					t.Errorf("%s: who came after the stamp has %d, want 2", name, v)
				}
				b.has("k", 2, false)
			})
		}
	}
}

// TestTagsOfKeys: prefixes of keys are tags, and "not found" has them as well.
func TestTagsOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := map[string]int{}
		load := func(_ context.Context, key string) (int, error) {
			asked[key]++
			if strings.HasSuffix(key, "none") {
				return 0, cache.ErrNotFound
			}
			return asked[key], nil
		}
		opts := &cache.Options[string, int]{
			Tags:   func(key string) []string { return cache.Prefixes(key, ":") },
			Policy: cache.Policy{AbsentTTL: time.Minute},
		}
		c := open(t, load, opts, tier.Local(memstore.NewMemory(100), nil), tier.Remote(memstore.NewStore(), nil))
		keys := []string{"eu:de:berlin", "eu:fr:paris", "eu:de:none"}
		for range 2 {
			for _, key := range keys {
				_, _ = c.Get(t.Context(), key)
			}
		}
		ok(t, c.DeleteTags(t.Context(), "eu:de:"))
		for _, key := range keys {
			_, _ = c.Get(t.Context(), key)
		}
		if asked[keys[0]] != 2 || asked[keys[1]] != 1 || asked[keys[2]] != 2 {
			t.Errorf("loads = %v, want those under eu:de: again", asked)
		}
		e, err := c.GetEntry(t.Context(), keys[0])
		if !slices.Equal(e.Tags, []string{"eu:", "eu:de:"}) || err != nil {
			t.Errorf("Tags = %q, %v, want its prefixes", e.Tags, err)
		}
	})
	if got := cache.Prefixes("a::b", "::"); !slices.Equal(got, []string{"a::"}) {
		t.Errorf("Prefixes = %q, want a::", got)
	}
	if got := cache.Prefixes("ab", ""); got != nil {
		t.Errorf("Prefixes by nothing = %q, want none", got)
	}
}

// TestTagsInMemoryAlone: a cache without a shared tier has tags too.
func TestTagsInMemoryAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{t: t, tags: []string{"red"}}
		p.Cache = open(t, p.load, nil, tier.Local(memstore.NewMemory(100), nil))
		p.has("k", 1, false)
		ok(t, p.DeleteTags(t.Context(), "red"))
		p.has("k", 2, false)
		p.has("k", 2, true)
		ok(t, p.Clear(t.Context()))
		p.has("k", 3, false)
	})
}

// TestTagsThatAreNotTold are asked for, once a second.
func TestTagsThatAreNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := memstore.NewStore()
		defer first.Close()
		s := &counted{late: &late{peer: &peer{Store: first.Peer()}, mode: backend.CoherenceOff}}
		p := &process{t: t, tags: []string{"red"}}
		p.Cache = open(t, p.load, nil, tier.Remote(s, nil))
		for range 30 {
			p.has("k", 1, false)
		}
		if s.asked > 2 {
			t.Errorf("asked %d times for stamps, want once for each tag", s.asked)
		}
		_, err := first.StampTags(t.Context(), false, "red")
		ok(t, err)
		<-time.After(time.Second + time.Millisecond)
		p.has("k", 2, false)
	})
}

type counted struct {
	*late
	asked int
}

func (c *counted) TagStamps(ctx context.Context, tags ...string) ([]backend.TagStamp, error) {
	c.asked++
	return c.late.TagStamps(ctx, tags...)
}

func TestTagsThatMakeNoSense(t *testing.T) {
	c := open(t, func(context.Context, string) (int, error) { return 1, nil }, nil, tier.Local(memstore.NewMemory(10), nil))
	if err := c.DeleteTags(t.Context(), "a", ""); !errors.Is(err, cache.ErrTag) {
		t.Errorf("DeleteTags of an empty tag = %v, want ErrTag", err)
	}
	if err := c.DeleteTags(t.Context(), ""); !errors.Is(err, cache.ErrTag) {
		t.Errorf("DeleteTags of an empty tag alone = %v, want ErrTag", err)
	}
	ok(t, c.DeleteTags(t.Context()))
	if err := c.Clear(nil); !errors.Is(err, cache.ErrNilContext) { //nolint:staticcheck // that is what is tested
		t.Errorf("Clear(nil) = %v, want ErrNilContext", err)
	}
}

// TestTagsOfOthersDuringALoad: an entry that is being loaded when another process removes what
// has one of its tags is removed as well, though nobody here has heard of the tag.
func TestTagsOfOthersDuringALoad(t *testing.T) {
	for name, change := range map[string]func(b *process, tag string) error{
		"delete": func(b *process, tag string) error { return b.DeleteTags(b.t.Context(), tag) },
		"expire": func(b *process, tag string) error { return b.ExpireTags(b.t.Context(), tag) },
	} {
		for _, others := range []int{0, 5000} { // stamps that come between
			t.Run(fmt.Sprint(name, ", and ", others, " others"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ps := newProcesses(t, 2, cache.Options[string, int]{}, nil)
					a, b := ps[0], ps[1]
					<-time.After(time.Second)
					a.tags, a.took = []string{"red"}, 10*time.Second
					done := make(chan struct{})
					go func() {
						defer close(done)
						a.has("k", 1, false)
					}()
					<-time.After(5 * time.Second)
					ok(t, change(b, "red"))
					for i := range others {
						ok(t, change(b, fmt.Sprint("tag ", i)))
					}
					runtime.GC() // what nobody keeps is forgotten
					<-done
					a.took = 0
					a.has("k", 2, false)
					a.has("k", 2, true)
				})
			})
		}
	}
}

// TestTagsBeyondMemory: however many tags were stamped, an entry of a tag that the store
// was asked for stays in memory.
func TestTagsBeyondMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newProcesses(t, 2, cache.Options[string, int]{}, nil)
		a, b := ps[0], ps[1]
		b.tags = []string{"red"}
		b.has("k", 1, false)
		for i := range 10_000 {
			ok(t, b.DeleteTags(t.Context(), fmt.Sprint("tag ", i)))
		}
		a.has("k", 1, false)
		a.has("k", 1, true)
	})
}
