package gob_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bellwethercache/bellwether/codec/gob"
)

func TestRefusalsNameTheReason(t *testing.T) {
	point := structOf(65, field{"X", 2}, field{"Y", 2})
	anys := sliceOf(65, 8)
	slices := func(n int64) (s string) {
		for id := int64(65); id < 65+n; id++ {
			s += sliceOf(id, 2)
		}
		return s
	}
	deep := func(n int) string {
		return sliceOf(65, 65) + single(65, strings.Repeat("\x01", n-1)+"\x00")
	}
	interfaces := func(n int) string { // each in the slice before
		inner := "\x00"
		for range n - 1 {
			inner = "\x01" + text("s") + intOf(65) + text("\x00"+inner)
		}
		return anys + single(65, inner)
	}
	for _, test := range []struct {
		what, data string
		want       error // nil if the guard lets it through
	}{
		{"nothing", "", gob.ErrTruncated},
		{"an empty message", "\x00", gob.ErrTruncated},
		{"an empty message before a value", "\x00" + single(2, "\x02"), gob.ErrFormat},
		{"a length of 9 bytes", "\xf7\x01\x01\x01\x01\x01\x01\x01\x01\x01", gob.ErrFormat},
		{"a length cut short", "\xfe\x01", gob.ErrTruncated},
		{"a message cut short", "\x04\x04\x00\x02", gob.ErrTruncated},
		{"definitions and no value", point, gob.ErrTruncated},
		{"two values", single(2, "\x02") + single(2, "\x02"), gob.ErrTrailing},
		{"a byte more", single(2, "\x02") + "\x00", gob.ErrTrailing},
		{"a byte more in the message", single(2, "\x02\x00"), gob.ErrTrailing},
		{"a byte more in a definition", message(point[1:]+"\x00") + value(65, "\x00"), gob.ErrFormat},
		{"a definition after the value", single(2, "\x02") + point, gob.ErrTrailing},

		{"an ID twice", point + point + value(65, "\x00"), gob.ErrFormat},
		{"an ID of gob's own", structOf(16, field{"X", 2}) + value(16, "\x00"), gob.ErrFormat},
		{"an ID of more than 32 bits", sliceOf(1<<32+65, 2) + single(65, "\x00"), gob.ErrFormat},
		{"a value of no type", single(0, "\x02"), gob.ErrFormat},
		{"a value of an undefined type", point + single(66, "\x02"), gob.ErrFormat},
		{"a value of a reserved type", single(9, "\x02"), gob.ErrFormat},
		{"a value of a wireType", value(16, "\x00"), gob.ErrFormat},
		{"a value of fieldTypes", single(22, "\x00"), gob.ErrFormat},
		{"an ID of a value of more than 32 bits", single(1<<32+2, "\x02"), gob.ErrFormat},
		{"elements of an undefined type", sliceOf(65, 66) + single(65, "\x00"), gob.ErrFormat},
		{"keys of an undefined type", mapOf(65, 66, 2) + single(65, "\x00"), gob.ErrFormat},
		{"a field of an undefined type", structOf(65, field{"X", 66}) + value(65, "\x00"), gob.ErrFormat},
		{"elements of a wireType", sliceOf(65, 16) + single(65, "\x00"), gob.ErrFormat},
		{"elements of an ID of more than 32 bits", sliceOf(65, 1<<32+2) + single(65, "\x00"), gob.ErrFormat},
		{"elements of no type", define(65, 2, "") + single(65, "\x00"), gob.ErrFormat},
		{"a definition of nothing", message(intOf(-65)+"\x00") + single(65, "\x00"), gob.ErrFormat},
		{"an unknown kind of definition", define(65, 8, "") + single(65, "\x00"), gob.ErrFormat},
		{"a definition of two kinds", message(intOf(-65)+"\x02\x02\x04\x00\x01\x01\x00\x00\x00") + single(65, "\x00"), gob.ErrFormat},
		{"an array of less than none", arrayOf(65, 2, -1) + single(65, "\x00"), gob.ErrFormat},
		{"a delta that overflows", message(intOf(-65)+uintOf(1<<63)+"\x00") + single(65, "\x00"), gob.ErrFormat},
		{"many fields", message(intOf(-65) + "\x03\x02" + uintOf(1<<40)), gob.ErrTruncated},
		{"many types", slices(1000) + single(2, "\x02"), gob.ErrTypes},
		{"a long field name", structOf(65, field{strings.Repeat("X", 1025), 2}) + value(65, "\x00"), gob.ErrTypes},

		{"a field too far", point + value(65, "\x01\x02\x02\x02\x00"), gob.ErrFormat},
		{"a field that overflows", point + value(65, "\x01\x02"+uintOf(1<<64-1)+"\x02\x00"), gob.ErrFormat},
		{"a struct without end", point + value(65, "\x01\x02"), gob.ErrTruncated},
		{"a single with a field", single(2, "\x02")[:2] + "\x01\x02", gob.ErrFormat},
		{"a string cut short", single(6, "\x05abcd"), gob.ErrTruncated},
		{"an opaque cut short", opaque(65) + single(65, "\x05abcd"), gob.ErrTruncated},
		{"a slice cut short", sliceOf(65, 2) + single(65, "\x03\x02\x02"), gob.ErrTruncated},
		{"a slice of empty structs cut short", structOf(66) + sliceOf(65, 66) + single(65, "\x03\x00\x00"), gob.ErrTruncated},
		{"a map cut short", mapOf(65, 2, 2) + single(65, "\x02\x02\x02\x02"), gob.ErrTruncated},
		{"a map of 2^63", mapOf(65, 2, 2) + single(65, uintOf(1<<63)), gob.ErrTruncated},
		{"a slice of 2^64-1", sliceOf(65, 2) + single(65, uintOf(1<<64-1)), gob.ErrTruncated},
		{"a complex cut short", single(7, "\x02"), gob.ErrTruncated},
		{"an array of another length", arrayOf(65, 2, 3) + single(65, "\x02\x02\x02\x02"), gob.ErrFormat},
		{"an array of 2^62", arrayOf(65, 2, 1<<62) + single(65, uintOf(1<<62)), gob.ErrTruncated},
		{"arrays in arrays of none", arrayOf(65, 66, 2) + arrayOf(66, 2, 0) + single(65, "\x02\x00"), gob.ErrTruncated},
		{"an array of itself", arrayOf(65, 65, 1) + single(65, strings.Repeat("\x01", 2000)), gob.ErrDepth},
		{"a deep slice", deep(gob.MaxDepth + 1), gob.ErrDepth},
		{"deep interfaces", interfaces(gob.MaxDepth/2 + 1), gob.ErrDepth},

		{"a name cut short", anys + single(65, "\x01"+uintOf(99)+"int"), gob.ErrTruncated},
		{"an interface without a type", anys + single(65, "\x01"+text("int")), gob.ErrTruncated},
		{"an interface of an undefined type", anys + single(65, "\x01"+text("int")+intOf(66)+text("\x00\x02")), gob.ErrFormat},
		{"an interface in an interface", anys + single(65, "\x01"+text("int")+intOf(8)+text("\x00\x00")), gob.ErrFormat},
		{"an interface that is longer", anys + single(65, "\x01"+text("int")+intOf(2)+text("\x00\x02\x02")), gob.ErrTrailing},
		{"an interface that is shorter", anys + single(65, "\x02"+text("int")+intOf(2)+"\x01\x00\x02"+"\x00"), gob.ErrTrailing},
		{"an interface cut short", anys + single(65, "\x01"+text("int")+intOf(2)+"\x7f\x00\x02"), gob.ErrTruncated},
		{"an interface without a zero", anys + single(65, "\x01"+text("int")+intOf(2)+text("\x02\x02")), gob.ErrFormat},
		{"a definition in a value", anys + message(intOf(65)+"\x00\x01"+text("T")+point[1:]) + message(intOf(65)+text("\x00")), gob.ErrTrailing},
		{"a definition in the last message", anys + single(65, "\x01"+text("T")+intOf(-66)+point[3:]+"\x04"+intOf(66)+text("\x00")), gob.ErrFormat},

		{"a number", single(2, "\x02"), nil},
		{"as many types as may be", slices(991) + single(2, "\x02"), nil},
		{"a struct", point + value(65, "\x01\x02\x01\x02\x00"), nil},
		{"a struct's last field", point + value(65, "\x02\x02\x00"), nil},
		{"an empty struct", structOf(65) + value(65, "\x00"), nil},
		{"empty structs", structOf(66) + sliceOf(65, 66) + single(65, "\x03\x00\x00\x00"), nil},
		{"an array of none", arrayOf(65, 2, 0) + single(65, "\x00"), nil},
		{"an array", arrayOf(65, 2, 3) + single(65, "\x03\x02\x02\x02"), nil},
		{"a map", mapOf(65, 6, 7) + single(65, "\x02\x01a\x02\x02\x01b\x02\x02"), nil},
		{"an opaque", opaque(65) + single(65, "\x04abcd"), nil},
		{"a nil interface", anys + single(65, "\x01\x00"), nil},
		{"an int in an interface", anys + single(65, "\x01"+text("int")+intOf(2)+text("\x00\x02")), nil},
		{"a struct in an interface", anys + structOf(66, field{"X", 2}) + single(65, "\x01"+text("T")+intOf(66)+text("\x01\x02\x00")), nil},
		{"a type of its own in a type before", sliceOf(65, 66) + sliceOf(66, 65) + single(65, "\x01\x00"), nil},
		{"a slice as deep as may be", deep(gob.MaxDepth), nil},
		{"interfaces as deep as may be", interfaces(gob.MaxDepth / 2), nil},
		{"many bytes for a small number", message(intOf(2) + "\x00\xf8\x00\x00\x00\x00\x00\x00\x00\x02"), nil},
	} {
		err := gob.Scan([]byte(test.data))
		if !errors.Is(err, test.want) || (test.want == nil) != (err == nil) {
			t.Errorf("%s: the guard says %v, want %v (%.60q)", test.what, err, test.want, test.data)
		}
	}
}
