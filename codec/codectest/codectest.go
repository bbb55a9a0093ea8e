// Package codectest is the law for implementations of codec.Codec: run it from
// a test of your codec.
//
//	func TestConformance(t *testing.T) {
//		codectest.Run(t, codectest.Harness[User]{
//			New:    func(testing.TB) codec.Codec[User] { return mycodec.New[User]() },
//			Values: []User{{}, {Name: "x", Tags: []string{}}},
//		})
//	}
//
// A failure quotes the rule that was broken. What a codec is able to do is
// said by its harness, never asked of the codec: an ability that got lost is a
// failure, not a skipped test.
//
// An input that kills the process kills the test too, and quotes no rule.
package codectest

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// Harness tells the kit about a codec.
type Harness[V any] struct {
	// New returns a codec. Every codec it returns reads what any other wrote.
	// Required.
	New func(tb testing.TB) codec.Codec[V]

	// Values are what must survive a round trip: the zero value, nil, empty
	// and full, small and large, whatever V has. At least two that differ.
	// Required.
	Values []V

	// Equal says whether two values are the same. Defaults to
	// reflect.DeepEqual.
	Equal func(a, b V) bool

	// Text returns a value that holds s, for texts of the kit's choice. Nil
	// leaves them out.
	Text func(s string) V

	// Binary says that a text need not be valid UTF-8 to survive.
	Binary bool

	// Keyed says that the codec implements codec.Keyed.
	Keyed bool

	// Sealed says that the codec refuses all bytes that it did not make.
	Sealed bool

	// Hostile are inputs made for this format, beyond the kit's own: counts
	// that claim too much, deep nesting, also inside a field V does not have.
	Hostile [][]byte
}

// Run runs the kit.
func Run[V any](t *testing.T, h Harness[V]) {
	t.Helper()
	kit.Run(t, h, false, h.cases())
}

func (h Harness[V]) cases() []kit.Case[Harness[V]] {
	cases := append(plainCases[V](), hostileCases[V]()...)
	if h.Keyed {
		cases = append(cases, keyedCases[V]()...)
	}
	if h.Sealed {
		cases = append(cases, sealedCases[V]()...)
	}
	return cases
}

func (h Harness[V]) equal(a, b V) bool {
	if h.Equal != nil {
		return h.Equal(a, b)
	}
	return reflect.DeepEqual(a, b)
}

// encode returns the encoding of v in memory of its own.
func (h Harness[V]) encode(t *kit.T, c codec.Codec[V], v V) []byte {
	t.Helper()
	data, err := c.Append(nil, v)
	if err != nil {
		t.Fatalf("Append = %v, want no error", err)
	}
	return append([]byte{}, data...)
}

// decoded fails unless data decodes to want.
func (h Harness[V]) decoded(t *kit.T, c codec.Codec[V], data []byte, want V) {
	t.Helper()
	if got, err := c.Decode(data); err != nil || !h.equal(got, want) {
		t.Errorf("Decode = %s, %v, want %s", show(got), err, show(want))
	}
}

// show prints a value, or the start of it.
func show(v any) string {
	s := fmt.Sprintf("%+v", v)
	return s[:min(len(s), 80)]
}
