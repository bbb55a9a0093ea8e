package codectest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime/metrics"
	"strings"
	"time"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/internal/kit"
)

const hostileRule = "a hostile input ends in an error or a value, within 10 s and 32 MiB plus 32 times its length: "

// claims are short inputs that announce very much, in the formats there are.
var claims = []string{
	"\xdd\xff\xff\xff\xff", "\xdf\xff\xff\xff\xff", "\xdb\xff\xff\xff\xff", "\xc6\xff\xff\xff\xff", "\xc9\xff\xff\xff\xff\x01",
	"\xdd\x00\xff\xff\xff", "\xdf\x00\xff\xff\xff\xa1a", "\xdc\xff\xff", "\xde\xff\xff",
	"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "\xbb\x7f\xff\xff\xff\xff\xff\xff\xff", "\x5b\x00\x00\x00\xff\xff\xff\xff\xff",
	"\x7b\x00\x00\x00\xff\xff\xff\xff\xff", "\x9a\xff\xff\xff\xff", "\xba\xff\xff\xff\xff", "\x9f", "\xbf", "\x5f", "\x7f",
	"[1e999999999]", `"\u`, `{"a":`, strings.Repeat("9", 10_000),
	"\x0a\xff\xff\xff\xff\x0f", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	"\x01\xff\xff\xff\xff\x0f\x00", "\x01\xff\xff\xff\x3f\x00", "\xff\xff\xff\xff\x0f\x00",
	"\x01\x28\xb5\x2f\xfd\xa0\xff\xff\xff\xff\x01\x00\x00", "\x01\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x7f\x01\x00\x00",
	"\xff\xff\xff\xff\xff\xff\xff\xff", "\x7f\xff\xff\xff\xff\xff\xff\xff", "\x00\x00\x00\x00\xff\xff\xff\xff",
}

// openings nest when they are repeated, in the formats there are.
var openings = []string{
	"[", `{"a":`, "\x91", "\x81\xa1a", "\x81", "\xa1\x61a", "\xc1", "\x9f", "\xbf\x61a", "\x5f", "\x0b", "\x01", "\x00", "\xff",
}

const nested = 5 << 20

func hostileCases[V any]() []kit.Case[Harness[V]] {
	return kit.Rules(
		kit.Case[Harness[V]]{
			Name: "hostile/empty",
			Rule: hostileRule + "no bytes at all",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				h.attempt(t, c, nil, "nil")
				h.attempt(t, c, []byte{}, "no bytes")
			},
		},
		kit.Case[Harness[V]]{
			Name: "hostile/truncated",
			Rule: hostileRule + "an encoding that ends too early",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				for _, v := range h.Values {
					for what, data := range truncations(h.encode(t, c, v)) {
						h.attempt(t, c, data, what)
					}
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "hostile/flipped",
			Rule: hostileRule + "an encoding with one bit flipped",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				for _, v := range h.Values {
					for what, data := range flips(h.encode(t, c, v)) {
						h.attempt(t, c, data, what)
					}
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "hostile/random",
			Rule: hostileRule + "random bytes",
			Run: func(t *kit.T, h Harness[V]) {
				c, random := h.New(t.TB), rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same inputs every time
				for i := range 2000 {
					data := make([]byte, 16+random.IntN(240))
					for j := range data {
						data[j] = byte(random.Uint32())
					}
					h.attempt(t, c, data, fmt.Sprintf("random input %d", i))
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "hostile/claims",
			Rule: hostileRule + "lengths and counts far above what follows",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				for _, s := range append(gobClaims(), claims...) {
					h.attempt(t, c, []byte(s), fmt.Sprintf("%.30q", s))
				}
				for _, data := range h.Hostile {
					h.attempt(t, c, data, fmt.Sprintf("%.30q", data))
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "hostile/inflated",
			Rule: hostileRule + "an encoding with a count or a length made far too high",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				for _, v := range h.Values {
					for what, data := range inflated(h.encode(t, c, v)) {
						h.attempt(t, c, data, what)
					}
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "hostile/nested",
			Rule: hostileRule + "5 MiB of containers, each in the one before",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				for _, s := range openings {
					h.attempt(t, c, bytes.Repeat([]byte(s), nested/len(s)), fmt.Sprintf("%q nested", s))
				}
				for _, s := range gobNested(reflect.TypeFor[V]()) {
					h.attempt(t, c, []byte(s), fmt.Sprintf("gob's slices nested, %d bytes", len(s)))
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "decode/error",
			Rule: "an error comes with the zero value, and its text does not quote what was decoded",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				for _, v := range h.Values {
					for what, data := range truncations(h.encode(t, c, v)) {
						if got, err := try(c, data); err != nil && !reflect.ValueOf(&got).Elem().IsZero() {
							t.Fatalf("Decode of %s = %s, %v, want no value", what, show(got), err)
						}
					}
				}
				h.silent(t, c)
			},
		},
	)
}

// silent fails if a secret in the input shows in the error.
func (h Harness[V]) silent(t *kit.T, c codec.Codec[V]) {
	const secret = "7318246550917"
	for _, s := range []string{`"` + secret + `"`, secret, secret + "e9999", `{"` + secret + `":`, `[[` + secret + `]]`, "\xad" + secret, "\x6d" + secret} {
		if _, err := try(c, []byte(s)); err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("Decode of %q = %v", s, err)
		}
	}
}

// try decodes data. A panic is another case's matter.
func try[V any](c codec.Codec[V], data []byte) (v V, err error) {
	defer func() { _ = recover() }()
	return c.Decode(data)
}

// attempt decodes data and fails if that panics or costs too much.
func (h Harness[V]) attempt(t *kit.T, c codec.Codec[V], data []byte, what string) {
	t.Helper()
	done := make(chan string, 1)
	before := allocated()
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Sprintf("panics: %v", p)
			}
		}()
		c.Decode(data) //nolint:errcheck // either outcome is right
		done <- ""
	}()
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	select {
	case message := <-done:
		if message != "" {
			t.Fatalf("Decode of %s %s", what, message)
		}
	case <-late.C:
		t.Fatalf("Decode of %s goes on for more than 10 s", what)
	}
	if cost, most := allocated()-before, uint64(32<<20+32*len(data)); cost > most {
		t.Fatalf("Decode of %s (%d bytes) allocates %d bytes, want at most %d", what, len(data), cost, most)
	}
}

// allocated returns how many bytes were ever allocated on the heap.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// step spaces the variants of one encoding: all of a small one, some of a
// large one, of which each variant costs more.
func step(size, variants int) int {
	most := 2000
	if size > 4<<10 {
		most = 200
	}
	return 1 + variants/most
}

// truncations yields data, each in memory of its own, cut short.
func truncations(data []byte) func(yield func(string, []byte) bool) {
	return func(yield func(string, []byte) bool) {
		for n := 1; n < len(data); n += step(len(data), len(data)) {
			if !yield(fmt.Sprintf("the first %d of %d bytes", n, len(data)), bytes.Clone(data[:n])) {
				return
			}
		}
	}
}

// flips yields data, each in memory of its own, with one bit changed.
func flips(data []byte) func(yield func(string, []byte) bool) {
	return func(yield func(string, []byte) bool) {
		for n := 0; n < 8*len(data); n += step(len(data), 8*len(data)) {
			bad := bytes.Clone(data)
			bad[n/8] ^= 1 << (n % 8)
			if !yield(fmt.Sprintf("%d bytes with bit %d flipped", len(data), n), bad) {
				return
			}
		}
	}
}
