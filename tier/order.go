package tier

import (
	"fmt"
)

// ordered says what is wrong with the tiers or their order.
func ordered(tiers []Tier) error {
	if len(tiers) > maxTiers {
		return fmt.Errorf("tier: %d tiers; at most %d make a stack", len(tiers), maxTiers)
	}
	remote := false
	for i, t := range tiers {
		if err := t.validate(); err != nil {
			return err
		}
		if remote && t.memory != nil {
			return fmt.Errorf("tier: place %d is a Local tier behind a Remote one: memory answers quicker than anything it could stand behind, "+
				"so list the Local tiers first; calls that are to pass it by have Policy.SkipReads and SkipWrites", i+1)
		}
		remote = remote || t.memory == nil
	}
	return nil
}

// Tiers is a set of tiers, by their place: see [Nth].
type Tiers uint64

const (
	maxTiers       = 63
	nowhere  Tiers = 1 << maxTiers // a place that no stack has
)

// Nth is the set of the tiers at these places, 1 the nearest. A cache refuses a set
// with a place that none of its tiers has, such as 0.
func Nth(places ...int) (t Tiers) {
	for _, p := range places {
		if p < 1 || p > maxTiers {
			t |= nowhere
			continue
		}
		t |= 1 << (p - 1)
	}
	return t
}

// Has reports whether the tier at a place is in the set.
func (t Tiers) Has(place int) bool { return place >= 1 && place <= maxTiers && t>>(place-1)&1 != 0 }

// Within reports whether the set names no place but those of n tiers.
func (t Tiers) Within(n int) bool { return n > maxTiers || t>>n == 0 }
