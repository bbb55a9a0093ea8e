package memcachedstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// conn speaks as much of memcached's text protocol as we need. One operation
// at a time uses it. After an error it is of no use.
type conn struct {
	net   net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	limit int // of an item; a larger one is none of ours
}

func newConn(nc net.Conn, limit int) *conn {
	return &conn{net: nc, r: bufio.NewReader(nc), w: bufio.NewWriter(nc), limit: limit}
}

// ServerError is a refusal by the server itself.
type ServerError struct {
	Code string // SERVER_ERROR, CLIENT_ERROR or ERROR
}

// Error names the refusal without quoting the server, which may quote keys.
func (e *ServerError) Error() string { return "memcachedstore: server refused: " + e.Code }

var (
	errProtocol = errors.New("unexpected reply")
	longAgo     = time.Unix(1, 0)
)

// bind lets what c does end with ctx. release undoes that, and reports whether
// c is still good.
func (c *conn) bind(ctx context.Context) (release func() bool) {
	deadline, _ := ctx.Deadline() // there is one: Options.Timeout
	_ = c.net.SetDeadline(deadline)
	return context.AfterFunc(ctx, func() { _ = c.net.SetDeadline(longAgo) })
}

// read fills in the items.
func (c *conn) read(changes []*change) error {
	_, _ = c.w.WriteString("gets")
	byKey := make(map[string]*change, len(changes))
	for _, ch := range changes {
		ch.item, ch.cas, ch.found = item{}, 0, false
		byKey[ch.key] = ch
		_ = c.w.WriteByte(' ')
		_, _ = c.w.WriteString(ch.key)
	}
	_, _ = c.w.WriteString("\r\n")
	if err := c.w.Flush(); err != nil {
		return err
	}
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if line == "END" {
			return nil
		}
		if err := c.item(line, byKey); err != nil {
			return err
		}
	}
}

// item reads what follows VALUE <key> <flags> <bytes> <cas>.
func (c *conn) item(line string, byKey map[string]*change) error {
	f := strings.Split(line, " ")
	if len(f) != 5 || f[0] != "VALUE" {
		return refusal(line)
	}
	flags, err1 := strconv.ParseUint(f[2], 10, 32)
	size, err2 := strconv.ParseInt(f[3], 10, 32)
	cas, err3 := strconv.ParseUint(f[4], 10, 64)
	ch := byKey[f[1]]
	if errors.Join(err1, err2, err3) != nil || size < 0 || ch == nil {
		return errProtocol
	}
	ch.found, ch.cas, ch.item = true, cas, item{}
	if flags != mark || size > int64(c.limit) {
		_, err := io.CopyN(io.Discard, c.r, size+2)
		return err
	}
	b := make([]byte, size+2)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return err
	}
	if !bytes.HasSuffix(b, []byte("\r\n")) {
		return errProtocol
	}
	ch.item = parse(b[:size])
	return nil
}

// write decides by what was read, sends what is decided, and returns the
// changes that others were quicker than. After an error it returns those that
// may not have been made.
func (c *conn) write(changes []*change, now int64) (again []*change, err error) {
	var sent []*change
	for _, ch := range changes {
		ch.item.tidy(now)
		if !ch.decide(&ch.item, now) {
			continue
		}
		if ch.found && ch.cas == 0 {
			return changes, ErrNoCAS
		}
		sent = append(sent, ch)
		c.send(ch, now)
	}
	if len(sent) == 0 {
		return nil, nil
	}
	if err := c.w.Flush(); err != nil {
		return sent, err
	}
	for i, ch := range sent {
		line, err := c.line()
		if err != nil {
			return append(again, sent[i:]...), err
		}
		switch {
		case line == "STORED":
		case line == "NOT_STORED" || line == "EXISTS" || line == "NOT_FOUND":
			again = append(again, ch)
		case strings.HasPrefix(line, "SERVER_ERROR object too large"):
			ch.err = ErrTooLarge
		case strings.HasPrefix(line, "SERVER_ERROR"): // out of memory: it has read the item, and goes on
			ch.err = refusal(line)
		default:
			return append(again, sent[i:]...), refusal(line)
		}
	}
	return again, nil
}

// send writes an item if there is still none, or the one that was read. Errors
// show at the flush.
func (c *conn) send(ch *change, now int64) {
	head := ch.item.header()
	verb, end := "add", ""
	if ch.found {
		verb, end = "cas", fmt.Sprint(" ", ch.cas)
	}
	_, _ = fmt.Fprintf(c.w, "%s %s %d %d %d%s\r\n", verb, ch.key, uint32(mark), ch.item.seconds(now), len(head)+len(ch.item.value), end)
	_, _ = c.w.Write(head)
	_, _ = c.w.Write(ch.item.value)
	_, _ = c.w.WriteString("\r\n")
}

// line reads a line without its end.
func (c *conn) line() (string, error) {
	b, err := c.r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			err = errProtocol
		}
		return "", err
	}
	line, ok := strings.CutSuffix(string(b), "\r\n")
	if !ok {
		return "", errProtocol
	}
	return line, nil
}

// refusal is the error in a line that is no answer.
func refusal(line string) error {
	code, _, _ := strings.Cut(line, " ")
	switch code {
	case "SERVER_ERROR", "CLIENT_ERROR", "ERROR":
		return &ServerError{Code: code}
	}
	return errProtocol
}
