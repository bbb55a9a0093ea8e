package compress_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/codectest"
	"github.com/bellwethercache/bellwether/codec/compress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type wrapper func(codec.Codec[[]byte], *compress.Options) (codec.Codec[[]byte], error)

var wrappers = map[string]wrapper{"S2": compress.S2[[]byte], "Zstd": compress.Zstd[[]byte]}

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// bomb returns 64 MiB of zeros, packed.
func bomb(name string) []byte {
	plain := make([]byte, 64<<20)
	if name == "S2" {
		return s2.Encode([]byte{}, plain)
	}
	enc, _ := zstd.NewWriter(nil)
	return enc.EncodeAll(plain, nil)
}

// unsized is a frame of Zstandard that does not say how large it is.
func unsized() []byte {
	var buf bytes.Buffer
	enc, _ := zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1))
	for range 64 {
		enc.Write(make([]byte, 1<<20))
	}
	enc.Close()
	return buf.Bytes()
}

func TestConforms(t *testing.T) {
	for name, wrap := range wrappers {
		for _, threshold := range []int{0, 1} {
			t.Run(fmt.Sprint(name, threshold), func(t *testing.T) {
				codectest.Run(t, codectest.Harness[[]byte]{
					New:    must(wrap(codec.Bytes(), &compress.Options{Threshold: threshold})),
					Values: [][]byte{{}, []byte("small"), []byte(strings.Repeat("large ", 100)), []byte(strings.Repeat("larger", 5000))},
					Text:   func(s string) []byte { return []byte(s) },
					Binary: true,
					Hostile: [][]byte{
						append([]byte{1}, bomb(name)...), append([]byte{1}, unsized()...), {1}, {2}, {255},
						append([]byte{1}, bytes.Repeat(bomb("Zstd")[:200], 50)...),
						[]byte("\x01\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), // a frame to skip
					},
				})
			})
		}
	}
}

func TestThreshold(t *testing.T) {
	plain := []byte(strings.Repeat("shrinks ", 1000))
	for name, test := range map[string]struct {
		wrap    wrapper
		opts    *compress.Options
		size    int
		shrinks bool
	}{
		"S2 below":     {compress.S2[[]byte], nil, 1<<10 - 1, false},
		"S2 at":        {compress.S2[[]byte], nil, 1 << 10, true},
		"Zstd below":   {compress.Zstd[[]byte], nil, 4<<10 - 1, false},
		"Zstd at":      {compress.Zstd[[]byte], nil, 4 << 10, true},
		"option below": {compress.S2[[]byte], &compress.Options{Threshold: 100}, 99, false},
		"option at":    {compress.S2[[]byte], &compress.Options{Threshold: 100}, 100, true},
	} {
		data, err := must(test.wrap(codec.Bytes(), test.opts))(t).Append(nil, plain[:test.size])
		if err != nil || (len(data) < test.size) != test.shrinks || (!test.shrinks && len(data) != test.size+1) {
			t.Errorf("%s: Append of %d bytes = %d bytes, %v, want it to shrink: %v", name, test.size, len(data), err, test.shrinks)
		}
	}
}

func TestWhatDoesNotShrinkStaysRaw(t *testing.T) {
	noise := make([]byte, 8<<10)
	state := uint64(1)
	for i := 0; i < len(noise); i += 8 {
		state = state*6364136223846793005 + 1442695040888963407
		binary.LittleEndian.PutUint64(noise[i:], state^state>>29)
	}
	for name, wrap := range wrappers {
		data, err := must(wrap(codec.Bytes(), nil))(t).Append(nil, noise)
		if err != nil || len(data) != len(noise)+1 || data[0] != 0 {
			t.Errorf("%s: Append of noise = %d bytes, %v, want it raw", name, len(data), err)
		}
	}
}

func TestMaxSize(t *testing.T) {
	for name, wrap := range wrappers {
		small := must(wrap(codec.Bytes(), &compress.Options{MaxSize: 10_000}))(t)
		large := must(wrap(codec.Bytes(), nil))(t)
		for size, ok := range map[int]bool{10_000: true, 10_001: false} {
			_, err := small.Append(nil, make([]byte, size))
			if (err == nil) != ok || (!ok && !errors.Is(err, compress.ErrTooLarge)) {
				t.Errorf("%s: Append of %d bytes = %v", name, size, err)
			}
			data, _ := large.Append(nil, make([]byte, size))
			if _, err = small.Decode(data); (err == nil) != ok || (!ok && !errors.Is(err, compress.ErrTooLarge)) {
				t.Errorf("%s: Decode of %d bytes = %v", name, size, err)
			}
			if _, err = small.Decode(make([]byte, 1+size)); (err == nil) != ok || (!ok && !errors.Is(err, compress.ErrTooLarge)) {
				t.Errorf("%s: Decode of %d raw bytes = %v", name, size, err)
			}
		}
	}
}

// A bomb is refused by its header, before memory is taken for it.
func TestBombCostsNothing(t *testing.T) {
	for name, wrap := range wrappers {
		c := must(wrap(codec.Bytes(), nil))(t)
		data := append([]byte{1}, bomb(name)...)
		c.Decode(data) // warms the decoder up
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := c.Decode(data)
		runtime.ReadMemStats(&after)
		if cost := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, compress.ErrTooLarge) || cost > 64<<10 {
			t.Errorf("%s: Decode of a bomb = %v after %d bytes allocated, want ErrTooLarge for nothing", name, err, cost)
		}
	}
}

// Two frames that each say less than MaxSize are more than one says.
func TestZstdTakesOneFrame(t *testing.T) {
	c := must(compress.Zstd(codec.Bytes(), &compress.Options{MaxSize: 100_000}))(t)
	data, _ := c.Append(nil, make([]byte, 90_000))
	if v, err := c.Decode(append(data, data[1:]...)); err == nil {
		t.Errorf("Decode of two frames = %d bytes, want an error", len(v))
	}
	if v, err := c.Decode(append([]byte{1}, unsized()...)); !errors.Is(err, compress.ErrFormat) {
		t.Errorf("Decode of a frame without a size = %d bytes, %v, want ErrFormat", len(v), err)
	}
}

// What follows the first frame must not be expanded: it could be large.
func TestZstdStopsAtTheFirstFrame(t *testing.T) {
	c := must(compress.Zstd(codec.Bytes(), &compress.Options{Threshold: 1}))(t)
	data, _ := c.Append(nil, make([]byte, 1000))
	large, _ := c.Append(nil, make([]byte, 7<<20))
	data = append(data, large[1:]...)
	c.Decode(data) // warms the decoder up
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := c.Decode(data)
	runtime.ReadMemStats(&after)
	if cost := after.TotalAlloc - before.TotalAlloc; err == nil || cost > 1<<20 {
		t.Errorf("Decode = %v after %d bytes allocated, want an error for less", err, cost)
	}
}

func TestMarker(t *testing.T) {
	for name, wrap := range wrappers {
		c := must(wrap(codec.Bytes(), nil))(t)
		data, _ := c.Append(nil, make([]byte, 10_000))
		data[0] = 2
		for _, bad := range [][]byte{nil, data} {
			if _, err := c.Decode(bad); !errors.Is(err, compress.ErrFormat) {
				t.Errorf("%s: Decode of %d bytes without a marker = %v, want ErrFormat", name, len(bad), err)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	for name, wrap := range wrappers {
		for _, o := range []compress.Options{{Threshold: -1}, {MaxSize: -1}, {MaxSize: 1<<30 + 1}} {
			if _, err := wrap(codec.Bytes(), &o); err == nil || !strings.Contains(err.Error(), "compress: Options.") {
				t.Errorf("%s: %+v = %v, want an error that names the field", name, o, err)
			}
		}
		if _, err := wrap(nil, nil); err == nil {
			t.Errorf("%s of nil = nil, want an error", name)
		}
		one, _ := wrap(codec.Bytes(), nil)
		two, err := wrap(one, nil)
		if err != nil {
			t.Errorf("%s twice = %v", name, err)
		}
		if _, err := wrap(two, nil); err == nil {
			t.Errorf("%s three times = nil, want an error", name)
		}
		if _, ok := one.(codec.Keyed[[]byte]); ok {
			t.Errorf("%s of a codec without keys has the ability Keyed", name)
		}
	}
}

func fuzz(f *testing.F, wrap wrapper) {
	c, err := wrap(codec.Bytes(), &compress.Options{Threshold: 1, MaxSize: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "x", strings.Repeat("seed ", 100)} {
		seed, _ := c.Append(nil, []byte(s))
		f.Add(seed)
	}
	f.Add([]byte("\x01\xff\xff\xff\xff\x0f\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := c.Decode(data)
		if err != nil {
			return
		}
		again, err := c.Append(nil, v)
		if err != nil || len(v) > 1<<20 {
			t.Fatalf("Append of %d bytes that Decode accepted: %v", len(v), err)
		}
		if w, err := c.Decode(again); err != nil || !bytes.Equal(v, w) {
			t.Errorf("a second round trip gives %d bytes, %v, want %d", len(w), err, len(v))
		}
	})
}

func FuzzS2(f *testing.F)   { fuzz(f, compress.S2[[]byte]) }
func FuzzZstd(f *testing.F) { fuzz(f, compress.Zstd[[]byte]) }

func ExampleS2() {
	c, err := compress.S2(codec.String(), nil)
	if err != nil {
		panic(err)
	}
	small, _ := c.Append(nil, "small")
	large, _ := c.Append(nil, strings.Repeat("large ", 1000))
	v, _ := c.Decode(large)
	fmt.Println(len(small), len(large) < 100, len(v))
	// Output: 6 true 6000
}

func ExampleZstd() {
	c, err := compress.Zstd(codec.String(), &compress.Options{Threshold: 1 << 10})
	if err != nil {
		panic(err)
	}
	large, _ := c.Append(nil, strings.Repeat("large ", 1000))
	v, _ := c.Decode(large)
	fmt.Println(len(large) < 100, len(v))
	// Output: true 6000
}
