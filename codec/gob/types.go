package gob

import "math"

const (
	// maxTypes bounds how deep the decoder recurses when it compiles
	// definitions; maxCost how much it does and keeps for them.
	maxTypes = 1000
	maxCost  = 10_000

	maxName   = 1024 // of a field: the decoder copies it
	firstType = 64   // the lowest ID of a type that needs a definition
)

type kind uint8

const (
	kindNone   kind = iota
	kindNumber      // bool, int, uint, float
	kindPair        // complex
	kindBlob        // bytes, string, and what encodes itself
	kindInterface
	kindArray
	kindSlice
	kindStruct
	kindMap
)

// builtin are the types whose definition is their ID.
var builtin = [...]kind{
	kindNone, kindNumber, kindNumber, kindNumber, kindNumber, kindBlob, kindBlob, kindPair, kindInterface,
}

// interfaceType is the index of the type of interfaces.
const interfaceType = 8

// typeDef is a type of the stream. Its refs are IDs until link makes them
// indexes: of the element, of key and element, of each field.
type typeDef struct {
	kind   kind
	length uint64 // of an array
	refs   []int32
}

// types are the builtin types and those that a stream defines.
type types struct {
	all    []typeDef
	index  map[int32]int32 // of IDs
	linked int             // how many of all are linked
	cost   int             // as link counts it

	// In an encoder's own output definitions may stand inside of the value.
	// Then loose is set, and head collects them.
	loose bool
	head  []byte
}

func newTypes() *types {
	t := &types{all: make([]typeDef, len(builtin), 2*len(builtin)), index: map[int32]int32{}, linked: len(builtin)}
	for i, k := range builtin {
		t.all[i].kind = k
		if k != kindNone {
			t.index[int32(i)] = int32(i)
		}
	}
	return t
}

// define reads the definition of the type whose negative ID was read.
func (t *types) define(r *reader, negative int64) {
	if negative > -firstType || negative < -math.MaxInt32 {
		r.fail(ErrFormat)
		return
	}
	id := int32(-negative)
	if _, taken := t.index[id]; taken {
		r.fail(ErrFormat)
		return
	}
	if len(t.all) == maxTypes {
		r.fail(ErrTypes)
		return
	}
	var d typeDef
	r.fields(7, func(field int) {
		if d.kind != kindNone { // the decoder would take it for either
			r.fail(ErrFormat)
		}
		d.read(r, field)
	})
	if d.kind == kindNone {
		r.fail(ErrFormat)
	}
	t.index[id] = int32(len(t.all))
	t.all = append(t.all, d)
}

// read reads one field of a wireType.
func (d *typeDef) read(r *reader, field int) {
	switch field {
	case 0:
		d.kind, d.refs = kindArray, make([]int32, 1)
		r.fields(3, func(i int) {
			switch i {
			case 0:
				common(r)
			case 1:
				d.refs[0] = ref(r)
			case 2:
				d.length = uint64(r.int()) // none has less than no elements
			}
		})
	case 1:
		d.kind, d.refs = kindSlice, make([]int32, 1)
		d.readRefs(r)
	case 2:
		d.kind = kindStruct
		r.fields(2, func(i int) {
			if i == 0 {
				common(r)
			} else {
				d.readFields(r)
			}
		})
	case 3:
		d.kind, d.refs = kindMap, make([]int32, 2)
		d.readRefs(r)
	default: // GobEncoder, BinaryMarshaler, TextMarshaler
		d.kind = kindBlob
		d.readRefs(r)
	}
}

// readRefs reads what all definitions have, and as many IDs as refs has room for.
func (d *typeDef) readRefs(r *reader) {
	r.fields(1+len(d.refs), func(i int) {
		if i == 0 {
			common(r)
		} else {
			d.refs[i-1] = ref(r)
		}
	})
}

func (d *typeDef) readFields(r *reader) {
	n := r.uint()
	if n > r.left() {
		r.fail(ErrTruncated)
		return
	}
	if n > maxCost {
		r.fail(ErrTypes)
		return
	}
	for range n {
		var id int32
		r.fields(2, func(i int) {
			if i == 1 {
				id = ref(r)
				return
			}
			name := r.uint()
			if name > maxName {
				r.fail(ErrTypes)
			}
			r.skip(name)
		})
		if r.err != nil {
			return
		}
		d.refs = append(d.refs, id)
	}
}

// common reads the name and the ID that are part of each definition.
func common(r *reader) {
	r.fields(2, func(i int) {
		if i == 0 {
			r.skip(r.uint())
		} else {
			ref(r)
		}
	})
}

func ref(r *reader) int32 {
	id := r.int()
	if id < 0 || id > math.MaxInt32 {
		r.fail(ErrFormat)
		return 0
	}
	return int32(id)
}

// find returns the index of a type.
func (t *types) find(r *reader, id int64) int32 {
	if id >= 0 && id <= math.MaxInt32 {
		if i, ok := t.index[int32(id)]; ok {
			return i
		}
	}
	r.fail(ErrFormat)
	return 0
}

// link makes indexes of IDs, and refuses definitions that cost too much.
func (t *types) link(r *reader) {
	first := t.linked
	if first == len(t.all) {
		return
	}
	for ; t.linked < len(t.all); t.linked++ {
		refs := t.all[t.linked].refs
		for i, id := range refs {
			refs[i] = t.find(r, int64(id))
		}
	}
	seen := make([]int, len(t.all)) // which field's walk saw a type last
	var walk int
	var stack []int32
	for _, d := range t.all[first:] {
		if d.kind != kindStruct {
			continue
		}
		for _, field := range d.refs {
			walk++
			stack = t.weigh(append(stack[:0], field), seen, walk)
			if t.cost > maxCost {
				r.fail(ErrTypes)
				return
			}
		}
	}
}

// weigh adds the cost of a field, the only one in stack: for each that V lacks
// the decoder compiles all containers that it is made of, down to the structs.
func (t *types) weigh(stack []int32, seen []int, walk int) []int32 {
	for len(stack) > 0 && t.cost <= maxCost {
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[top] == walk {
			continue
		}
		seen[top] = walk
		t.cost++
		if t.all[top].kind != kindStruct {
			stack = append(stack, t.all[top].refs...)
		}
	}
	return stack
}
