package automaton

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Each combination has one number, in the order in which they came, and stays what it was.
func TestTuples(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for width := range 5 {
		tuples := NewTuples(width)
		known := make(map[[4]State]int)
		for range 5000 {
			var one [4]State
			for i := range width {
				one[i] = State(random.IntN(12)) << (8 * random.IntN(4))
			}
			number, added := tuples.Number(one[:width])
			was, there := known[one]
			if !there {
				was = len(known)
				known[one] = was
			}
			if added == there || number != was {
				t.Fatalf("%v is %d, added %v, and was %d, %v", one, number, added, was, there)
			}
		}
		for one, number := range known {
			if got := tuples.At(number); !slices.Equal(got, one[:width]) {
				t.Fatalf("%d is %v, and was %v", number, got, one)
			}
		}
		if tuples.Len() != len(known) {
			t.Errorf("%d of %d", tuples.Len(), len(known))
		}
	}
}
