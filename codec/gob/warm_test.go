package gob_test

import (
	"bytes"
	library "encoding/gob"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/gob"
)

func decoded[V any](t *testing.T, c codec.Codec[V], data string, want V) {
	t.Helper()
	if got, err := c.Decode([]byte(data)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode = %+v, %v, want %+v", got, err, want)
	}
}

// Every encoding says what its types are, also that of an encoder that has
// said so before.
func TestEveryEncodingStandsAlone(t *testing.T) {
	c := gob.New[plain]()
	for i := range 5 {
		want := plain{Name: fmt.Sprint(i), Next: &plain{Tags: []string{"a"}}}
		data, err := c.Append([]byte("x"), want)
		if err != nil {
			t.Fatal(err)
		}
		var got plain
		if err := library.NewDecoder(bytes.NewReader(data[1:])).Decode(&got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("the library decodes encoding %d to %+v, %v, want %+v", i, got, err, want)
		}
		decoded(t, gob.New[plain](), string(data[1:]), want)
		decoded(t, c, string(data[1:]), want)
	}
}

// An encoder that failed in the middle is not asked again.
func TestAppendAfterAnError(t *testing.T) {
	type maybe struct {
		Name string
		Elem []*int
	}
	c, one := gob.New[maybe](), 1
	for range 5 {
		if _, err := c.Append(nil, maybe{Name: "y", Elem: []*int{&one, nil}}); err == nil {
			t.Error("Append of a nil element = nil, want an error")
		}
		data, err := c.Append(nil, maybe{Name: "x", Elem: []*int{&one}})
		if err != nil {
			t.Fatal(err)
		}
		decoded(t, c, string(data), maybe{"x", []*int{&one}})
	}
}

// A decoder that failed in the middle is not asked again.
func TestDecodeAfterAnError(t *testing.T) {
	type small struct {
		Name string
		N    []int8
	}
	c := gob.New[small]()
	head := structOf(65, field{"Name", 6}, field{"N", 66}) + sliceOf(66, 2)
	for range 5 {
		decoded(t, c, head+value(65, "\x01\x01x\x01\x02\x02\x04\x00"), small{"x", []int8{1, 2}})
		if v, err := c.Decode([]byte(head + value(65, "\x01\x01y\x01\x02\x02\xfe\x04\x00\x00"))); err == nil || v.Name != "" {
			t.Errorf("Decode of an int8 of 512 = %+v, %v, want an error and no value", v, err)
		}
		decoded(t, c, head+value(65, "\x01\x01z\x00"), small{Name: "z"})
	}
}

// The same bytes mean something else after other definitions.
func TestDefinitionsAreNotMixedUp(t *testing.T) {
	type pair struct{ A, B string }
	c := gob.New[pair]()
	ab, ba := structOf(65, field{"A", 6}, field{"B", 6}), structOf(65, field{"B", 6}, field{"A", 6})
	body := value(65, "\x01\x01x\x01\x01y\x00")
	check := func(i int64) {
		decoded(t, c, ab+body, pair{"x", "y"})
		decoded(t, c, ba+body, pair{"y", "x"})
		decoded(t, c, ab+sliceOf(70, 2)+body, pair{"x", "y"}) // ab is the start of it
		decoded(t, c, structOf(71+i, field{"B", 6})+value(71+i, "\x01\x01y\x00"), pair{B: "y"})
		decoded(t, c, structOf(71+i, field{"Gone", 66}, field{"A", 6})+sliceOf(66, 2)+value(71+i, "\x01\x01\x02\x01\x01x\x00"), pair{A: "x"})
	}
	var wg sync.WaitGroup
	for i := range int64(20) { // more than a codec keeps
		check(i)
		wg.Go(func() { check(i) })
	}
	wg.Wait()
}

// What is guarded the first time is guarded the second time.
func TestHostileBytesAfterKnownDefinitions(t *testing.T) {
	c := gob.New[plain]()
	head := structOf(65, field{"Name", 6}, field{"Counts", 66}, field{"Next", 65}) + mapOf(66, 6, 2)
	for range 3 {
		decoded(t, c, head+value(65, "\x01\x01x\x00"), plain{Name: "x"})
		for _, bad := range []string{
			value(65, "\x02"+uintOf(huge)+"\x00"), value(65, "\x01\x01x\x00") + "\x00", value(65, "\x01\x01x"), "", value(66, "\x00"),
			value(65, "\x01\x01x\x00") + value(65, "\x00"), structOf(65, field{"Name", 6}) + value(65, "\x01\x01x\x00"),
		} {
			if _, err := c.Decode([]byte(head + bad)); err == nil {
				t.Errorf("Decode of %q after known definitions = nil, want an error", bad)
			}
		}
	}
}

// The types in interfaces differ from value to value.
func TestInterfacesAreDefinedEachTime(t *testing.T) {
	c := gob.New[[]any]()
	for _, v := range [][]any{{1}, {leaf{1}}, {ints{"a": 1}, leaf{2}}, {map[string]any{"a": []any{leaf{3}}}}, {1, nil}} {
		data, err := c.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		decoded(t, gob.New[[]any](), string(data), v)
	}
}

// A decoder that has read the definitions before reads what a new one reads.
func FuzzWarm(f *testing.F) {
	warm := gob.New[plain]()
	for _, v := range []plain{{}, {Name: "x", Counts: map[string]int64{"a": 1}, Next: &plain{Tags: []string{"a", ""}}}} {
		data, err := warm.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(structOf(65, field{"Name", 6}) + value(65, "\x01\x01x\x00")))
	f.Fuzz(func(t *testing.T, data []byte) {
		want, wantErr := gob.New[plain]().Decode(data)
		for range 2 {
			if got, err := warm.Decode(data); !reflect.DeepEqual(got, want) || (err == nil) != (wantErr == nil) {
				t.Errorf("Decode = %+v, %v, want %+v, %v as of a new codec", got, err, want, wantErr)
			}
		}
	})
}
