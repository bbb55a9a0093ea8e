package msgpack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	library "github.com/vmihailenco/msgpack/v5"
	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/codectest"
	"github.com/bellwethercache/bellwether/codec/msgpack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type user struct {
	Name   string
	Blob   []byte
	Tags   []string
	Nums   []int64
	Counts map[string]int64
	Raw    library.RawMessage
	Any    any
	Next   *user
}

func full() user {
	return user{
		Name: "é", Blob: []byte{0, 255}, Tags: []string{"", "b"}, Nums: []int64{1, -1, 300, 1 << 40},
		Counts: map[string]int64{"a": -1, "b": 1 << 40}, Raw: library.RawMessage{0x92, 1, 2},
		Any: map[string]any{"k": []any{int8(1), "x", nil}}, Next: &user{Tags: []string{}},
	}
}

// killers are inputs that a process does not survive without the guard, or
// only by luck: in what V has, in any, and in a field V does not have.
func killers() map[string][]byte {
	field := func(name, data string) []byte {
		return []byte("\x81" + string([]byte{0xa0 + byte(len(name))}) + name + data)
	}
	return map[string][]byte{
		"count":            field("Nums", "\xdd\xff\xff\xff\xff"),
		"count of strings": field("Tags", "\xdd\xff\xff\xff\xff"),
		"count in any":     field("Any", "\xdd\xff\xff\xff\xff"),
		"map in any":       field("Any", "\xdf\xff\xff\xff\xff"),
		"bytes":            field("Blob", "\xc6\xff\xff\xff\xff"),
		"count unknown":    field("Unknown", "\xdd\xff\xff\xff\xff"),
		"nested in any":    field("Any", strings.Repeat("\x91", 5<<20)+"\xc0"),
		"maps in any":      field("Any", strings.Repeat("\x81\xa1a", 2<<20)+"\xc0"),
		"nested in raw":    field("Raw", strings.Repeat("\x91", 5<<20)+"\xc0"),
		"nested unknown":   field("Unknown", strings.Repeat("\x91", 5<<20)+"\xc0"),
		"nested pointers":  []byte(strings.Repeat("\x81\xa4Next", 2<<20) + "\xc0"),
	}
}

func TestConforms(t *testing.T) {
	hostile := [][]byte{[]byte("\xc1"), []byte("\xdd\x00\x00\x00\x02\xdc\x00\x01")}
	for _, data := range killers() {
		hostile = append(hostile, data)
	}
	codectest.Run(t, codectest.Harness[user]{
		New:     func(testing.TB) codec.Codec[user] { return msgpack.New[user]() },
		Values:  []user{{Raw: library.RawMessage{1}}, full(), {Name: strings.Repeat("large", 5000), Raw: library.RawMessage{1}}},
		Text:    func(s string) user { return user{Name: s, Raw: library.RawMessage{1}} },
		Binary:  true,
		Hostile: hostile,
	})
}

func TestAnyConforms(t *testing.T) {
	codectest.Run(t, codectest.Harness[any]{
		New:    func(testing.TB) codec.Codec[any] { return msgpack.New[any]() },
		Values: []any{nil, "x", int8(7), -1.5, map[string]any{"a": []any{}}},
		Text:   func(s string) any { return s }, Binary: true,
	})
}

func TestIntsConform(t *testing.T) {
	codectest.Run(t, codectest.Harness[[]int64]{
		New:    func(testing.TB) codec.Codec[[]int64] { return msgpack.New[[]int64]() },
		Values: [][]int64{nil, {}, {1, -1, 1 << 62}, make([]int64, 5_000)},
	})
}

const child = "BELLWETHER_MSGPACK_CHILD"

// TestChild decodes one killer in a process of its own, with little stack.
func TestChild(t *testing.T) {
	what, guarded := strings.CutPrefix(os.Getenv(child), "guarded ")
	data, ok := killers()[what]
	if !ok {
		t.Skip("runs as a child of the next test")
	}
	debug.SetMaxStack(64 << 20)
	var err error
	if guarded {
		_, err = msgpack.New[user]().Decode(data)
	} else {
		err = library.Unmarshal(data, new(user))
	}
	fmt.Println("survived", err != nil)
}

func inChild(t *testing.T, what string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // or it takes all memory there is, slowly
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), child+"="+what, "GORACE=atexit_sleep_ms=0")
	out, _ := cmd.CombinedOutput()
	return string(out[:min(len(out), 1000)])
}

func TestKillersDoNotKill(t *testing.T) {
	for what := range killers() {
		if out := inChild(t, "guarded "+what); !strings.Contains(out, "survived true") {
			t.Fatalf("%s: want the child to survive with an error, it said %.300s", what, out)
		}
	}
}

// Without the guard the library overflows the stack: or else this package is
// not needed any more.
func TestKillersKill(t *testing.T) {
	for _, what := range []string{"nested in any", "maps in any", "nested unknown"} {
		if out := inChild(t, what); !strings.Contains(out, "stack overflow") {
			t.Errorf("%s: want the library to overflow the stack, the child said %.300s", what, out)
		}
	}
}

func TestRefusalsNameTheReason(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("\x91", n) + "\xc0" }
	for data, want := range map[string]error{
		"": msgpack.ErrTruncated, "\xdd\xff\xff\xff\xff": msgpack.ErrTruncated, "\x92\x01": msgpack.ErrTruncated,
		"\xa5abc": msgpack.ErrTruncated, "\xdb\x00\x00\x00\x04abc": msgpack.ErrTruncated, "\xd9": msgpack.ErrTruncated,
		"\xcf\x00": msgpack.ErrTruncated, "\xd8\x00\x00": msgpack.ErrTruncated, "\xc7\x02\x00a": msgpack.ErrTruncated,
		"\x92\xdc\x00\x03\x01\x01\x01": msgpack.ErrTruncated, // five values in four bytes
		"\xc1":                         msgpack.ErrFormat, "\x91\xc1": msgpack.ErrFormat, "\x01\x01": msgpack.ErrTrailing, "\x90\x90": msgpack.ErrTrailing,
		deep(msgpack.MaxDepth + 1): msgpack.ErrDepth, deep(msgpack.MaxDepth): nil, "\xdd\x00\x00\x00\x01\x01": nil, "\x80": nil, "\x90": nil,
		"\xde\x00\x01\xa1a\x01": nil, "\xc4\x01a": nil, "\xc5\x00\x01a": nil, "\xc6\x00\x00\x00\x01a": nil,
		"\xd9\x01a": nil, "\xda\x00\x01a": nil, "\xdb\x00\x00\x00\x01a": nil, "\xd6\xff\x00\x00\x00\x01": nil,
		"\x93\xca\x00\x00\x00\x00\xcb\x00\x00\x00\x00\x00\x00\x00\x00\xd3\x00\x00\x00\x00\x00\x00\x00\x01": nil,
		"\x96\xcc\x01\xcd\x00\x01\xce\x00\x00\x00\x01\xd0\x01\xd1\x00\x01\xd2\x00\x00\x00\x01":             nil,
	} {
		if _, err := msgpack.New[any]().Decode([]byte(data)); !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("Decode(%.20q) = %v, want %v", data, err, want)
		}
	}
}

func TestTimesSurvive(t *testing.T) {
	c := msgpack.New[time.Time]()
	for _, want := range []time.Time{{}, time.Unix(1, 0), time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC), time.Date(2999, 1, 1, 0, 0, 0, 1, time.UTC)} {
		data, err := c.Append(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Decode(data); err != nil || !got.Equal(want) {
			t.Errorf("Decode = %v, %v, want %v", got, err, want)
		}
	}
}

// The library writes nothing for an empty raw message, and nests as deep as it goes.
func TestAppendRefusesWhatDecodeWould(t *testing.T) {
	if _, err := msgpack.New[user]().Append(nil, user{Raw: library.RawMessage{}}); err == nil {
		t.Error("Append with an empty raw message = nil, want an error")
	}
	type list struct{ Next *list }
	var deep *list
	for range msgpack.MaxDepth + 1 {
		deep = &list{deep}
	}
	if _, err := msgpack.New[*list]().Append(nil, deep); !errors.Is(err, msgpack.ErrDepth) {
		t.Errorf("Append of a long list = %v, want ErrDepth", err)
	}
	if _, err := msgpack.New[*list]().Append(nil, deep.Next); err != nil {
		t.Errorf("Append of a list one shorter = %v", err)
	}
}

type bomb struct{}

func (bomb) EncodeMsgpack(*library.Encoder) error  { panic("secret 4711") }
func (*bomb) DecodeMsgpack(*library.Decoder) error { panic("secret 4711") }

func TestPanicBecomesAnError(t *testing.T) {
	if _, err := msgpack.New[bomb]().Append(nil, bomb{}); err == nil || strings.Contains(err.Error(), "4711") {
		t.Errorf("Append = %v, want an error without the panic's text", err)
	}
	if _, err := msgpack.New[bomb]().Decode([]byte{0}); err == nil || strings.Contains(err.Error(), "4711") {
		t.Errorf("Decode = %v, want an error without the panic's text", err)
	}
}

// What the library writes is what the guard lets through.
func FuzzDecode(f *testing.F) {
	c := msgpack.New[user]()
	seed, _ := c.Append(nil, full())
	f.Add(seed)
	for _, data := range killers() {
		f.Add(data[:min(len(data), 64)])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := c.Decode(data)
		if err != nil {
			return
		}
		again, err := c.Append(nil, v)
		if err != nil {
			return // an empty Raw, a value in Any that has no encoding
		}
		if _, err := c.Decode(again); err != nil {
			t.Errorf("Decode of what Append wrote = %v (%x)", err, again)
		}
	})
}

func ExampleNew() {
	c := msgpack.New[[]string]()
	data, _ := c.Append(nil, []string{"a", "b"})
	v, _ := c.Decode(data)
	fmt.Printf("%x %v\n", data, v)
	_, err := c.Decode(bytes.Repeat([]byte{0x91}, 1<<20))
	fmt.Println(err)
	// Output:
	// 92a161a162 [a b]
	// codec: decode msgpack: nested too deep
}
