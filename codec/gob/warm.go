package gob

import (
	"bytes"
	"encoding/gob"
	"reflect"
	"sync"
	"sync/atomic"
)

// An encoder and a decoder compile V anew for each value, unless they have
// seen its definitions. So those that have are kept. None that failed is.

// writer is an encoder and what it writes to.
type writer struct {
	enc   *gob.Encoder
	out   []byte
	head  []byte // the definitions, which it writes only once
	types *types // of head; nil if it has not written
}

func newWriter() *writer {
	w := &writer{}
	w.enc = gob.NewEncoder(w)
	return w
}

// Write is for the encoder.
func (w *writer) Write(p []byte) (int, error) {
	w.out = append(w.out, p...)
	return len(p), nil
}

// append appends the gob of what p points to, definitions first.
func (w *writer) append(dst []byte, p any) ([]byte, error) {
	defer func() { w.out = nil }()
	w.out = append(dst, w.head...)
	if err := w.enc.Encode(p); err != nil {
		return dst, err
	}
	if w.types != nil {
		r := &reader{data: w.out, pos: len(dst) + len(w.head)}
		w.types.value(r) // or else Decode would fail
		return w.out, r.err
	}
	size, types, err := scan(w.out[len(dst):])
	if err != nil {
		return w.flatten(dst, p)
	}
	w.head, w.types = bytes.Clone(w.out[len(dst):len(dst)+size]), types
	return w.out, nil
}

// flatten is for a value in which types were defined on the way, as the
// encoder came upon interfaces. What it has defined it does not define again.
func (w *writer) flatten(dst []byte, p any) ([]byte, error) {
	head, err := collect(w.out[len(dst):])
	if err != nil {
		return dst, err
	}
	w.out = append(w.out[:len(dst)], head...)
	if err := w.enc.Encode(p); err != nil {
		return dst, err
	}
	_, _, err = scan(w.out[len(dst):])
	return w.out, err
}

// source is a decoder and what it reads.
type source struct {
	dec *gob.Decoder
	src bytes.Reader
}

func newSource() *source {
	s := &source{}
	s.dec = gob.NewDecoder(&s.src)
	return s
}

func (s *source) decode(data []byte, p any) error {
	s.src.Reset(data)
	defer s.src.Reset(nil)
	return s.dec.Decode(p)
}

const (
	// maxForms bounds how many forms a codec knows. One is of what this
	// process writes, another of what one writes that met its types in another
	// order, or is of another version.
	maxForms = 8
	maxHead  = 4 << 10
)

// form is definitions that values have come with.
type form struct {
	head    []byte
	types   *types    // of head, only read
	sources sync.Pool // of *source that have read head
}

// forms are the forms that a codec knows. Who can write to the store can make
// it forget them, which costs time and nothing else.
type forms struct {
	all atomic.Pointer[[]*form]
	mu  sync.Mutex // held to add one
}

// find returns the form of data, if data is one value of a known form.
func (fs *forms) find(data []byte) *form {
	all := fs.all.Load()
	if all == nil {
		return nil
	}
	for _, f := range *all {
		if !bytes.HasPrefix(data, f.head) {
			continue
		}
		r := &reader{data: data, pos: len(f.head)}
		if f.types.value(r); r.err == nil {
			return f
		}
	}
	return nil
}

// decode decodes data, which find has found to be of this form.
func (f *form) decode(data []byte, p any) error {
	s, warm := f.sources.Get().(*source)
	if warm {
		data = data[len(f.head):]
	} else {
		s = newSource()
	}
	if err := s.decode(data, p); err != nil {
		return err
	}
	f.sources.Put(s)
	return nil
}

// learn adds a form, and the source that has read it.
func (fs *forms) learn(head []byte, types *types, s *source) {
	if len(head) > maxHead {
		return
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var all []*form
	if old := fs.all.Load(); old != nil {
		all = append(all, (*old)[max(0, len(*old)-maxForms+1):]...)
	}
	for _, f := range all {
		if bytes.Equal(f.head, head) {
			return
		}
	}
	f := &form{head: bytes.Clone(head), types: types}
	f.sources.Put(s)
	all = append(all, f)
	fs.all.Store(&all)
}

// hasInterface reports whether a value of t may hold interfaces. If not, its
// definitions are always the same.
func hasInterface(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return hasInterface(t.Elem(), seen)
	case reflect.Map:
		return hasInterface(t.Key(), seen) || hasInterface(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && hasInterface(f.Type, seen) {
				return true
			}
		}
	}
	return false
}
