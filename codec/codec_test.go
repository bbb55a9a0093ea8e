package codec_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/codectest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type user struct {
	Name string
	Tags []string
	Next *user
}

func made[V any](c codec.Codec[V]) func(testing.TB) codec.Codec[V] {
	return func(testing.TB) codec.Codec[V] { return c }
}

func TestJSONConforms(t *testing.T) {
	codectest.Run(t, codectest.Harness[user]{
		New: made(codec.JSON[user]()),
		Values: []user{
			{}, {Tags: []string{}}, {Name: "é <&>", Tags: []string{"a", ""}, Next: &user{Next: &user{}}},
			{Name: strings.Repeat("large", 5000)},
		},
		Text: func(s string) user { return user{Name: s} },
		Hostile: [][]byte{
			[]byte(`{"Unknown":` + strings.Repeat("[", 5<<20)), []byte(strings.Repeat(`{"Next":`, 700_000)),
		},
	})
}

func TestJSONPointersConform(t *testing.T) {
	codectest.Run(t, codectest.Harness[*user]{New: made(codec.JSON[*user]()), Values: []*user{nil, {}, {Name: "x"}}})
}

func TestJSONAnyConforms(t *testing.T) {
	codectest.Run(t, codectest.Harness[any]{
		New:    made(codec.JSON[any]()),
		Values: []any{nil, "", -1.5, false, []any{}, map[string]any{"a": []any{1.0, nil}}},
		Text:   func(s string) any { return s },
	})
}

func TestBytesConform(t *testing.T) {
	codectest.Run(t, codectest.Harness[[]byte]{
		New:    made(codec.Bytes()),
		Values: [][]byte{{}, []byte("\x00\xff"), []byte(strings.Repeat("x", 1<<16))},
		Text:   func(s string) []byte { return []byte(s) },
		Binary: true,
	})
}

func TestStringConforms(t *testing.T) {
	codectest.Run(t, codectest.Harness[string]{
		New: made(codec.String()), Values: []string{"", "null"}, Text: func(s string) string { return s }, Binary: true,
	})
}

func TestJSONErrors(t *testing.T) {
	if _, err := codec.JSON[chan int]().Append(nil, nil); err == nil {
		t.Error("Append of a channel = nil, want an error")
	}
	if _, err := codec.JSON[float64]().Append(nil, math.NaN()); err == nil {
		t.Error("Append of NaN = nil, want an error")
	}
	for _, s := range []string{"", "{", "[1", "nul", "{} {}", strings.Repeat("[", 100_000)} {
		if v, err := codec.JSON[user]().Decode([]byte(s)); err == nil || !reflect.DeepEqual(v, user{}) {
			t.Errorf("Decode(%.10q) = %v, %v, want an error and no value", s, v, err)
		}
	}
}

func TestErrorHidesTheValueAndKeepsTheCause(t *testing.T) {
	cause := errors.New("secret 4711")
	err := error(&codec.Error{Codec: "X", Op: "decode", Err: cause})
	if err.Error() != "codec: decode X: *errors.errorString" || !errors.Is(err, cause) {
		t.Errorf("Error = %q, want the cause's type, and the cause inside", err)
	}
	err = &codec.Error{Codec: "X", Op: "decode", Err: codec.Reason("too deep")}
	if err.Error() != "codec: decode X: too deep" || !errors.Is(err, codec.Reason("too deep")) {
		t.Errorf("Error = %q, want the reason", err)
	}
}

type bomb struct{}

func (bomb) MarshalJSON() ([]byte, error) { panic("secret 4711") }
func (*bomb) UnmarshalJSON([]byte) error  { panic("secret 4711") }

func TestPanicBecomesAnError(t *testing.T) {
	c := codec.JSON[bomb]()
	if _, err := c.Append(nil, bomb{}); err == nil || err.Error() != "codec: encode JSON: panic: string" {
		t.Errorf("Append = %v, want an error without the panic's text", err)
	}
	if _, err := c.Decode([]byte("{}")); err == nil || err.Error() != "codec: decode JSON: panic: string" {
		t.Errorf("Decode = %v, want an error without the panic's text", err)
	}
}

func TestWrapNeverCollides(t *testing.T) {
	seen := map[uint16]bool{}
	add := func(id uint16) {
		if seen[id] {
			t.Fatalf("two stacks have the ID %d", id)
		}
		seen[id] = true
	}
	for id := uint16(1); id <= codec.MaxID; id++ {
		add(id)
		for first := uint16(1); first <= 7; first++ {
			one, err := codec.Wrap(first, id)
			if err != nil {
				t.Fatal(err)
			}
			add(one)
			for second := uint16(1); second <= 7; second++ {
				two, err := codec.Wrap(second, one)
				if err != nil {
					t.Fatal(err)
				}
				add(two)
				if id, err := codec.Wrap(1, two); err == nil {
					t.Fatalf("Wrap of two wrappers = %d, want an error", id)
				}
			}
		}
	}
	for _, bad := range [][2]uint16{{0, 1}, {8, 1}, {1, 0}} {
		if id, err := codec.Wrap(bad[0], bad[1]); err == nil {
			t.Errorf("Wrap(%d, %d) = %d, want an error", bad[0], bad[1], id)
		}
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"Name":"x","Next":{"Tags":["a"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := codec.JSON[user]()
		v, err := c.Decode(data)
		if err != nil {
			return
		}
		if _, err := c.Append(nil, v); err != nil {
			t.Errorf("Append of what Decode accepted: %v", err)
		}
	})
}
