package codectest

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// naive is a codec that trusts a library which trusts its input.
type naive[V any] struct{}

func (naive[V]) ID() uint16 { return 102 }

func (naive[V]) Append(dst []byte, v V) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	err := gob.NewEncoder(buf).Encode(v)
	return buf.Bytes(), err
}

func (naive[V]) Decode(data []byte) (v V, err error) {
	if err = gob.NewDecoder(bytes.NewReader(data)).Decode(&v); err != nil {
		var zero V
		return zero, err
	}
	return v, nil
}

type named struct {
	Name   string
	Counts map[string]int64
}

type nest []nest

// fails returns which of the named rules a naive codec breaks.
func fails[V any](t *testing.T, names string, values ...V) string {
	t.Helper()
	h := Harness[V]{New: func(testing.TB) codec.Codec[V] { return naive[V]{} }, Values: values}
	var cases []kit.Case[Harness[V]]
	for _, c := range h.cases() {
		if strings.Contains(names, c.Name) {
			cases = append(cases, c)
		}
	}
	return kit.Names(kit.Failed(t, h, cases)...)
}

func TestNaiveCodecsFail(t *testing.T) {
	const rules = "round/values append/prefix decode/retains hostile/claims hostile/inflated"
	if got := fails(t, rules, named{}, named{"x", map[string]int64{"a": 1, "b": 2}}); got != "hostile/inflated" {
		t.Errorf("a struct with a map fails %q, want hostile/inflated", got)
	}
	if got := fails(t, rules, map[string]int64{"a": 1 << 40}, map[string]int64{"a": 1, "b": 1}); got != "hostile/claims hostile/inflated" {
		t.Errorf("a map fails %q, want hostile/claims and hostile/inflated", got)
	}
}

const child = "BELLWETHER_CODECTEST_CHILD"

// TestChild decodes what no process survives, in one of its own, with little
// stack.
func TestChild(t *testing.T) {
	debug.SetMaxStack(64 << 20)
	switch os.Getenv(child) {
	case "struct":
		fmt.Println("survived", fails(t, "hostile/nested", named{}))
	case "nest":
		fmt.Println("survived", fails(t, "hostile/nested", nest{}))
	default:
		t.Skip("runs as a child of the next test")
	}
}

func TestNaiveCodecsDie(t *testing.T) {
	for _, what := range []string{"struct", "nest"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestChild$")
		cmd.Env = append(os.Environ(), child+"="+what, "GORACE=atexit_sleep_ms=0")
		out, _ := cmd.CombinedOutput()
		if !strings.Contains(string(out), "stack overflow") {
			t.Errorf("%s: want a stack overflow, the child said %.300s", what, out)
		}
	}
}
