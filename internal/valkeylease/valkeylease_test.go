package valkeylease

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

func TestKeysAreReadable(t *testing.T) {
	l, err := NewLayout("users")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(l.Keys("london"))
	want := "{users:v:{8059e0005a3358e0}:london users:l:{8059e0005a3358e0}:london users:f:{8059e0005a3358e0}:london}"
	if got != want {
		t.Errorf("Keys = %s, want %s: entries of earlier versions would be lost", got, want)
	}
	if l.Value("london") != l.Keys("london").Value {
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
	f.Add("0123456789abcdef0123456789abcdef|1700000000000000|1700000000000000|host|00-aa-bb-01")
	f.Add("a|b|c|d|e|f")
	f.Add("|||||")
	f.Fuzz(func(t *testing.T, s string) {
		r := Reply{Now: 1700000000000000}
		parseLease(s, &r)
		if r.Since < 0 || r.Won || r.Value != nil {
			t.Errorf("parseLease(%q) = %+v", s, r)
		}
	})
}
