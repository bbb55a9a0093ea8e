package valkeylease

import (
	"errors"
	"fmt"
	"strings"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
)

// Wrap classifies a client error. Whatever is not the server's own word is
// joined with backend.ErrUnavailable; the server's word keeps only its first
// token (WRONGTYPE, OOM, NOPERM, ...), as the rest may quote keys.
func Wrap(err error) error {
	if err == nil {
		return nil
	}
	if valkey.IsValkeyNil(err) {
		return backend.ErrMiss
	}
	if e, ok := valkey.IsValkeyErr(err); ok {
		code, _, _ := strings.Cut(e.Error(), " ")
		return &ServerError{Code: code, err: e}
	}
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
}

// ServerError is a refusal by the server itself.
type ServerError struct {
	Code string // WRONGTYPE, OOM, READONLY, ...
	err  error
}

// Error names the refusal without quoting the server, which may quote keys.
func (e *ServerError) Error() string { return "valkey: server refused: " + e.Code }

// Unwrap gives the client's error.
func (e *ServerError) Unwrap() error { return e.err }

// Refused reports whether err is a refusal by the server itself.
func Refused(err error) bool {
	var e *ServerError
	return errors.As(err, &e)
}
