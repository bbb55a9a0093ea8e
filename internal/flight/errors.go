package flight

import (
	"errors"
	"fmt"
)

var (
	// ErrGoexit says that the work ended its goroutine by runtime.Goexit.
	ErrGoexit = errors.New("the loader exited its goroutine")
	// ErrAbandoned is the cause with which work is cancelled when its last
	// caller has left.
	ErrAbandoned = errors.New("every caller has left")
	// ErrClosed says that the group is closed.
	ErrClosed = errors.New("closed")
	// ErrPatience says that the caller has waited for as long as Wait.Hard
	// allows. The work goes on.
	ErrPatience = errors.New("the caller's patience is over")
	// ErrHopeless says that the caller's deadline comes before the announced
	// end of the work.
	ErrHopeless = errors.New("the caller's deadline comes before the work's usual end")
	// ErrCrowded says that Group.Limit callers wait already.
	ErrCrowded = errors.New("too many callers are waiting")
	// ErrRecursive says that work asked for its own key, which would wait for
	// itself for ever.
	ErrRecursive = errors.New("the loader asked for the key that it is loading")
)

// PanicError is a panic of the work.
type PanicError struct {
	Value any
	Stack []byte
}

// Error gives the panic value; the stack is in the field.
func (p *PanicError) Error() string { return fmt.Sprintf("the loader panicked: %v", p.Value) }

// Unwrap gives the panic value if it was an error.
func (p *PanicError) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}
