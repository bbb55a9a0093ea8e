package codectest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/internal/kit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBad = errors.New("bad")

// framed is a codec with at most one thing wrong: a length and the bytes.
type framed struct {
	id     func() uint16
	append func(dst, v []byte) ([]byte, error)
	decode func(data []byte) ([]byte, error)
}

func (c framed) ID() uint16 {
	if c.id != nil {
		return c.id()
	}
	return 100
}

func (c framed) Append(dst, v []byte) ([]byte, error) {
	if c.append != nil {
		return c.append(dst, v)
	}
	return frame(dst, v)
}

func (c framed) Decode(data []byte) ([]byte, error) {
	if c.decode != nil {
		return c.decode(data)
	}
	return unframe(data)
}

func frame(dst, v []byte) ([]byte, error) {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(v))), v...), nil
}

func unframe(data []byte) ([]byte, error) {
	if len(data) < 4 || uint64(binary.BigEndian.Uint32(data)) != uint64(len(data)-4) {
		return nil, errBad
	}
	return append([]byte{}, data[4:]...), nil
}

func harness(c codec.Codec[[]byte]) Harness[[]byte] {
	return Harness[[]byte]{
		New:    func(testing.TB) codec.Codec[[]byte] { return c },
		Values: [][]byte{{}, []byte("v"), []byte("value"), bytes.Repeat([]byte("large"), 5000)},
		Text:   func(s string) []byte { return []byte(s) },
		Binary: true,
	}
}

func TestReferencePasses(t *testing.T) { Run(t, harness(framed{})) }

func TestBrokenCodecsFail(t *testing.T) {
	var calls, busy atomic.Int32
	panicIf := func(bad func(data []byte) bool) func([]byte) ([]byte, error) {
		return func(data []byte) ([]byte, error) {
			if bad(data) {
				panic("index out of range")
			}
			return unframe(data)
		}
	}
	for name, test := range map[string]struct {
		codec framed
		fails string
	}{
		"none":             {framed{}, ""},
		"a new ID a call":  {framed{id: func() uint16 { return uint16(calls.Add(1)) }}, "id/stable"},
		"no ID":            {framed{id: func() uint16 { return 0 }}, "id/stable"},
		"forgets dst":      {framed{append: func(_, v []byte) ([]byte, error) { return frame(nil, v) }}, "append/prefix"},
		"clobbers dst":     {framed{append: clobber}, "append/prefix"},
		"aliases v":        {framed{append: alias, decode: func(b []byte) ([]byte, error) { return bytes.Clone(b), nil }}, "append/aliases"},
		"clears its input": {framed{decode: func(b []byte) ([]byte, error) { v, err := unframe(b); clear(b); return v, err }}, "decode/input"},
		"retains":          {framed{decode: retain}, "decode/retains"},
		"ASCII only":       {framed{append: ascii}, "round/text"},
		"not concurrent":   {framed{append: alone(&busy)}, "concurrent"},
		"value with error": {framed{decode: eager}, "decode/error"},
		"quotes": {framed{decode: func(b []byte) ([]byte, error) {
			if _, err := unframe(b); err != nil {
				return nil, fmt.Errorf("bad input %q", b)
			}
			return unframe(b)
		}}, "decode/error"},
		"panics on nothing":     {framed{decode: panicIf(func(b []byte) bool { return len(b) == 0 })}, "hostile/empty"},
		"panics on truncation":  {framed{decode: panicIf(func(b []byte) bool { return len(b) > 0 && len(b) < 4 && b[0] == 0 })}, "hostile/truncated"},
		"panics on a bit":       {framed{decode: panicIf(oneLess)}, "hostile/flipped"},
		"panics on random":      {framed{decode: panicIf(noise)}, "hostile/random"},
		"believes counts":       {framed{decode: believe}, "hostile/claims"},
		"panics on much":        {framed{decode: panicIf(func(b []byte) bool { return len(b) > 1<<20 })}, "hostile/nested"},
		"unbounded when nested": {framed{decode: grow}, "hostile/nested"},
	} {
		t.Run(name, func(t *testing.T) {
			h := harness(test.codec)
			if got := kit.Names(kit.Failed(t, h, h.cases())...); got != test.fails {
				t.Errorf("fails %q, want %q", got, test.fails)
			}
		})
	}
}

func clobber(dst, v []byte) ([]byte, error) {
	if len(dst) > 0 && cap(dst)-len(dst) > 32 {
		dst[0] = 'x'
	}
	return frame(dst, v)
}

func alias(dst, v []byte) ([]byte, error) {
	if dst == nil {
		return v, nil
	}
	return append(dst, v...), nil
}

func retain(data []byte) ([]byte, error) {
	if _, err := unframe(data); err != nil {
		return nil, err
	}
	return data[4:], nil
}

func ascii(dst, v []byte) ([]byte, error) {
	return frame(dst, bytes.ReplaceAll(v, []byte("👋"), []byte("?")))
}

func alone(busy *atomic.Int32) func(dst, v []byte) ([]byte, error) {
	return func(dst, v []byte) ([]byte, error) {
		defer busy.Add(-1)
		if busy.Add(1) > 1 {
			return nil, errBad
		}
		runtime.Gosched()
		return frame(dst, v)
	}
}

func eager(data []byte) ([]byte, error) {
	v, err := unframe(data)
	if err != nil {
		return []byte("partial"), err
	}
	return v, nil
}

func oneLess(b []byte) bool { return len(b) > 4 && binary.BigEndian.Uint32(b)+1 == uint32(len(b)-4) }

func noise(b []byte) bool {
	return len(b) >= 16 && len(b) <= 256 && b[0] > 16 && b[1] > 16 && b[2] > 16
}

func believe(data []byte) ([]byte, error) {
	if len(data) == 5 && data[0] == 0xdd {
		return unframe(make([]byte, min(binary.BigEndian.Uint32(data[1:]), 100<<20)))
	}
	return unframe(data)
}

func grow(data []byte) ([]byte, error) {
	if len(data) > 1<<20 {
		return unframe(make([]byte, 100*len(data)))
	}
	return unframe(data)
}

// summed is a keyed codec with at most one thing wrong: a checksum and the
// bytes.
type summed struct {
	ignoreKey, ignoreForm, dropDst, short, lax, open bool
}

func (c summed) ID() uint16 { return 101 }

func (c summed) sum(form, key string, v []byte) []byte {
	if c.ignoreKey {
		key = ""
	}
	if c.ignoreForm {
		form = ""
	}
	sum := sha256.Sum256(append(fmt.Appendf(nil, "%s %q ", form, key), v...))
	return sum[:8]
}

func (c summed) read(form, key string, data []byte) ([]byte, error) {
	if c.open && strings.HasPrefix(string(data), "null") {
		return data, nil
	}
	if c.short && form == "bound" && len(data) == 7 {
		panic("index out of range")
	}
	if len(data) < 8 {
		return nil, errBad
	}
	from := 0
	if c.lax {
		from = 1
	}
	v := bytes.Clone(data[8:])
	if !bytes.Equal(c.sum(form, key, v)[from:], data[from:8]) {
		return nil, errBad
	}
	return v, nil
}

func (c summed) Append(dst, v []byte) ([]byte, error) {
	return append(append(dst, c.sum("plain", "", v)...), v...), nil
}

func (c summed) Decode(data []byte) ([]byte, error) { return c.read("plain", "", data) }

func (c summed) AppendKey(dst []byte, key string, v []byte) ([]byte, error) {
	if c.dropDst {
		dst = nil
	}
	return append(append(dst, c.sum("bound", key, v)...), v...), nil
}

func (c summed) DecodeKey(data []byte, key string) ([]byte, error) {
	return c.read("bound", key, data)
}

func TestBrokenKeyedCodecsFail(t *testing.T) {
	for name, test := range map[string]struct {
		codec codec.Codec[[]byte]
		fails string
	}{
		"none":               {summed{}, ""},
		"no ability":         {struct{ codec.Codec[[]byte] }{summed{}}, "keyed/round keyed/moved keyed/apart keyed/hostile"},
		"ignores the key":    {summed{ignoreKey: true}, "keyed/moved"},
		"one form":           {summed{ignoreForm: true}, "keyed/apart"},
		"drops dst":          {summed{dropDst: true}, "keyed/round"},
		"panics with a key":  {summed{short: true}, "keyed/hostile"},
		"half a sum":         {summed{lax: true}, "sealed/changed"},
		"accepts what it is": {summed{open: true}, "sealed/foreign"},
	} {
		t.Run(name, func(t *testing.T) {
			h := harness(test.codec)
			h.Values = h.Values[1:3]
			cases := append(keyedCases[[]byte](), sealedCases[[]byte]()...)
			if got := kit.Names(kit.Failed(t, h, cases)...); got != test.fails {
				t.Errorf("fails %q, want %q", got, test.fails)
			}
		})
	}
}
