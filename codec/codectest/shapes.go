package codectest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
)

// counts are what announces 2 to 16 million of something: in
// MessagePack, CBOR, gob, and as a varint.
var counts = []string{
	"\xdd\x00\xff\xff\xff", "\xdf\x00\xff\xff\xff", "\x9a\x00\xff\xff\xff", "\xba\x00\xff\xff\xff", "\xfc\x00\x3f\xff\xff", "\xfd\xff\xff\xff",
	"\xff\xff\xff\x07",
}

// inflated yields data, each in memory of its own, with bytes replaced by a
// count. The length of the whole stays what it was.
func inflated(data []byte) func(yield func(string, []byte) bool) {
	return func(yield func(string, []byte) bool) {
		for _, count := range counts {
			last := len(data) - len(count)
			for at := 0; at <= last; at += step(len(data), len(counts)*len(data)) {
				bad := bytes.Clone(data)
				copy(bad[at:], count)
				if !yield(fmt.Sprintf("%d bytes with %q at %d", len(data), count, at), bad) {
					return
				}
			}
		}
	}
}

// A gob says what its types are before it says a value.
const (
	gobMap    = "\x0b\xff\x81\x04\x01\x00\x01\x0c\x01\x04\x00\x00" // type 65: map[string]int
	gobSlice  = "\x09\xff\x81\x02\x01\x00\x01\x04\x00\x00"         // type 65: []int
	gobItself = "\x0a\xff\x81\x02\x01\x00\x01\xff\x82\x00\x00"     // type 65: slice of 65
)

// gobMessage returns the message that says body.
func gobMessage(body string) string {
	n := strings.TrimLeft(string(binary.BigEndian.AppendUint64(nil, uint64(len(body)))), "\x00")
	return string([]byte{byte(-len(n))}) + n + body
}

// gobClaims announce a map, or a slice, of 4 million, and of 2^40.
func gobClaims() (all []string) {
	for _, count := range []string{"\xfc\x00\x3f\xff\xff", "\xfa\x01\x00\x00\x00\x00\x00"} {
		for _, definition := range []string{gobMap, gobSlice} {
			all = append(all, definition+gobMessage("\xff\x82\x00"+count))
		}
	}
	return all
}

// gobNested are 5 MiB of slices in one another: on their own, and in a field
// that t lacks, next to a text that it has if it has one.
func gobNested(t reflect.Type) []string {
	slices := strings.Repeat("\x01", nested) + "\x00"
	all := []string{gobItself + gobMessage("\xff\x82\x00"+slices)}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return all
	}
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && f.Type.Kind() == reflect.String {
			// type 66: struct{ <f> string; Lacking <65> }
			fields := "\x01" + string([]byte{byte(len(f.Name))}) + f.Name + "\x01\x0c\x00" + "\x01\x07Lacking\x01\xff\x82\x00"
			definition := gobMessage("\xff\x83\x03\x01\x00\x01\x02" + fields + "\x00\x00")
			return append(all, gobItself+definition+gobMessage("\xff\x84\x02"+slices+"\x00"))
		}
	}
	return all
}
