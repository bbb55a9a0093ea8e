package valkeylease

import (
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
)

func TestKeysAreReadable(t *testing.T) {
	l, err := NewLayout("users")
	if err != nil {
		t.Fatal(err)
	}
	got := l.Keys("london")
	want := Keys{Value: "users:v:{8059e0005a3358e0}:london", Lease: "users:l:{8059e0005a3358e0}:london", Fence: "users:f:{8059e0005a3358e0}:london"}
	if got != want {
		t.Errorf("Keys = %v, want %v: entries of earlier versions would be lost", got, want)
	}
	if l.Value("london") != l.Keys("london").Value || l.Lease("london") != l.Keys("london").Lease {
		t.Error("Value and Keys disagree")
	}
}

// tag is the part of a key that decides its cluster slot: between the first {
// and the first } after it, if there is something.
var tag = regexp.MustCompile(`^[^{]*\{([^}]+)\}`)

func TestKeysOfOneEntryShareASlotAndNoTwoEntriesAKey(t *testing.T) {
	l, _ := NewLayout("n")
	seen := make(map[string]string)
	for _, key := range []string{"", "}", "}x", "{", "{}", "{a}b", "a:b", "l:{x}:y", strings.Repeat("k", MaxKey), strings.Repeat("k", MaxKey+1), strings.Repeat("k", MaxKey+2)} {
		k := l.Keys(key)
		slots := map[string]bool{}
		for _, full := range []string{k.Value, k.Lease, k.Fence} {
			slots[tag.FindStringSubmatch(full)[1]] = true
			if other, ok := seen[full]; ok {
				t.Errorf("%.20q and %.20q share the key %.60q", key, other, full)
			}
			seen[full] = key
			if len(full) > MaxKey+100 {
				t.Errorf("a key of %d bytes", len(full))
			}
		}
		if len(slots) != 1 {
			t.Errorf("%.20q: tags %v, want one", key, slots)
		}
	}
}

func TestLayoutRefusesNamespaces(t *testing.T) {
	for _, ns := range []string{"", "a:b", "a{", "}", "a b", "a*", strings.Repeat("n", 129)} {
		if _, err := NewLayout(ns); err == nil {
			t.Errorf("NewLayout(%.20q) = nil, want an error", ns)
		}
	}
}

func TestMillisRoundsUp(t *testing.T) {
	for d, want := range map[time.Duration]string{1: "1", time.Millisecond: "1", time.Millisecond + 1: "2", time.Second: "1000", 0: "1", -5: "1"} {
		if got := millis(d); got != want {
			t.Errorf("millis(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestWrapTellsOutageFromRefusalAndQuotesNoKey(t *testing.T) {
	if err := Wrap(errors.New("dial tcp: connection refused")); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Wrap = %v, want ErrUnavailable", err)
	}
	err := error(&ServerError{Code: "OOM", err: errors.New("OOM command not allowed for key secret")})
	if strings.Contains(err.Error(), "secret") || errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("ServerError = %v, want its code alone, and no outage", err)
	}
}

// FuzzParseLease reads what anybody may have written under a lease's key.
func FuzzParseLease(f *testing.F) {
	f.Add("")
	f.Add("1700000000000000|1700000000000000|1500|0123456789ab|0|host|00-aa-bb-01")
	f.Add("a|b|c|d|e|f|g|h")
	f.Add("1|-9223372036854775808|9223372036854775807|||||")
	f.Fuzz(func(t *testing.T, s string) {
		r := Reply{Now: 1700000000000000}
		parseLease(s, &r)
		if r.Since < 0 || r.Usual < 0 || r.Won || r.Value != nil || r.Process != "" && !isProcess(r.Process) {
			t.Errorf("parseLease(%q) = %+v", s, r)
		}
		if c := parseCooling(s, -1); c.Failures < 1 || c.RetryAfter < 0 {
			t.Errorf("parseCooling(%q) = %+v", s, c)
		}
	})
}

func TestParseLease(t *testing.T) {
	r := Reply{Now: 1700000000000500}
	parseLease("1700000000000000|1700000000000000|1500|0123456789ab|3|host|tag|with|bars", &r)
	if r.Since != 500*time.Microsecond || r.Usual != 1500*time.Microsecond || r.Process != "0123456789ab" || r.Owner != "host" || r.Tag != "tag|with|bars" {
		t.Errorf("parseLease = %+v", r)
	}
}

func TestParseMessage(t *testing.T) {
	for s, want := range map[string]Message{
		"v3:a:b7:value":   {Lease: "a:b", Fence: 7, Notice: backend.Notice{Value: []byte("value")}},
		"v1:k7:":          {Lease: "k", Fence: 7, Notice: backend.Notice{Value: []byte{}}},
		"c1:k7:":          {Lease: "k", Fence: 7},
		"f1:k7:3|200|a|b": {Lease: "k", Fence: 7, Notice: backend.Notice{Cooling: &backend.Cooling{Failures: 3, RetryAfter: 200 * time.Millisecond, Text: "a|b"}}},
		"n0:1234":         {Nonce: "1234"},
	} {
		if got, ok := ParseMessage(s); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseMessage(%q) = %+v, %t, want %+v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "v", "v:", "c0:", "c0:7:", "v9:k", "x1:k", "n1:k", "v-1:k", "f1:k", "c1:k", "c1:kx:", "v1:k-1:", "f1:k7:", "f1:k7:1|x|t", "v99999999999999999999:k"} {
		if got, ok := ParseMessage(s); ok {
			t.Errorf("ParseMessage(%q) = %+v, want it refused", s, got)
		}
	}
}

// FuzzParseMessage reads what anybody may publish.
func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{"", "v3:a:b7:value", "c1:k7:", "f1:k7:3|200|text", "n0:1234", "v0:", "f1:k7:-1|-9223372036854775808|"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, ok := ParseMessage(s)
		if ok && (m.Lease == "") != (m.Nonce != "" || strings.HasPrefix(s, "n")) || len(m.Lease) > len(s) {
			t.Errorf("ParseMessage(%q) = %+v, %t", s, m, ok)
		}
		if c := m.Notice.Cooling; c != nil && (c.Failures < 1 || c.RetryAfter < 0 || len(c.Text) > maxText) {
			t.Errorf("ParseMessage(%q) = %+v", s, c)
		}
	})
}

func TestAgain(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for what, tc := range map[string]struct {
		ctx   context.Context
		err   error
		again bool
	}{
		"a dead connection":                     {t.Context(), io.EOF, true},
		"the dial of another, who has given up": {t.Context(), dial(context.Canceled), true},
		"one's own end":                         {over, dial(context.Canceled), false},
		"a dial that was refused":               {t.Context(), dial(syscall.ECONNREFUSED), false},
		"a time that ran out":                   {t.Context(), context.DeadlineExceeded, false},
		"nothing":                               {t.Context(), nil, false},
	} {
		if got := Again(tc.ctx, valkey.NewErrorResult(tc.err)); got != tc.again {
			t.Errorf("%s: Again = %t", what, got)
		}
	}
}
