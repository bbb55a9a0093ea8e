package aead_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/aead"
	"github.com/bellwethercache/bellwether/codec/codectest"
	"github.com/bellwethercache/bellwether/codec/compress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func key(tb testing.TB, id uint32, fill byte) aead.Key {
	tb.Helper()
	k, err := aead.NewKey(id, bytes.Repeat([]byte{fill}, aead.KeySize))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func ring(tb testing.TB, primary aead.Key, older ...aead.Key) *aead.Keyring {
	tb.Helper()
	r, err := aead.NewKeyring(primary, older...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func seal[V any](tb testing.TB, inner codec.Codec[V], r *aead.Keyring) codec.Keyed[V] {
	tb.Helper()
	c, err := aead.Seal(inner, r)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestConforms(t *testing.T) {
	r := ring(t, key(t, 7, 1))
	codectest.Run(t, codectest.Harness[[]byte]{
		New:    func(tb testing.TB) codec.Codec[[]byte] { return seal(tb, codec.Bytes(), r) },
		Values: [][]byte{{}, []byte("small"), []byte(strings.Repeat("large", 5000))},
		Text:   func(s string) []byte { return []byte(s) },
		Binary: true, Keyed: true, Sealed: true,
	})
}

// Sealed around compressed is the order that makes sense; the other one, and
// twice, must keep the ability all the same.
func TestStacksConform(t *testing.T) {
	r := ring(t, key(t, 7, 1))
	for name, build := range map[string]func(tb testing.TB) codec.Codec[string]{
		"sealed compressed": func(tb testing.TB) codec.Codec[string] {
			c, err := compress.S2(codec.JSON[string](), nil)
			if err != nil {
				tb.Fatal(err)
			}
			return seal(tb, c, r)
		},
		"compressed sealed": func(tb testing.TB) codec.Codec[string] {
			c, err := compress.Zstd(codec.Codec[string](seal(tb, codec.String(), r)), nil)
			if err != nil {
				tb.Fatal(err)
			}
			return c
		},
		"sealed sealed": func(tb testing.TB) codec.Codec[string] {
			return seal(tb, codec.Codec[string](seal(tb, codec.String(), r)), r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			codectest.Run(t, codectest.Harness[string]{
				New: build, Values: []string{"", "small", strings.Repeat("large", 3000)}, Text: func(s string) string { return s },
				Keyed: true, Sealed: true,
			})
		})
	}
}

func TestRotation(t *testing.T) {
	first, second := key(t, 1, 1), key(t, 2, 2)
	here, there := ring(t, first), ring(t, first, second)
	a, b := seal(t, codec.String(), here), seal(t, codec.String(), there)
	move := func(from, to codec.Keyed[string]) error {
		t.Helper()
		data, err := from.AppendKey(nil, "k", "v")
		if err != nil {
			t.Fatal(err)
		}
		v, err := to.DecodeKey(data, "k")
		if err == nil && v != "v" {
			t.Errorf("DecodeKey = %q, want v", v)
		}
		return err
	}
	old, _ := b.AppendKey(nil, "k", "old")
	if err := errors.Join(move(a, b), move(b, a)); err != nil {
		t.Errorf("with the new key as an older one: %v", err)
	}
	if err := there.Rotate(second, first); err != nil {
		t.Fatal(err)
	}
	if err := move(a, b); err != nil {
		t.Errorf("old to new: %v", err)
	}
	if err := move(b, a); !errors.Is(err, aead.ErrUnknownKey) {
		t.Errorf("new to a ring that lacks the key: %v, want ErrUnknownKey", err)
	}
	if v, err := b.DecodeKey(old, "k"); err != nil || v != "old" {
		t.Errorf("DecodeKey of an entry from before = %q, %v", v, err)
	}
	if err := there.Rotate(second); err != nil {
		t.Fatal(err)
	}
	if _, err := b.DecodeKey(old, "k"); !errors.Is(err, aead.ErrUnknownKey) {
		t.Errorf("DecodeKey after the key was dropped = %v, want ErrUnknownKey", err)
	}
}

func TestRotationWhileInUse(t *testing.T) {
	first, second := key(t, 1, 1), key(t, 2, 2)
	r := ring(t, first, second)
	c := seal(t, codec.String(), r)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				data, err := c.Append(nil, "v")
				if v, err2 := c.Decode(data); err != nil || err2 != nil || v != "v" {
					t.Errorf("Append, Decode = %q, %v, %v", v, err, err2)
				}
			}
		})
	}
	for range 200 {
		if err := errors.Join(r.Rotate(second, first), r.Rotate(first, second)); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// The same ID with another secret, and another codec inside, do not open.
func TestWhatIsBound(t *testing.T) {
	data, _ := seal(t, codec.String(), ring(t, key(t, 1, 1))).Append(nil, "null")
	if _, err := seal(t, codec.String(), ring(t, key(t, 1, 2))).Decode(data); !errors.Is(err, aead.ErrOpen) {
		t.Errorf("Decode with another secret = %v, want ErrOpen", err)
	}
	if _, err := seal(t, codec.JSON[string](), ring(t, key(t, 1, 1))).Decode(data); !errors.Is(err, aead.ErrOpen) {
		t.Errorf("Decode with another codec inside = %v, want ErrOpen", err)
	}
}

func TestEncodingsDiffer(t *testing.T) {
	c, seen := seal(t, codec.String(), ring(t, key(t, 1, 1))), map[string]bool{}
	for range 100 {
		data, _ := c.Append(nil, "same")
		if len(data) != len("same")+aead.Overhead || bytes.Contains(data, []byte("same")) {
			t.Fatalf("Append = %q, want %d bytes that do not show the value", data, len("same")+aead.Overhead)
		}
		seen[string(data[5:29])] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d nonces for 100 values", len(seen))
	}
}

func TestRefusals(t *testing.T) {
	good := key(t, 1, 1)
	for _, secret := range [][]byte{nil, make([]byte, 16), make([]byte, 32), make([]byte, 33)} {
		if _, err := aead.NewKey(1, secret); err == nil {
			t.Errorf("NewKey of %d bytes of zeros = nil, want an error", len(secret))
		}
	}
	if _, err := aead.NewKeyring(aead.Key{}); err == nil {
		t.Error("NewKeyring of no key = nil, want an error")
	}
	if _, err := aead.NewKeyring(good, key(t, 1, 2)); err == nil {
		t.Error("NewKeyring of two keys with one ID = nil, want an error")
	}
	for _, r := range []*aead.Keyring{nil, {}} {
		if _, err := aead.Seal(codec.String(), r); err == nil {
			t.Error("Seal without keys = nil, want an error")
		}
	}
	if _, err := aead.Seal[string](nil, ring(t, good)); err == nil {
		t.Error("Seal of nothing = nil, want an error")
	}
	r := ring(t, good)
	if err := r.Rotate(aead.Key{}); err == nil {
		t.Error("Rotate to no key = nil, want an error")
	}
	if data, err := seal(t, codec.String(), r).Append(nil, "v"); err != nil {
		t.Errorf("after a refused Rotate Append = %x, %v, want the ring as it was", data, err)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	k := key(t, 7, 'S')
	config := struct{ Key aead.Key }{k}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("key", "key", k, "config", config)
	blob, _ := json.Marshal(config)
	all := fmt.Sprintf("%v %+v %#v %s %x %d %q %v %+v", k, k, k, k, k, k, k, config, ring(t, k)) + log.String() + string(blob)
	for _, bad := range []string{"SSSS", "5353", "83 83"} {
		if strings.Contains(all, bad) {
			t.Errorf("the secret shows in %s", all)
		}
	}
	if got := fmt.Sprint(k); got != "aead.Key(7)" || k.ID() != 7 {
		t.Errorf("Sprint = %s, want aead.Key(7)", got)
	}
}

func FuzzDecode(f *testing.F) {
	c := seal(f, codec.String(), ring(f, key(f, 1, 1)))
	for _, s := range []string{"", "seed"} {
		data, _ := c.AppendKey(nil, "k", s)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c.DecodeKey(data, "k") // a seed opens, all else does not; neither may panic
		if v, err := c.DecodeKey(data, "other"); err == nil {
			t.Errorf("DecodeKey for another key = %q, want an error", v)
		}
		if v, err := c.Decode(data); err == nil {
			t.Errorf("Decode of sealed bytes = %q, want an error", v)
		}
	})
}

func ExampleSeal() {
	secret := bytes.Repeat([]byte("k"), aead.KeySize) // from where you keep secrets
	primary, err := aead.NewKey(1, secret)
	if err != nil {
		panic(err)
	}
	ring, err := aead.NewKeyring(primary)
	if err != nil {
		panic(err)
	}
	c, err := aead.Seal(codec.String(), ring)
	if err != nil {
		panic(err)
	}
	data, _ := c.AppendKey(nil, "user:1", "Ada")
	v, _ := c.DecodeKey(data, "user:1")
	_, err = c.DecodeKey(data, "user:2")
	fmt.Println(v)
	fmt.Println(err)
	// Output:
	// Ada
	// codec: decode aead: does not open
}
