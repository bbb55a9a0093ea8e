package tier_test

import (
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
