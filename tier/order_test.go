package tier_test

import (
	"strings"
	"testing"

	"github.com/bellwethercache/bellwether/backend/memstore"
	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/tier"
)

// TestRefusedStacksLeaveNothingRunning: what they began would show in TestMain.
func TestRefusedStacksLeaveNothingRunning(t *testing.T) {
	near, far := tier.Local(memstore.NewMemory(10), nil), tier.Remote(memstore.NewStore(), nil)
	for name, tiers := range map[string][]tier.Tier{
		"memory behind": {far, near},
		"bad behind":    {far, tier.Remote(nil, nil)},
		"bad options":   {far, tier.Remote(memstore.NewStore(), &tier.RemoteOptions{MaxTTL: -1})},
	} {
		_, err := tier.NewStack(tier.Config[string, string]{Key: func(s string) string { return s }, Codec: codec.String(), Hooks: &tier.Hooks{}}, tiers...)
		if err == nil {
			t.Errorf("%s: NewStack = nil, want an error", name)
		}
	}
}

// TestOrderIsSaid: the message names the place, and what to do.
func TestOrderIsSaid(t *testing.T) {
	near, far := tier.Local(memstore.NewMemory(10), nil), tier.Remote(memstore.NewStore(), nil)
	cfg := tier.Config[string, string]{Key: func(s string) string { return s }, Codec: codec.String(), Hooks: &tier.Hooks{}}
	_, err := tier.NewStack(cfg, near, far, near)
	if err == nil || !strings.Contains(err.Error(), "place 3") || !strings.Contains(err.Error(), "Local tiers first") {
		t.Errorf("NewStack = %v, want the place and the order", err)
	}
}
