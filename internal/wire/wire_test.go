package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/bellwethercache/bellwether/internal/wire"
)

func sample() wire.Header {
	return wire.Header{
		Codec: 1, Schema: 7, Fence: 1700000000000001, AsOf: 1700000000000001, Created: 1700000000000000,
		FreshFor: 60_000_000, LivesFor: 90_000_000, Cost: 300_000,
		Meta: wire.Meta{Tags: []string{"eu", "weather"}, ETag: `"v1"`, LastModified: 1600000000000000},
	}
}

func encode(t testing.TB, key string, h wire.Header, payload string) []byte {
	t.Helper()
	b, err := wire.Append([]byte("prefix"), key, &h, func(dst []byte) ([]byte, error) { return append(dst, payload...), nil })
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimPrefix(b, []byte("prefix"))
}

func TestRoundTrip(t *testing.T) {
	for name, h := range map[string]wire.Header{
		"full": sample(), "bare": {Codec: 3}, "absent": {Absent: true, LivesFor: 1},
		"set": {AsOf: 1700000000000001}, "copy": {Fence: 5, AsOf: 5, Meta: wire.Meta{CopyOf: 1 << 63}},
		"another time": {Fence: 5, AsOf: 1700000000000001},
	} {
		for _, payload := range []string{"", "x", strings.Repeat("\x00\xff", 1000)} {
			got, p, err := wire.Parse(encode(t, "k", h, payload), "k", h.Codec, h.Schema)
			if err != nil || !reflect.DeepEqual(got, h) || string(p) != payload {
				t.Errorf("%s: Parse = %+v, %d bytes, %v, want what was appended", name, got, len(p), err)
			}
		}
	}
}

// TestGolden pins the format: other versions of the library read it.
func TestGolden(t *testing.T) {
	got := hex.Dump(encode(t, "london", sample(), `{"temp":11}`))
	want, err := os.ReadFile("testdata/entry.hex")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		err = os.WriteFile("testdata/entry.hex", []byte(got), 0o644)
		want = []byte(got)
	}
	if err != nil || got != string(want) {
		t.Errorf("envelope = %v\n%s\nwant\n%s\nA change of the format needs a new version byte.", err, got, want)
	}
}

func TestIdentity(t *testing.T) {
	a := sample()
	b := a
	b.Created++
	whole := encode(t, "k", a, "payload")
	id := wire.Identity(whole)
	if id == 0 || wire.Identity(whole[:wire.HeaderSize]) != id {
		t.Errorf("Identity = %d, of its head %d, want the same and not 0", id, wire.Identity(whole[:wire.HeaderSize]))
	}
	if wire.Identity(encode(t, "k", b, "payload")) == id || wire.Identity(encode(t, "k", a, "payloae")) == id {
		t.Error("Identity does not tell another write, or another value, apart")
	}
	if got := wire.Identity(whole[:wire.HeaderSize-1]); got != 0 {
		t.Errorf("Identity of a fragment = %d, want 0", got)
	}
}

func TestForeign(t *testing.T) {
	b := encode(t, "k", sample(), "v")
	for name, parse := range map[string]func() error{
		"other key":    func() error { _, _, err := wire.Parse(b, "K", 1, 7); return err },
		"other codec":  func() error { _, _, err := wire.Parse(b, "k", 2, 7); return err },
		"other schema": func() error { _, _, err := wire.Parse(b, "k", 1, 8); return err },
	} {
		if err := parse(); !errors.Is(err, wire.ErrForeign) {
			t.Errorf("%s: %v, want ErrForeign", name, err)
		}
	}
}

// TestEveryDamageIsNoticed flips each bit and cuts at each length.
func TestEveryDamageIsNoticed(t *testing.T) {
	whole := encode(t, "k", sample(), `{"a":1}`)
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, _, err := wire.Parse(b, "k", 1, 7); err == nil {
				t.Fatalf("bit %d of byte %d flipped: not noticed", bit, i)
			}
		}
		if _, _, err := wire.Parse(whole[:i], "k", 1, 7); !errors.Is(err, wire.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v, want ErrCorrupt", i, err)
		}
	}
	if _, _, err := wire.Parse(append(bytes.Clone(whole), 0), "k", 1, 7); !errors.Is(err, wire.ErrCorrupt) {
		t.Errorf("a byte more: %v, want ErrCorrupt", err)
	}
}

func TestAppendLeavesDstWhenTheCodecFails(t *testing.T) {
	boom := errors.New("boom")
	b, err := wire.Append([]byte("keep"), "k", &wire.Header{}, func([]byte) ([]byte, error) { return nil, boom })
	if !errors.Is(err, boom) || string(b) != "keep" {
		t.Errorf("Append = %q, %v, want keep, boom", b, err)
	}
	b, err = wire.Append([]byte("keep"), "k", &wire.Header{}, func([]byte) ([]byte, error) { return []byte("{}"), nil })
	if err == nil || string(b) != "keep" {
		t.Errorf("Append with a codec that does not append = %q, %v, want keep and an error", b, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("BW\x01"))
	f.Add(encode(f, "k", sample(), "payload"))
	f.Add(encode(f, "k", wire.Header{Codec: 1, Schema: 7}, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, err := wire.Parse(b, "k", 1, 7)
		if err != nil {
			if !errors.Is(err, wire.ErrCorrupt) && !errors.Is(err, wire.ErrForeign) || payload != nil {
				t.Fatalf("Parse = %q, %v", payload, err)
			}
			return
		}
		if again := encode(t, "k", h, string(payload)); len(again) > len(b) {
			t.Fatalf("accepted %d bytes that stand for %d", len(b), len(again))
		}
	})
}
