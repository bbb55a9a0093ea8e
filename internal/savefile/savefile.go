// Package savefile is the form in which a cache saves what its memory holds.
//
// Layout, integers big-endian:
//
//	header   magic "BWSV", version 1 (1 byte), flags (1 byte: 1 no entries, keys
//	         alone; others must be 0), 2 bytes 0, when it was saved (8 bytes,
//	         microseconds since the Unix epoch, the machine's clock), CRC-32C of
//	         these 16 bytes
//	records  key length, entry length, heat (4 bytes each), key, entry
//	end      0xFFFFFFFF, 8 bytes 0, the number of records (8 bytes), CRC-32C of
//	         all bytes before it, then nothing
//
// An entry is an envelope of internal/wire: it has a checksum of its own, names
// codec and schema, and is bound to its key. So what precedes a damage can be
// told from what does not, before the end has been seen.
package savefile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	// MaxKey and MaxEntry bound what is written, and what is believed.
	MaxKey   = 1 << 20
	MaxEntry = 64 << 20

	// HeaderSize, RecordSize (without key and entry) and EndSize make a file.
	HeaderSize = 20
	RecordSize = 12
	EndSize    = 24

	version      = 1
	flagKeysOnly = 1
	end          = 0xFFFFFFFF
	chunk        = 64 << 10 // no more is allocated than this ahead of what is there
)

// ErrDamaged says that the bytes are no save, or a damaged one.
var ErrDamaged = errors.New("not a save of a cache, or a damaged or truncated one")

var (
	table = crc32.MakeTable(crc32.Castagnoli)
	be    = binary.BigEndian
)

// Header is what is said of all records.
type Header struct {
	KeysOnly bool
	Saved    int64 // microseconds since the Unix epoch
}

// Record is one entry. Entry is empty if the file has keys alone.
type Record struct {
	Key   string
	Heat  uint32
	Entry []byte
}

// Size is what a record takes in the file.
func (r *Record) Size() int64 { return RecordSize + int64(len(r.Key)) + int64(len(r.Entry)) }

// Fits reports whether a Reader would take the record.
func (r *Record) Fits() bool { return len(r.Key) <= MaxKey && len(r.Entry) <= MaxEntry }

// Writer writes a save.
type Writer struct {
	w     *bufio.Writer
	crc   uint32
	count uint64
}

// NewWriter writes the header.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	x := &Writer{w: bufio.NewWriterSize(w, chunk)}
	b := append(make([]byte, 0, HeaderSize), 'B', 'W', 'S', 'V', version, 0, 0, 0)
	if h.KeysOnly {
		b[5] = flagKeysOnly
	}
	b = be.AppendUint64(b, uint64(h.Saved))
	b = be.AppendUint32(b, crc32.Checksum(b, table))
	return x, x.write(b)
}

func (x *Writer) write(b []byte) error {
	x.crc = crc32.Update(x.crc, table, b)
	_, err := x.w.Write(b)
	return err
}

// Add writes a record, which must fit.
func (x *Writer) Add(r *Record) error {
	if !r.Fits() {
		return fmt.Errorf("savefile: a record with a key of %d and an entry of %d bytes does not fit", len(r.Key), len(r.Entry))
	}
	b := make([]byte, 0, RecordSize+len(r.Key))
	b = be.AppendUint32(b, uint32(len(r.Key)))
	b = be.AppendUint32(b, uint32(len(r.Entry)))
	b = be.AppendUint32(b, r.Heat)
	b = append(b, r.Key...)
	if err := x.write(b); err != nil {
		return err
	}
	x.count++
	return x.write(r.Entry)
}

// Close writes the end. It does not close what is written to.
func (x *Writer) Close() error {
	b := be.AppendUint32(make([]byte, 0, EndSize), end)
	b = be.AppendUint64(b, 0)
	b = be.AppendUint64(b, x.count)
	if err := x.write(b); err != nil {
		return err
	}
	if err := x.write(be.AppendUint32(nil, x.crc)); err != nil {
		return err
	}
	return x.w.Flush()
}

// Reader reads a save, of which nothing is believed.
type Reader struct {
	Header

	// SkipEntries leaves Record.Entry empty.
	SkipEntries bool

	r     *bufio.Reader
	crc   uint32
	count uint64
	buf   []byte
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	x := &Reader{r: bufio.NewReaderSize(r, chunk)}
	b, err := x.read(HeaderSize)
	if err != nil {
		return nil, err
	}
	if string(b[:4]) != "BWSV" || b[4] != version || b[5]&^flagKeysOnly != 0 || b[6] != 0 || b[7] != 0 ||
		be.Uint32(b[16:]) != crc32.Checksum(b[:16], table) {
		return nil, ErrDamaged
	}
	x.Header = Header{KeysOnly: b[5]&flagKeysOnly != 0, Saved: int64(be.Uint64(b[8:]))}
	if x.Saved < 0 {
		return nil, ErrDamaged
	}
	return x, nil
}

// Next returns the next record, or io.EOF after the last of a sound file. After
// any other error there is no more to be read. The entry is valid until the next
// call.
func (x *Reader) Next() (rec Record, err error) {
	b, err := x.read(RecordSize)
	if err != nil {
		return rec, err
	}
	keyLen, entryLen, heat := be.Uint32(b), be.Uint32(b[4:]), be.Uint32(b[8:])
	switch {
	case keyLen == end && entryLen == 0 && heat == 0:
		return rec, x.end()
	case keyLen > MaxKey, entryLen > MaxEntry, x.KeysOnly && entryLen > 0:
		return rec, ErrDamaged
	}
	if b, err = x.read(int(keyLen)); err != nil {
		return rec, err
	}
	rec = Record{Key: string(b), Heat: heat}
	if x.SkipEntries {
		for n := int(entryLen); n > 0; n -= min(n, chunk) {
			if _, err = x.read(min(n, chunk)); err != nil {
				return Record{}, err
			}
		}
	} else if rec.Entry, err = x.read(int(entryLen)); err != nil {
		return Record{}, err
	}
	x.count++
	return rec, nil
}

// end checks the file as a whole.
func (x *Reader) end() error {
	b, err := x.read(8)
	if err != nil {
		return err
	}
	count, crc := be.Uint64(b), x.crc
	if b, err = x.read(4); err != nil {
		return err
	}
	if count != x.count || be.Uint32(b) != crc {
		return ErrDamaged
	}
	switch _, err := x.r.ReadByte(); {
	case err == nil:
		return ErrDamaged
	default:
		return err // io.EOF, as a rule
	}
}

// read reads n bytes, into a buffer that grows with what is there rather than
// with what is claimed.
func (x *Reader) read(n int) ([]byte, error) {
	x.buf = x.buf[:0]
	for len(x.buf) < n {
		at := len(x.buf)
		more := min(n-at, max(at, chunk))
		if cap(x.buf)-at < more {
			x.buf = append(make([]byte, 0, at+more), x.buf...)
		}
		x.buf = x.buf[:at+more]
		if _, err := io.ReadFull(x.r, x.buf[at:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = ErrDamaged
			}
			return nil, err
		}
	}
	x.crc = crc32.Update(x.crc, table, x.buf)
	return x.buf, nil
}
