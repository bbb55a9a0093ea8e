package codec_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/bellwethercache/bellwether/codec"
)

func roundTrip[V any](t *testing.T, c codec.Codec[V], values ...V) {
	t.Helper()
	for _, v := range values {
		b, err := c.Append([]byte("prefix"), v)
		if err != nil || !bytes.HasPrefix(b, []byte("prefix")) {
			t.Errorf("Append(%v) = %q, %v, want it after the prefix", v, b, err)
			continue
		}
		got, err := c.Decode(b[len("prefix"):])
		if err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("Decode = %#v, %v, want %#v", got, err, v)
		}
	}
}

type user struct {
	Name string
	Tags []string
	Next *user
}

func TestRoundTrip(t *testing.T) {
	roundTrip(t, codec.JSON[user](), user{}, user{Name: "é <&>", Tags: []string{"a"}, Next: &user{}})
	roundTrip(t, codec.JSON[*user](), nil, &user{Name: "x"})
	roundTrip(t, codec.JSON[map[string]int](), nil, map[string]int{}, map[string]int{"a": 1})
	roundTrip(t, codec.JSON[float64](), 0, -1.5)
	roundTrip(t, codec.Bytes(), []byte{}, []byte("\x00\xff"), []byte(strings.Repeat("x", 1<<16)))
	roundTrip(t, codec.String(), "", "null", "\x00\xff not UTF-8 \xfe")
}

func TestIDsDiffer(t *testing.T) {
	if j, b, s := codec.JSON[int]().ID(), codec.Bytes().ID(), codec.String().ID(); j == b || b == s || j == s || j == 0 {
		t.Errorf("IDs %d %d %d", j, b, s)
	}
}

func TestDecodeDoesNotRetain(t *testing.T) {
	data := []byte("value")
	v, err := codec.Bytes().Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if string(v) != "value" {
		t.Errorf("Decode = %q after its input was changed", v)
	}
}

func TestJSONErrors(t *testing.T) {
	if _, err := codec.JSON[chan int]().Append(nil, nil); err == nil {
		t.Error("Append of a channel = nil, want an error")
	}
	for _, s := range []string{"", "{", "[1", "nul", strings.Repeat("[", 100_000)} {
		if v, err := codec.JSON[user]().Decode([]byte(s)); err == nil || !reflect.DeepEqual(v, user{}) {
			t.Errorf("Decode(%.10q) = %v, %v, want an error and no value", s, v, err)
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
