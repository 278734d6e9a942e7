package bench

import (
	"slices"
	"testing"
)

// A floor may be faster than every library, and is none.
func TestFloorsAreNotTheFastestPeer(t *testing.T) {
	floor := newFloorSubject("two commands", floorStore{})
	c := comparison{
		subjects: []subject{{name: guardName}, {name: "slow", peer: true}, {name: "fast", peer: true}, floor},
		results: map[string]map[int][]sample{
			guardName:  {1: {{perSecond: 400}}},
			"slow":     {1: {{perSecond: 100}}},
			"fast":     {1: {{perSecond: 200}}},
			floor.name: {1: {{perSecond: 300}}},
		},
	}
	if got := c.ratiosToFastestPeer(guardName, 1); !slices.Equal(got, []float64{2}) {
		t.Error("beside the fastest peer:", got)
	}
	if got := c.ratiosToFastestPeer(floor.name, 1); !slices.Equal(got, []float64{1.5}) {
		t.Error("the floor beside it:", got)
	}
}
