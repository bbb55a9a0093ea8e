package gob

import "github.com/bellwethercache/bellwether/codec"

// MaxDepth is how deep arrays, slices, maps, structs and interfaces may nest
// in what is decoded.
const MaxDepth = 1000

// Causes of a refusal before the decoder sees a byte.
const (
	ErrDepth     = codec.Reason("nested too deep")
	ErrTruncated = codec.Reason("claims more than there is")
	ErrTrailing  = codec.Reason("bytes after the value")
	ErrTypes     = codec.Reason("too many types, too many fields, or too long a field name")
	ErrFormat    = codec.Reason("not a gob of definitions and then one value")
)

// scan checks that data is definitions and one value made of them, and nothing
// else, so that every count in it is covered by as many bytes: no type has
// values of no bytes. It returns how long the definitions are.
func scan(data []byte) (head int, t *types, err error) {
	t = newTypes()
	r := &reader{data: data}
	head = t.definitions(r)
	t.value(r)
	return head, t, r.err
}

// collect walks an encoder's output, in which definitions may stand inside of
// the value, and returns them as messages of their own.
func collect(data []byte) (head []byte, err error) {
	t := newTypes()
	t.loose = true
	r := &reader{data: data}
	t.definitions(r)
	t.value(r)
	return t.head, r.err
}

// definitions reads messages up to that of the value.
func (t *types) definitions(r *reader) (end int) {
	for r.err == nil {
		start := r.pos
		end := r.message()
		body := r.pos
		id := r.int()
		if id >= 0 {
			r.pos = start
			break
		}
		t.define(r, id)
		if r.pos != end {
			r.fail(ErrFormat)
		}
		t.keep(r.data[body:r.pos])
	}
	t.link(r)
	return r.pos
}

// keep collects a definition.
func (t *types) keep(definition []byte) {
	if t.loose {
		t.head = appendMessage(t.head, definition)
	}
}

// value reads the message of the value, which is the last.
func (t *types) value(r *reader) {
	if end := r.message(); end != len(r.data) && !t.loose {
		r.fail(ErrTrailing)
	}
	t.walk(r, frame{of: interfaceType, content: t.find(r, r.int()), at: len(r.data), left: 1})
}

// frame is a value that is being read and holds others.
type frame struct {
	of      int32 // its type
	content int32 // the type of what is in an interface
	at      int   // the last field of a struct; where an interface ends
	left    int   // how many values are left
}

// walk reads the value that root holds. It does not recurse.
func (t *types) walk(r *reader, root frame) {
	var room [32]frame
	stack := append(room[:0], root)
	for len(stack) > 0 && r.err == nil {
		inner, ok := t.next(r, &stack[len(stack)-1])
		if !ok {
			stack = stack[:len(stack)-1]
			continue
		}
		f, holds := t.enter(r, inner)
		if !holds {
			continue
		}
		if len(stack) > MaxDepth {
			r.fail(ErrDepth)
			return
		}
		stack = append(stack, f)
	}
}

// next returns the type of the next value in f, if there is one.
func (t *types) next(r *reader, f *frame) (inner int32, ok bool) {
	d := &t.all[f.of]
	if d.kind == kindStruct {
		if f.at = r.delta(f.at, len(d.refs)); f.at == len(d.refs) {
			return 0, false
		}
		return d.refs[f.at], true
	}
	if f.left == 0 {
		if d.kind == kindInterface && r.pos != f.at && !t.loose {
			r.fail(ErrTrailing)
		}
		return 0, false
	}
	f.left--
	switch d.kind {
	case kindInterface:
		// A value on its own follows a zero, unless it is a struct.
		if t.all[f.content].kind != kindStruct && r.uint() != 0 {
			r.fail(ErrFormat)
		}
		return f.content, true
	case kindMap:
		return d.refs[1-f.left&1], true
	}
	return d.refs[0], true
}

// enter reads a value, or the start of one that holds others.
func (t *types) enter(r *reader, of int32) (f frame, holds bool) {
	d := &t.all[of]
	switch d.kind {
	case kindNumber:
		r.uint()
	case kindPair:
		r.uint()
		r.uint()
	case kindBlob:
		r.skip(r.uint())
	case kindStruct:
		return frame{of: of, at: -1}, true
	case kindInterface:
		return t.enterInterface(r)
	case kindArray, kindSlice, kindMap:
		n := r.uint()
		room := r.left()
		if d.kind == kindMap {
			room /= 2
		}
		switch {
		case n > room:
			r.fail(ErrTruncated)
		case d.kind == kindArray && n != d.length:
			r.fail(ErrFormat)
		case d.kind == kindMap:
			n *= 2
		}
		return frame{of: of, left: int(n)}, true
	}
	return frame{}, false
}

// enterInterface reads the name of the type in an interface, its ID, and how
// long the value is. The decoder goes by that length only if V lacks the
// field, so it must be right.
func (t *types) enterInterface(r *reader) (f frame, holds bool) {
	name := r.uint()
	r.skip(name)
	if name == 0 || r.err != nil {
		return frame{}, false
	}
	start := r.pos
	id := r.int()
	for id < 0 && t.loose && r.err == nil {
		t.define(r, id)
		t.keep(r.data[start:r.pos])
		r.uint() // the length of the rest, or of the next message
		start = r.pos
		id = r.int()
	}
	t.link(r)
	content := t.find(r, id)
	if t.all[content].kind == kindInterface {
		r.fail(ErrFormat)
	}
	return frame{of: interfaceType, content: content, at: r.message(), left: 1}, true
}
