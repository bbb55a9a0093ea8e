package savefile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/bellwethercache/bellwether/internal/savefile"
)

var records = []savefile.Record{
	{Key: "hot", Heat: 7, Entry: []byte("first")},
	{Key: "", Heat: 1<<32 - 1, Entry: []byte{}},
	{Key: "\x00\xff", Entry: bytes.Repeat([]byte("long "), 50_000)},
}

// write returns the file of these records.
func write(tb testing.TB, h savefile.Header, records ...savefile.Record) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := savefile.NewWriter(&b, h)
	if err != nil {
		tb.Fatal(err)
	}
	size := int64(savefile.HeaderSize + savefile.EndSize)
	for _, r := range records {
		if err := w.Add(&r); err != nil {
			tb.Fatal(err)
		}
		size += r.Size()
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	if int64(b.Len()) != size {
		tb.Fatalf("%d bytes, want the %d that Size tells", b.Len(), size)
	}
	return b.Bytes()
}

// read reads until something stops it; io.EOF is none.
func read(r io.Reader, skip bool) (h savefile.Header, all []savefile.Record, err error) {
	x, err := savefile.NewReader(r)
	if err != nil {
		return h, nil, err
	}
	x.SkipEntries = skip
	for {
		rec, err := x.Next()
		switch {
		case err == io.EOF: //nolint:errorlint // bare: a sound end
			return x.Header, all, nil
		case err != nil:
			return x.Header, all, err
		}
		rec.Entry = slices.Clone(rec.Entry)
		all = append(all, rec)
	}
}

func TestRoundTrip(t *testing.T) {
	head := savefile.Header{Saved: 1_700_000_000_000_000}
	keys := slices.Clone(records)
	for i := range keys {
		keys[i].Entry = nil
	}
	for name, tc := range map[string]struct {
		head      savefile.Header
		in, out   []savefile.Record
		skip      bool
		piecemeal bool
	}{
		"nothing":      {head: head},
		"entries":      {head: head, in: records, out: records},
		"in pieces":    {head: head, in: records, out: records, piecemeal: true},
		"skipped":      {head: head, in: records, out: keys, skip: true},
		"keys alone":   {head: savefile.Header{KeysOnly: true, Saved: 5}, in: keys, out: keys},
		"at the epoch": {in: records[:1], out: records[:1]},
	} {
		t.Run(name, func(t *testing.T) {
			var r io.Reader = bytes.NewReader(write(t, tc.head, tc.in...))
			if tc.piecemeal {
				r = iotest.OneByteReader(r)
			}
			h, got, err := read(r, tc.skip)
			if h != tc.head || err != nil {
				t.Errorf("header %+v, %v, want %+v", h, err, tc.head)
			}
			if len(got) != len(tc.out) {
				t.Fatalf("%d records, want %d", len(got), len(tc.out))
			}
			for i := range got {
				if want := tc.out[i]; got[i].Key != want.Key || got[i].Heat != want.Heat || !bytes.Equal(got[i].Entry, want.Entry) {
					t.Errorf("record %d = %.60v, want %.60v", i, got[i], want)
				}
			}
		})
	}
}

// TestGolden: what other versions of us have written stays readable.
func TestGolden(t *testing.T) {
	const want = "BWSV\x01\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x02" + "\xa5\xaa\x10\x1e" +
		"\x00\x00\x00\x01" + "\x00\x00\x00\x02" + "\x00\x00\x00\x03" + "k" + "en" +
		"\xff\xff\xff\xff" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x5d\xd6\x82\x02"
	got := write(t, savefile.Header{Saved: 2}, savefile.Record{Key: "k", Heat: 3, Entry: []byte("en")})
	if string(got) != want {
		t.Errorf("file = %q, want %q", got, want)
	}
}

// TestDamage: whatever bit is turned, wherever the file ends, whatever follows.
func TestDamage(t *testing.T) {
	file := write(t, savefile.Header{Saved: 2}, records[:2]...)
	_, sound, _ := read(bytes.NewReader(file), false)
	check := func(what string, at int, damaged []byte) {
		t.Helper()
		_, got, err := read(bytes.NewReader(damaged), false)
		if !errors.Is(err, savefile.ErrDamaged) {
			t.Errorf("%s at %d: %v, want ErrDamaged", what, at, err)
		}
		if what == "cut" && (len(got) > len(sound) || !reflect.DeepEqual(got, sound[:len(got):len(got)]) && len(got) > 0) {
			t.Errorf("cut at %d: %v before it, want the first of %v", at, got, sound)
		}
	}
	for at := range file {
		check("cut", at, file[:at])
		for bit := range 8 {
			damaged := slices.Clone(file)
			damaged[at] ^= 1 << bit
			check("turned", at, damaged)
		}
	}
	check("more", len(file), append(slices.Clone(file), 0))
	check("twice", len(file), append(slices.Clone(file), file...))
}

// TestClaims: sizes are not believed, and a header with the right checksum is not
// either.
func TestClaims(t *testing.T) {
	table := crc32.MakeTable(crc32.Castagnoli)
	header := func(change func(b []byte)) []byte {
		b := write(t, savefile.Header{KeysOnly: true})[:savefile.HeaderSize]
		change(b)
		return binary.BigEndian.AppendUint32(b[:16:16], crc32.Checksum(b[:16], table))
	}
	as := func([]byte) {}
	record := func(key, entry uint32, rest int) []byte {
		b := binary.BigEndian.AppendUint32(nil, key)
		b = binary.BigEndian.AppendUint32(b, entry)
		return append(b, make([]byte, 4+rest)...)
	}
	// sealed is a file in which everything but the claim is right.
	sealed := func(count uint64, parts ...[]byte) []byte {
		b := append(slices.Concat(parts...), "\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"...)
		b = binary.BigEndian.AppendUint64(b, count)
		return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, table))
	}
	if _, _, err := read(bytes.NewReader(sealed(1, header(as), record(5, 0, 5))), false); err != nil {
		t.Fatalf("a sound file: %v", err)
	}
	plain := func(b []byte) { b[5] = 0 }
	for name, file := range map[string][]byte{
		"another version":    sealed(0, header(func(b []byte) { b[4] = 2 })),
		"an unknown flag":    sealed(0, header(func(b []byte) { b[5] = 2 })),
		"something reserved": sealed(0, header(func(b []byte) { b[7] = 1 })),
		"saved before 1970":  sealed(0, header(func(b []byte) { b[8] = 0x80 })),
		"a huge key":         sealed(1, header(as), record(savefile.MaxKey+1, 0, savefile.MaxKey+1)),
		"a huge entry":       append(header(plain), record(1, savefile.MaxEntry+1, 1000)...),
		"a key that ends":    append(header(as), record(savefile.MaxKey, 0, 1000)...),
		"an entry that ends": append(header(plain), record(1, savefile.MaxEntry, 1000)...),
		"entries in keys":    sealed(1, header(as), record(1, 1, 2)),
		"another count":      sealed(2, header(as), record(5, 0, 5)),
	} {
		if _, _, err := read(bytes.NewReader(file), false); !errors.Is(err, savefile.ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, _ = read(bytes.NewReader(file), false)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20+4*uint64(len(file)) {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, n, len(file))
		}
	}
}

func TestErrorsComeBackAsTheyAre(t *testing.T) {
	broken := errors.New("disk on fire")
	file := write(t, savefile.Header{}, records...)
	for _, n := range []int{0, 3, savefile.HeaderSize + 5, len(file) - 1} {
		r := io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken))
		if _, _, err := read(r, false); !errors.Is(err, broken) || errors.Is(err, savefile.ErrDamaged) {
			t.Errorf("after %d bytes: %v, want the reader's error", n, err)
		}
	}
	w, err := savefile.NewWriter(full{broken}, savefile.Header{})
	if err == nil {
		err = w.Add(&records[2])
	}
	if err == nil {
		err = w.Close()
	}
	if !errors.Is(err, broken) {
		t.Errorf("writing = %v, want the writer's error", err)
	}
}

type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

func TestWhatDoesNotFit(t *testing.T) {
	w, err := savefile.NewWriter(io.Discard, savefile.Header{})
	if err != nil {
		t.Fatal(err)
	}
	key := strings.Repeat("k", savefile.MaxKey)
	for name, r := range map[string]savefile.Record{
		"key": {Key: key + "k"}, "entry": {Entry: make([]byte, savefile.MaxEntry+1)},
	} {
		if err := w.Add(&r); err == nil || r.Fits() || strings.Contains(err.Error(), "kk") {
			t.Errorf("%s: Add = %.80v, Fits = %t, want it refused without the key in the error", name, err, r.Fits())
		}
	}
	if r := (savefile.Record{Key: key}); !r.Fits() || w.Add(&r) != nil {
		t.Error("the longest key is refused")
	}
}
