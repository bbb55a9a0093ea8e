package protobuf_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/codectest"
	"github.com/bellwethercache/bellwether/codec/internal/testpb"
	"github.com/bellwethercache/bellwether/codec/protobuf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func full() *testpb.User {
	return &testpb.User{
		Id: -1, Name: "é", Score: 1.5, Active: true, Tags: []string{"", "b"}, Counts: map[string]int64{"a": 1},
		Blob: []byte{0, 255}, Next: &testpb.User{Next: &testpb.User{}},
	}
}

func TestConforms(t *testing.T) {
	codectest.Run(t, codectest.Harness[*testpb.User]{
		New:    func(testing.TB) codec.Codec[*testpb.User] { return protobuf.New[testpb.User]() },
		Values: []*testpb.User{{}, full(), {Name: strings.Repeat("large", 5000)}},
		Equal:  func(a, b *testpb.User) bool { return proto.Equal(a, b) },
		Text:   func(s string) *testpb.User { return &testpb.User{Name: s} },
		Hostile: [][]byte{
			[]byte("\x42\xff\xff\xff\xff\x0f"), []byte("\x3a\xff\xff\xff\x7f"), []byte("\x7b" + strings.Repeat("\x7b", 5<<20)),
			[]byte(strings.Repeat("\x42\x02", 1<<20)), []byte(strings.Repeat("\x2a\x00", 1<<15)),
		},
	})
}

// A struct of the well-known types nests as deep as its bytes say.
func TestDepth(t *testing.T) {
	v := &structpb.Value{}
	for range 100 {
		v = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{v}})
	}
	c := protobuf.New[structpb.Value]()
	data, err := c.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decode(data); err != nil || !proto.Equal(got, v) {
		t.Errorf("Decode of 200 levels = %v, want the value", err)
	}
}

func TestRefusals(t *testing.T) {
	c := protobuf.New[wrapperspb.StringValue]()
	if _, err := c.Append(nil, nil); !errors.Is(err, protobuf.ErrNil) {
		t.Errorf("Append(nil) = %v, want ErrNil", err)
	}
	if _, err := c.Append(nil, wrapperspb.String("\xff")); err == nil {
		t.Error("Append of invalid UTF-8 = nil, want an error")
	}
	if v, err := c.Decode([]byte("\x0a\x01\xff")); err == nil || v != nil {
		t.Errorf("Decode of invalid UTF-8 = %v, %v, want nil and an error", v, err)
	}
	// A message without a type panics in the library.
	if _, err := protobuf.New[dynamicpb.Message]().Decode([]byte("\x0a\x00")); err == nil {
		t.Error("Decode into a message without a type = nil, want an error")
	}
}

func TestUnknownFieldsSurvive(t *testing.T) {
	c, old := protobuf.New[testpb.User](), protobuf.New[wrapperspb.Int64Value]()
	data, _ := c.Append(nil, full())
	v, err := old.Decode(data) // knows field 1 only
	if err != nil {
		t.Fatal(err)
	}
	again, _ := old.Append(nil, v)
	if got, err := c.Decode(again); err != nil || !proto.Equal(got, full()) {
		t.Errorf("Decode = %v, %v, want all fields", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	c := protobuf.New[testpb.User]()
	seed, _ := c.Append(nil, full())
	f.Add(seed)
	f.Add([]byte("\x42\x02\x42\x00\x7b\x7c"))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := c.Decode(data)
		if err != nil {
			return
		}
		if _, err := c.Append(nil, v); err != nil {
			t.Errorf("Append of what Decode accepted: %v", err)
		}
	})
}

func ExampleNew() {
	c := protobuf.New[wrapperspb.StringValue]() // a codec.Codec[*wrapperspb.StringValue]
	data, _ := c.Append(nil, wrapperspb.String("hi"))
	v, _ := c.Decode(data)
	fmt.Printf("%x %s\n", data, v.GetValue())
	// Output: 0a026869 hi
}
