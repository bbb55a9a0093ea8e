package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

func TestBadArguments(t *testing.T) {
	c := open(t, func(context.Context, any) (int, error) { return 1, nil },
		&cache.Options[any, int]{Key: func(k any) string { return fmt.Sprint(k) }}, memory(t))
	for name, tc := range map[string]struct {
		call func() error
		want error
	}{
		"nil context":    {func() error { _, err := c.Get(nil, "k"); return err }, cache.ErrNilContext},  //nolint:staticcheck // the point
		"nil ctx, Peek":  {func() error { _, err := c.Peek(nil, "k"); return err }, cache.ErrNilContext}, //nolint:staticcheck // the point
		"nil ctx, Set":   {func() error { return c.Set(nil, "k", 1) }, cache.ErrNilContext},              //nolint:staticcheck // the point
		"nil loader":     {func() error { _, err := c.GetOrLoad(t.Context(), "k", nil); return err }, cache.ErrNoLoader},
		"unhashable key": {func() error { _, err := c.Get(t.Context(), []int{1}); return err }, cache.ErrKey},
		"unhashable set": {func() error { return c.Set(t.Context(), map[int]int{}, 1) }, cache.ErrKey},
		"zero ttl":       {func() error { return c.SetTTL(t.Context(), "k", 1, 0) }, cache.ErrTTL},
		"negative ttl":   {func() error { return c.SetTTL(t.Context(), "k", 1, -1) }, cache.ErrTTL},
	} {
		if err := tc.call(); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// TestBadPlacesOfAView: With says it at the first call.
func TestBadPlacesOfAView(t *testing.T) {
	c := open(t, func(context.Context, string) (int, error) { return 1, nil }, nil, memory(t))
	_, err := c.With(func(p *cache.Policy) { p.SkipReads = tier.Nth(1, 2) }).Get(t.Context(), "k")
	if err == nil || !strings.Contains(err.Error(), "Policy.SkipReads") {
		t.Errorf("Get of a view without the second of one tier = %v, want an error naming Policy.SkipReads", err)
	}
	want(t, 1)(c.With(func(p *cache.Policy) { p.SkipReads = tier.Nth(1) }).Get(t.Context(), "k"))
}

func TestBadOptionsAreOneErrorNamingTheField(t *testing.T) {
	type opts = cache.Options[string, int]
	for _, tc := range []struct {
		field string
		opts  opts
	}{
		{"Policy.TTL", opts{Policy: cache.Policy{TTL: -1}}},
		{"Policy.Jitter", opts{Policy: cache.Policy{Jitter: 1}}},
		{"Policy.StaleWhileRevalidate", opts{Policy: cache.Policy{StaleWhileRevalidate: -1}}},
		{"Policy.StaleIfError", opts{Policy: cache.Policy{StaleIfError: -1}}},
		{"Policy.AbsentTTL", opts{Policy: cache.Policy{AbsentTTL: -1}}},
		{"Policy.RefreshAhead", opts{Policy: cache.Policy{RefreshAhead: math.NaN()}}},
		{"Policy.XFetch", opts{Policy: cache.Policy{XFetch: math.Inf(1)}}},
		{"Policy.SoftTimeout", opts{Policy: cache.Policy{SoftTimeout: 1}}},
		{"Policy.HardTimeout", opts{Policy: cache.Policy{SoftTimeout: 2, HardTimeout: 1, StaleIfError: 1}}},
		{"Policy.CoolDownMax", opts{Policy: cache.Policy{CoolDown: time.Hour, CoolDownMax: time.Minute}}},
		{"Policy.Wait", opts{Policy: cache.Policy{Wait: 9}}},
		{"Policy.SkipReads", opts{Policy: cache.Policy{SkipReads: tier.Nth(2)}}},
		{"Policy.SkipWrites", opts{Policy: cache.Policy{SkipWrites: tier.Nth(1, 0)}}},
		{"Policy.SkipWrites", opts{Policy: cache.Policy{SkipWrites: tier.Nth(64)}}},
		{"Options.MaxLoads", opts{MaxLoads: -1}},
		{"Options.MaxWaiters", opts{MaxWaiters: -1}},
		{"Options.TTL", opts{Lease: lock.Options{TTL: 1}}},
		{"Options.Retries", opts{Lease: lock.Options{Retries: -1}}},
	} {
		_, err := cache.New[string, int](nil, &tc.opts, memory(t))
		if err == nil || !strings.Contains(err.Error(), tc.field) || strings.Contains(err.Error(), "\n") {
			t.Errorf("New(%+v) = %v, want one line naming %s", tc.opts, err, tc.field)
		}
	}
	if _, err := cache.New[point, int](nil, nil, memory(t)); err == nil || !strings.Contains(err.Error(), "Options.Key") {
		t.Errorf("New with struct keys = %v, want an error naming Options.Key", err)
	}
	for name, tiers := range map[string][]tier.Tier{
		"none": nil, "zero": {{}}, "nil store": {tier.Remote(nil, nil)}, "nil memory": {tier.Local(nil, nil)},
	} {
		if _, err := cache.New[string, int](nil, nil, tiers...); err == nil {
			t.Errorf("New with %s tiers = nil, want an error", name)
		}
	}
}
