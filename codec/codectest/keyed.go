package codectest

import (
	"bytes"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/internal/kit"
)

// keyed returns the codec with its ability, which the harness has promised.
func (h Harness[V]) keyed(t *kit.T) codec.Keyed[V] {
	t.Helper()
	c, ok := h.New(t.TB).(codec.Keyed[V])
	if !ok {
		t.Fatalf("the codec does not implement codec.Keyed")
	}
	return c
}

func keyedCases[V any]() []kit.Case[Harness[V]] {
	keys := []string{"", "k", "v:user:{1}", "\x00\xff", string(bytes.Repeat([]byte("long"), 300))}
	return kit.Rules(
		kit.Case[Harness[V]]{
			Name: "keyed/round",
			Rule: "DecodeKey returns what AppendKey was given for the same key, behind what dst held",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.keyed(t)
				for _, v := range h.Values {
					for _, key := range keys {
						out, err := c.AppendKey([]byte("prefix"), key, v)
						t.Must(err)
						data, found := bytes.CutPrefix(out, []byte("prefix"))
						if got, err := c.DecodeKey(data, key); err != nil || !found || !h.equal(got, v) {
							t.Errorf("DecodeKey = %s, %v, want %s", show(got), err, show(v))
						}
					}
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "keyed/moved",
			Rule: "what was encoded for one key decodes for no other key",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.keyed(t)
				for i, from := range keys {
					data, err := c.AppendKey(nil, from, h.Values[0])
					t.Must(err)
					for j, to := range keys {
						if _, err := c.DecodeKey(data, to); err == nil && i != j {
							t.Errorf("DecodeKey for key %d of bytes for key %d = nil, want an error", j, i)
						}
					}
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "keyed/apart",
			Rule: "what was encoded with a key does not decode without one, nor the other way round",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.keyed(t)
				with, err := c.AppendKey(nil, "", h.Values[0])
				t.Must(err)
				without, err := c.Append(nil, h.Values[0])
				t.Must(err)
				if _, err := c.Decode(with); err == nil {
					t.Errorf("Decode of what AppendKey made = nil, want an error")
				}
				if _, err := c.DecodeKey(without, ""); err == nil {
					t.Errorf("DecodeKey of what Append made = nil, want an error")
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "keyed/hostile",
			Rule: "DecodeKey survives what Decode survives",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.keyed(t)
				data, err := c.AppendKey(nil, "k", h.Values[len(h.Values)-1])
				t.Must(err)
				bound := Harness[V]{}
				for what, bad := range truncations(data) {
					bound.attempt(t, atKey[V]{c, "k"}, bad, what)
				}
				for what, bad := range flips(data) {
					bound.attempt(t, atKey[V]{c, "k"}, bad, what)
				}
			},
		},
	)
}

// atKey is a codec for the entry of one key.
type atKey[V any] struct {
	codec.Keyed[V]
	key string
}

func (c atKey[V]) Decode(data []byte) (V, error) { return c.DecodeKey(data, c.key) }

func sealedCases[V any]() []kit.Case[Harness[V]] {
	return kit.Rules(
		kit.Case[Harness[V]]{
			Name: "sealed/changed",
			Rule: "an encoding of which a bit was flipped or an end was cut or added does not decode",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				for _, v := range h.Values {
					data := h.encode(t, c, v)
					for what, bad := range flips(data) {
						refused(t, c, bad, what)
					}
					for what, bad := range truncations(data) {
						refused(t, c, bad, what)
					}
					refused(t, c, append(data, 0), "a byte more")
				}
			},
		},
		kit.Case[Harness[V]]{
			Name: "sealed/foreign",
			Rule: "bytes that the codec did not make do not decode",
			Run: func(t *kit.T, h Harness[V]) {
				c := h.New(t.TB)
				refused(t, c, nil, "no bytes")
				for _, s := range claims {
					refused(t, c, []byte(s), s)
				}
				for _, s := range texts {
					refused(t, c, []byte(s), s)
				}
			},
		},
	)
}

func refused[V any](t *kit.T, c codec.Codec[V], data []byte, what string) {
	t.Helper()
	if v, err := c.Decode(data); err == nil {
		t.Errorf("Decode of %.40q = %s, want an error", what, show(v))
	}
}
