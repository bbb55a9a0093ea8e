package cbor_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/cbor"
	"github.com/bellwethercache/bellwether/codec/codectest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type user struct {
	Name   string
	Blob   []byte
	Tags   []string
	Counts map[string]int64
	Any    any
	Next   *user
}

func full() user {
	return user{
		Name: "é", Blob: []byte{0, 255}, Tags: []string{"", "b"}, Counts: map[string]int64{"a": -1, "b": 1 << 40},
		Any: map[string]any{"k": []any{uint64(1), "x", nil}}, Next: &user{Tags: []string{}},
	}
}

func TestConforms(t *testing.T) {
	codectest.Run(t, codectest.Harness[user]{
		New:    func(testing.TB) codec.Codec[user] { return cbor.New[user]() },
		Values: []user{{}, full(), {Name: strings.Repeat("large", 5000)}},
		Text:   func(s string) user { return user{Name: s} },
		Binary: true,
		Hostile: [][]byte{
			[]byte("\xa1\x67Unknown" + strings.Repeat("\x81", 5<<20)),
			[]byte("\xa1\x63Any" + strings.Repeat("\x81", 5<<20)),
			[]byte("\xa1\x63Any" + strings.Repeat("\xc2", 5<<20)),
			[]byte(strings.Repeat("\xa1\x64Next", 900_000)),
			[]byte("\xa1\x64Tags\x9a\xff\xff\xff\xff"), []byte("\xa1\x64Blob\x5a\xff\xff\xff\xff"),
			[]byte("\xa1\x66Counts\xba\xff\xff\xff\xff"), []byte("\xa1\x63Any\xc2\x5a\xff\xff\xff\xff"),
		},
	})
}

func TestAnyConforms(t *testing.T) {
	codectest.Run(t, codectest.Harness[any]{
		New:    func(testing.TB) codec.Codec[any] { return cbor.New[any]() },
		Values: []any{nil, "x", uint64(7), int64(-7), map[string]any{"a": []any{}}},
	})
}

func TestTimesSurvive(t *testing.T) {
	c := cbor.New[time.Time]()
	for _, want := range []time.Time{{}, time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.FixedZone("", 3600))} {
		data, err := c.Append(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Decode(data)
		_, offset := got.Zone()
		_, wantOffset := want.Zone()
		if err != nil || !got.Equal(want) || offset != wantOffset {
			t.Errorf("Decode = %v, %v, want %v", got, err, want)
		}
	}
}

func TestManyElementsSurvive(t *testing.T) {
	c, want := cbor.New[[]int](), make([]int, 300_000)
	data, err := c.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decode(data); err != nil || len(got) != len(want) {
		t.Errorf("Decode = %d elements, %v, want %d", len(got), err, len(want))
	}
}

func TestEqualValuesHaveEqualBytes(t *testing.T) {
	c := cbor.New[map[string]int]()
	v := map[string]int{}
	for i := range 50 {
		v[fmt.Sprint(i)] = i
	}
	first, _ := c.Append(nil, v)
	for range 20 {
		if again, _ := c.Append(nil, v); !bytes.Equal(first, again) {
			t.Fatal("two encodings of one map differ")
		}
	}
}

func TestDepth(t *testing.T) {
	c := cbor.New[any]()
	for depth, ok := range map[int]bool{cbor.MaxDepth - 1: true, cbor.MaxDepth + 2: false} {
		data := append(bytes.Repeat([]byte{0x81}, depth), 0)
		if _, err := c.Decode(data); (err == nil) != ok {
			t.Errorf("Decode of %d levels = %v", depth, err)
		}
	}
	if _, err := c.Decode([]byte{0, 0}); err == nil {
		t.Error("Decode of two values = nil, want an error")
	}
}

type bomb struct{}

func (bomb) MarshalCBOR() ([]byte, error) { panic("secret 4711") }
func (*bomb) UnmarshalCBOR([]byte) error  { panic("secret 4711") }

func TestPanicBecomesAnError(t *testing.T) {
	if _, err := cbor.New[bomb]().Append(nil, bomb{}); err == nil || strings.Contains(err.Error(), "4711") {
		t.Errorf("Append = %v, want an error without the panic's text", err)
	}
	if _, err := cbor.New[bomb]().Decode([]byte{0}); err == nil || strings.Contains(err.Error(), "4711") {
		t.Errorf("Decode = %v, want an error without the panic's text", err)
	}
}

func FuzzDecode(f *testing.F) {
	c := cbor.New[user]()
	seed, _ := c.Append(nil, full())
	f.Add(seed)
	f.Add([]byte("\xa1\x63Any\xc2\x41\x01"))
	f.Add([]byte("\xa1\x64Tags\x9a\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := c.Decode(data)
		if err != nil {
			return
		}
		again, err := c.Append(nil, v)
		if err != nil {
			t.Fatalf("Append of what Decode accepted: %v", err)
		}
		if w, err := c.Decode(again); err != nil {
			t.Errorf("Decode of what Append wrote = %v", err)
		} else if third, _ := c.Append(nil, w); !bytes.Equal(third, again) {
			t.Errorf("a second round trip gives %x, want %x", third, again)
		}
	})
}

func ExampleNew() {
	c := cbor.New[[]string]()
	data, _ := c.Append(nil, []string{"a", "b"})
	v, _ := c.Decode(data)
	fmt.Printf("%x %v %v\n", data, v, reflect.TypeOf(v))
	// Output: 8261616162 [a b] []string
}
