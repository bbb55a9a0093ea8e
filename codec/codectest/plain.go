package codectest

import (
	"bytes"
	"strings"
	"sync"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/internal/kit"
)

var texts = []string{
	"", "a", "null", "\x00", "line\r\n\u2028", "héllo, 世界 👋", `"quoted" <&> \u0041`, "\ufffd \ufeff",
	strings.Repeat("0123456789", 10), strings.Repeat("ü", 1<<15), strings.Repeat("large ", 40_000),
}

var binaryTexts = []string{"\xff", "a\xc3", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80", strings.Repeat("\x80\x00", 1<<10)}

func plainCases[V any]() []kit.Case[Harness[V]] {
	return kit.Rules(
		kit.Case[Harness[V]]{
			Name: "id/stable",
			Rule: "the ID is not 0 and always the same",
			Run: func(t *kit.T, h Harness[V]) {
				a, b := h.New(t.TB), h.New(t.TB)
				first := a.ID()
				h.encode(t, a, h.Values[0])
				if second, other := a.ID(), b.ID(); first == 0 || first != second || first != other {
					t.Errorf("ID = %d, then %d, of another codec %d", first, second, other)
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "round/values",
			Rule: "Decode returns what Append was given, also to another codec of the same kind",
			Run: func(t *kit.T, h Harness[V]) {
				a, b := h.New(t.TB), h.New(t.TB)
				for _, v := range h.Values {
					h.decoded(t, b, h.encode(t, a, v), v)
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "round/text",
			Rule: "every text survives, if it is UTF-8 or the harness says Binary",
			Run: func(t *kit.T, h Harness[V]) {
				if h.Text == nil {
					return
				}
				c, all := h.New(t.TB), texts
				if h.Binary {
					all = append(all[:len(all):len(all)], binaryTexts...)
				}
				for _, s := range all {
					h.decoded(t, c, h.encode(t, c, h.Text(s)), h.Text(s))
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "append/prefix",
			Rule: "Append leaves alone what dst holds, and appends to it, with and without spare capacity",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				for _, v := range h.Values {
					for _, spare := range []int{0, 1, 64, 1 << 16} {
						prefix := []byte("\x00prefix\xff")
						dst := append(make([]byte, 0, len(prefix)+spare), prefix...)
						out, err := c.Append(dst, v)
						t.Must(err)
						if !bytes.Equal(dst, prefix) || !bytes.HasPrefix(out, prefix) {
							t.Fatalf("Append to %q = %.40q and left it %q", prefix, out, dst)
						}
						h.decoded(t, c, out[len(prefix):], v)
					}
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "append/aliases",
			Rule: "what Append returns is the caller's: the value does not change with it, nor does a later encoding",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				for _, v := range h.Values {
					want := h.encode(t, c, v)
					out, err := c.Append(nil, v)
					t.Must(err)
					for i := range out[:cap(out)] {
						out[:cap(out)][i] = 0xaa
					}
					h.decoded(t, c, want, v)
					h.decoded(t, c, h.encode(t, c, v), v)
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "decode/input",
			Rule: "Decode does not change what it reads",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				for _, v := range h.Values {
					data := h.encode(t, c, v)
					before := bytes.Clone(data)
					_, err := c.Decode(data)
					t.Must(err)
					if !bytes.Equal(data, before) {
						t.Errorf("the input is %.40q after Decode, was %.40q", data, before)
					}
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "decode/retains",
			Rule: "a decoded value does not change with the bytes it came from, nor with later calls",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				for i, v := range h.Values {
					data := h.encode(t, c, v)
					other := h.encode(t, c, h.Values[(i+1)%len(h.Values)])
					got, err := c.Decode(data)
					t.Must(err)
					for j := range data {
						data[j] = 0xaa
					}
					_, err = c.Decode(other)
					t.Must(err)
					if !h.equal(got, v) {
						t.Errorf("the value is %s once its bytes are overwritten, was %s", show(got), show(v))
					}
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "concurrent",
			Rule: "a codec may be called from many goroutines",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				var wg sync.WaitGroup
				bad := make(chan string, 8)
				for range cap(bad) {
					wg.Go(func() {
						if message := h.hammer(c); message != "" {
							bad <- message
						}
					})
				}
				wg.Wait()
				close(bad)
				for message := range bad {
					t.Errorf("among others, %s", message)
				}
			},
		},
	)
}

// hammer says what went wrong.
func (h Harness[V]) hammer(c codec.Codec[V]) string {
	for range 20 {
		for _, v := range h.Values {
			data, err := c.Append(nil, v)
			if err != nil {
				return "Append = " + err.Error()
			}
			got, err := c.Decode(data)
			if err != nil {
				return "Decode = " + err.Error()
			}
			if !h.equal(got, v) {
				return "Decode = " + show(got) + ", want " + show(v)
			}
		}
	}
	return ""
}
