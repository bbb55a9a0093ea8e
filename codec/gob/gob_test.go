package gob_test

import (
	"context"
	library "encoding/gob"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"os/exec"
	"reflect"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/codectest"
	"github.com/bellwethercache/bellwether/codec/gob"
)

type ints map[string]int

type leaf struct{ Sum complex128 }

func TestMain(m *testing.M) {
	library.RegisterName("ints", ints{})
	library.Register(leaf{})
	library.Register(map[string]any{})
	library.Register([]any{})
	goleak.VerifyTestMain(m)
}

type user struct {
	Name   string
	Blob   []byte
	Tags   []string
	Nums   []int64
	Counts map[string]int64
	Pairs  map[[2]int8][]leaf
	At     time.Time
	Any    any
	Next   *user
}

func full() user {
	return user{
		Name: "é", Blob: []byte{0, 255}, Tags: []string{"", "b"}, Nums: []int64{1, -1, 300, math.MinInt64},
		Counts: map[string]int64{"a": -1, "b": 1 << 40}, Pairs: map[[2]int8][]leaf{{1, -1}: {{}, {complex(1, -2)}}},
		At:  time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Any: map[string]any{"k": []any{int8(1), "x", nil, ints{"a": 1}, leaf{1i}, []any(nil)}}, Next: &user{Any: leaf{}},
	}
}

func hostile() (all [][]byte) {
	for _, inputs := range []map[string]string{killers(), limits()} {
		for _, data := range inputs {
			all = append(all, []byte(data))
		}
	}
	return all
}

func TestConforms(t *testing.T) {
	codectest.Run(t, codectest.Harness[user]{
		New:     func(testing.TB) codec.Codec[user] { return gob.New[user]() },
		Values:  []user{{}, full(), {Name: strings.Repeat("large", 5000)}, {Nums: make([]int64, 5000)}},
		Text:    func(s string) user { return user{Name: s} },
		Binary:  true,
		Hostile: hostile(),
	})
}

// plain has no interfaces, so that its definitions never change.
type plain struct {
	Name   string
	Counts map[string]int64
	Tags   []string
	Next   *plain
}

func TestPlainConforms(t *testing.T) {
	codectest.Run(t, codectest.Harness[*plain]{
		New: func(testing.TB) codec.Codec[*plain] { return gob.New[*plain]() },
		Values: []*plain{
			{}, {Name: "x", Counts: map[string]int64{}, Next: &plain{}}, {Tags: []string{"", "a"}}, {Name: strings.Repeat("large", 5000)},
		},
		Text:    func(s string) *plain { return &plain{Name: s} },
		Binary:  true,
		Hostile: hostile(),
	})
}

func TestAnyConforms(t *testing.T) {
	codectest.Run(t, codectest.Harness[any]{
		New:    func(testing.TB) codec.Codec[any] { return gob.New[any]() },
		Values: []any{nil, "x", int8(7), -1.5, leaf{1}, map[string]any{"a": []any{nil, ints{"b": 2}, []any{leaf{}}}}},
		Text:   func(s string) any { return s }, Binary: true,
	})
}

func TestSinglesConform(t *testing.T) {
	codectest.Run(t, codectest.Harness[[]int64]{
		New:    func(testing.TB) codec.Codec[[]int64] { return gob.New[[]int64]() },
		Values: [][]int64{nil, {1, -1, 1 << 62}, make([]int64, 5_000)},
	})
	codectest.Run(t, codectest.Harness[map[string]int]{
		New:     func(testing.TB) codec.Codec[map[string]int] { return gob.New[map[string]int]() },
		Values:  []map[string]int{{}, {"": 1, "a": -1}},
		Hostile: [][]byte{[]byte(mapOf(65, 6, 2) + single(65, uintOf(huge)))},
	})
	codectest.Run(t, codectest.Harness[big.Int]{
		New:    func(testing.TB) codec.Codec[big.Int] { return gob.New[big.Int]() },
		Values: []big.Int{*big.NewInt(1), *big.NewInt(-1 << 62)},
	})
}

// nest is a type of which only bytes limit the depth.
type nest []nest

func TestNestConforms(t *testing.T) {
	codectest.Run(t, codectest.Harness[nest]{
		New:     func(testing.TB) codec.Codec[nest] { return gob.New[nest]() },
		Values:  []nest{nil, {nil, {nil}}},
		Hostile: [][]byte{[]byte(sliceOf(65, 65) + single(65, strings.Repeat("\x01", 5<<20)+"\x00"))},
	})
}

const child = "BELLWETHER_GOB_CHILD"

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
		_, err = gob.New[user]().Decode([]byte(data))
	} else {
		err = library.NewDecoder(strings.NewReader(data)).Decode(new(user))
	}
	fmt.Println("survived", err != nil)
}

func inChild(t *testing.T, what string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), child+"="+what, "GORACE=atexit_sleep_ms=0")
	out, _ := cmd.CombinedOutput()
	return string(out[:min(len(out), 1000)])
}

// fatal are the killers that overflow the stack.
var fatal = []string{"nested pointers", "nested unknown", "arrays unknown", "maps unknown", "types in types"}

func TestKillersDoNotKill(t *testing.T) {
	for _, what := range fatal {
		if out := inChild(t, "guarded "+what); !strings.Contains(out, "survived true") {
			t.Errorf("%s: want the child to survive with an error, it said %.300s", what, out)
		}
	}
}

// Without the guard the library overflows the stack: or else this package is
// not needed any more.
func TestKillersKill(t *testing.T) {
	for _, what := range fatal {
		if out := inChild(t, what); !strings.Contains(out, "stack overflow") {
			t.Errorf("%s: want the library to overflow the stack, the child said %.300s", what, out)
		}
	}
}

func TestAppendRefusesWhatDecodeWould(t *testing.T) {
	type list struct{ Next *list }
	var deep *list
	for range gob.MaxDepth + 1 {
		deep = &list{deep}
	}
	c := gob.New[*list]()
	for range 2 { // the second has an encoder that knows the type
		if _, err := c.Append(nil, deep); !errors.Is(err, gob.ErrDepth) {
			t.Errorf("Append of a long list = %v, want ErrDepth", err)
		}
		if _, err := c.Append(nil, &list{}); err != nil {
			t.Errorf("Append of a short list = %v", err)
		}
	}
	data, err := c.Append(nil, deep.Next)
	if err != nil {
		t.Errorf("Append of a list one shorter = %v", err)
	}
	if v, err := gob.New[*list]().Decode(data); err != nil || !reflect.DeepEqual(v, deep.Next) {
		t.Errorf("Decode of a list one shorter = %v, %v", v, err)
	}
	if _, err := gob.New[*list]().Append(nil, nil); !errors.Is(err, gob.ErrNil) {
		t.Errorf("Append of nil = %v, want ErrNil", err)
	}
	if _, err := gob.New[**list]().Append(nil, new(*list)); !errors.Is(err, gob.ErrNil) {
		t.Errorf("Append of a pointer to nil = %v, want ErrNil", err)
	}
	for what, c := range map[string]interface{ fails() error }{
		"a channel": try[chan int]{}, "no exported field": try[struct{ x int }]{}, "a pointer to itself": try[loop]{},
		"a nil element": try[[]*int]{v: []*int{nil}}, "an unregistered type": try[any]{v: struct{ X int }{1}},
	} {
		if c.fails() == nil {
			t.Errorf("Append of %s = nil, want an error", what)
		}
	}
}

type loop *loop

type try[V any] struct{ v V }

func (c try[V]) fails() error {
	_, err := gob.New[V]().Append(nil, c.v)
	return err
}

// A store outlives the types in it.
func TestFieldsComeAndGo(t *testing.T) {
	type old struct {
		Name   string
		Gone   map[string][]any
		Counts map[string]int64
		Lost   struct{ A, B []leaf }
	}
	v := old{"x", map[string][]any{"": {1, leaf{2}, "s"}}, map[string]int64{"a": 1}, struct{ A, B []leaf }{A: []leaf{{3}}}}
	data, err := gob.New[old]().Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		got, err := gob.New[plain]().Decode(data)
		if want := (plain{Name: "x", Counts: map[string]int64{"a": 1}}); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("Decode = %+v, %v, want %+v", got, err, want)
		}
	}
	if _, err := gob.New[leaf]().Decode(data); err == nil {
		t.Error("Decode into a type with none of the fields = nil, want an error")
	}
}

func TestLimitsPass(t *testing.T) {
	for what, data := range limits() {
		if _, err := gob.New[plain]().Decode([]byte(data)); err != nil {
			t.Errorf("Decode of %s = %v, want no error", what, err)
		}
	}
}

// What the library writes decodes as long as definitions come first, and the
// library decodes what the codec writes.
func TestTheLibraryAgrees(t *testing.T) {
	want := plain{Name: "x", Next: &plain{Tags: []string{"a"}}}
	var b strings.Builder
	if err := library.NewEncoder(&b).Encode(want); err != nil {
		t.Fatal(err)
	}
	if got, err := gob.New[plain]().Decode([]byte(b.String())); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode of what the library wrote = %+v, %v", got, err)
	}
	data, err := gob.New[user]().Append(nil, full())
	if err != nil {
		t.Fatal(err)
	}
	var got user
	if err := library.NewDecoder(strings.NewReader(string(data))).Decode(&got); err != nil || !reflect.DeepEqual(got, full()) {
		t.Errorf("the library decodes %+v, %v, want %+v", got, err, full())
	}
}

type bomb struct{}

func (bomb) GobEncode() ([]byte, error) { panic("secret 4711") }
func (*bomb) GobDecode([]byte) error    { panic("secret 4711") }

func TestPanicBecomesAnError(t *testing.T) {
	if _, err := gob.New[bomb]().Append(nil, bomb{}); err == nil || strings.Contains(err.Error(), "4711") {
		t.Errorf("Append = %v, want an error without the panic's text", err)
	}
	if _, err := gob.New[bomb]().Decode([]byte(opaque(65) + single(65, "\x00"))); err == nil || err.Error() != "codec: decode gob: panic: string" {
		t.Errorf("Decode = %v, want an error without the panic's text", err)
	}
}

// What is let through and decodes, encodes to what is let through.
func FuzzDecode(f *testing.F) {
	c := gob.New[user]()
	for _, v := range []user{{}, full()} {
		seed, err := c.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	for _, data := range killers() {
		if len(data) < 1<<12 {
			f.Add([]byte(data))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := c.Decode(data)
		if err != nil {
			return
		}
		again, err := c.Append(nil, v)
		if err != nil {
			return // a nil in an element
		}
		if _, err := c.Decode(again); err != nil {
			t.Errorf("Decode of what Append wrote = %v (%x)", err, again)
		}
	})
}

func ExampleNew() {
	c := gob.New[map[complex64]string]()
	data, _ := c.Append(nil, map[complex64]string{1i: "one"})
	v, _ := c.Decode(data)
	fmt.Println(v)
	_, err := c.Decode(data[:len(data)-2])
	fmt.Println(err)
	// Output:
	// map[(0+1i):one]
	// codec: decode gob: claims more than there is
}
