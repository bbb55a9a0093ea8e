package fleettest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
)

// frame appends one RESP3 value to b, as it is on the wire: a command, a reply
// or a push.
func frame(r *bufio.Reader, b []byte) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return b, err
	}
	b = append(b, line...)
	body := bytes.TrimRight(line[1:], "\r\n")
	switch line[0] {
	case '$', '=', '!': // bulk strings
		n, err := strconv.Atoi(string(body))
		if err != nil || n < 0 {
			return b, err
		}
		at := len(b)
		b = append(b, make([]byte, n+len("\r\n"))...)
		_, err = io.ReadFull(r, b[at:])
		return b, err
	case '*', '~', '>', '%', '|': // aggregates
		n, err := strconv.Atoi(string(body))
		if err != nil {
			return b, err
		}
		if line[0] == '%' || line[0] == '|' {
			n *= 2
		}
		if line[0] == '|' {
			n++ // attributes precede what they are of
		}
		for range n {
			if b, err = frame(r, b); err != nil {
				return b, err
			}
		}
		return b, nil
	case '+', '-', ':', '_', '#', ',', '(':
		return b, nil
	}
	return b, errors.New("fleettest: not RESP")
}

// answered reports whether a command gets a reply. Those that change
// subscriptions are answered by pushes.
func answered(cmd []byte) bool {
	return !bytes.HasSuffix(bytes.ToUpper(name(cmd)), []byte("SUBSCRIBE"))
}

// name is a command's first word.
func name(cmd []byte) []byte {
	parts := bytes.SplitN(cmd, []byte("\r\n"), 4) // *n, $len, name
	if len(parts) < 3 {
		return nil
	}
	return parts[2]
}
