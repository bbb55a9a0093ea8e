package gob_test

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The parts of a gob, by hand.

func uintOf(n uint64) string {
	if n <= 0x7f {
		return string([]byte{byte(n)})
	}
	s := strings.TrimLeft(string(binary.BigEndian.AppendUint64(nil, n)), "\x00")
	return string([]byte{byte(-len(s))}) + s
}

func intOf(n int64) string {
	if n < 0 {
		return uintOf(uint64(^n)<<1 | 1)
	}
	return uintOf(uint64(n) << 1)
}

func text(s string) string { return uintOf(uint64(len(s))) + s }

func message(body string) string { return text(body) }

// define is the message that defines a type: fields of its kind, after the
// common ones.
func define(id int64, kind int, fields string) string {
	return message(intOf(-id) + uintOf(uint64(kind)) + "\x01\x00" + fields + "\x00\x00")
}

func arrayOf(id, elem, length int64) string {
	return define(id, 1, "\x01"+intOf(elem)+"\x01"+intOf(length))
}

func sliceOf(id, elem int64) string { return define(id, 2, "\x01"+intOf(elem)) }

func mapOf(id, key, elem int64) string { return define(id, 4, "\x01"+intOf(key)+"\x01"+intOf(elem)) }

func opaque(id int64) string { return define(id, 5, "") }

type field struct {
	name string
	id   int64
}

func structOf(id int64, fields ...field) string {
	var b strings.Builder
	b.WriteString("\x01" + uintOf(uint64(len(fields))))
	for _, f := range fields {
		b.WriteString("\x01" + text(f.name) + "\x01" + intOf(f.id) + "\x00")
	}
	return define(id, 3, b.String())
}

// value is the message of a struct, single that of another type.
func value(id int64, body string) string { return message(intOf(id) + body) }

func single(id int64, body string) string { return message(intOf(id) + "\x00" + body) }

const huge = 1<<24 - 1 // entries of a map take some 600 MB

// killers are inputs that cost a process much or all without the guard: in
// what V has, in any, and in a field V does not have.
func killers() map[string]string {
	self := structOf(65, field{"Next", 65})
	chain, slices := &strings.Builder{}, &strings.Builder{}
	for id := int64(65); id < 65_065; id++ {
		chain.WriteString(structOf(id, field{"Next", id + 1}))
	}
	for id := int64(66); id < 966; id++ {
		slices.WriteString(sliceOf(id, id+1))
	}
	slices.WriteString(sliceOf(966, 2))
	fields := make([]field, 5000)
	for i := range fields {
		fields[i] = field{fmt.Sprint("F", i), 66}
	}
	in := func(kind string, body string) string {
		return structOf(65, field{"F", 66}, field{"Counts", 67}, field{"Nums", 68}, field{"Any", 8}, field{"Tags", 69}) +
			kind + mapOf(67, 6, 2) + sliceOf(68, 2) + sliceOf(69, 6) + value(65, body)
	}
	none := sliceOf(66, 2)
	return map[string]string{
		"map":              structOf(65, field{"Counts", 66}) + mapOf(66, 6, 2) + value(65, "\x01"+uintOf(huge)),
		"map unknown":      in(mapOf(66, 6, 2), "\x01"+uintOf(1<<40)),
		"slice":            in(none, "\x03"+uintOf(huge)),
		"strings":          in(none, "\x05"+uintOf(huge)),
		"slice unknown":    in(none, "\x01"+uintOf(huge)),
		"array unknown":    in(arrayOf(66, 2, huge), "\x01"+uintOf(huge)),
		"slice in any":     in(none, "\x04"+text("[]int")+intOf(68)+text("\x00"+uintOf(huge))+"\x00"),
		"map in any":       in(none, "\x04"+text("ints")+intOf(67)+text("\x00"+uintOf(huge))+"\x00"),
		"bytes":            structOf(65, field{"Blob", 5}) + value(65, "\x01"+uintOf(1<<33)),
		"fields":           message(intOf(-65) + "\x03\x01\x00\x01" + uintOf(huge)),
		"message":          uintOf(1<<33 - 1),
		"nested pointers":  self + value(65, strings.Repeat("\x01", 5<<20)+strings.Repeat("\x00", 5<<20+1)),
		"nested unknown":   in(sliceOf(66, 66), strings.Repeat("\x01", 5<<20)+"\x00\x00"),
		"arrays unknown":   in(arrayOf(66, 66, 1), strings.Repeat("\x01", 5<<20)+"\x00\x00"),
		"maps unknown":     in(mapOf(66, 66, 66), strings.Repeat("\x01", 5<<20)+"\x00\x00"),
		"interfaces":       in(none, "\x04"+strings.Repeat("\x01x\x10\x7f\x00", 1<<20)),
		"types in types":   chain.String() + structOf(65_065, field{"Name", 6}) + value(65, "\x00"),
		"fields of slices": structOf(65, fields...) + slices.String() + value(65, "\x00"),
	}
}

// limits are the most costly definitions that pass the guard.
func limits() map[string]string {
	var structs, slices strings.Builder
	for id := int64(65); id < 1055; id++ {
		fields := []field{{"Next", min(id+1, 1054)}}
		for i := range 9 {
			fields = append(fields, field{strings.Repeat(fmt.Sprint("F", i), 20), 2})
		}
		structs.WriteString(structOf(id, fields...))
	}
	for id := int64(66); id < 1055; id++ {
		slices.WriteString(sliceOf(id, min(id+1, 1054)))
	}
	fields := []field{{"Name", 6}}
	for i := range 10 {
		fields = append(fields, field{fmt.Sprint("F", i), 66})
	}
	return map[string]string{
		"structs": structs.String() + value(65, "\x00"),
		"slices":  structOf(65, fields...) + slices.String() + value(65, "\x01\x01x\x00"),
	}
}
