package codec

import (
	"errors"
	"fmt"
)

// Error says which step of which codec failed. Its text names a [Reason], or
// else the type of the cause: the cause's own text may quote the value, and
// values do not belong in logs. Who wants it all the same unwraps it.
type Error struct {
	Codec string // "JSON", "msgpack", ...
	Op    string // "encode", "decode" or "create"
	Err   error  // the cause
}

// Error returns a text without a byte of the value.
func (e *Error) Error() string {
	if r, ok := errors.AsType[Reason](e.Err); ok {
		return fmt.Sprintf("codec: %s %s: %s", e.Op, e.Codec, string(r))
	}
	return fmt.Sprintf("codec: %s %s: %T", e.Op, e.Codec, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reason is a cause whose text is safe to show. It is a constant; find it with
// errors.Is.
type Reason string

// Error returns the text.
func (r Reason) Error() string { return string(r) }

// Recover turns a panic into an [Error], of the panic's type but not its text:
//
//	defer codec.Recover("msgpack", "decode", &err)
//
// For codecs around libraries, and around methods of the user's types, that
// may panic. It stops neither a stack overflow nor memory running out: those
// must be kept from the library beforehand.
func Recover(name, op string, err *error) {
	if p := recover(); p != nil {
		*err = &Error{Codec: name, Op: op, Err: Reason(fmt.Sprintf("panic: %T", p))}
	}
}
