// Package kit runs the cases of a conformance kit: against an implementation,
// as subtests, or against a broken one, to see which of them it fails.
package kit

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

// Case is one rule of a kit.
type Case[H any] struct {
	Name string
	Rule string // what an implementation must do, in a sentence
	Run  func(t *T, h H)
	At   string // where the rule stands; filled in by Rules
}

// T is what a case reports to.
type T struct {
	testing.TB // of the subtest; for Context, Cleanup, TempDir
	rule       string
	fail       func(message string)
	end        func() // the case
}

// Errorf reports that the rule is broken, and goes on.
func (t *T) Errorf(format string, args ...any) {
	t.TB.Helper()
	t.fail(fmt.Sprintf(format, args...) + "\nthe rule: " + t.rule)
}

// Fatalf reports that the rule is broken, and ends the case.
func (t *T) Fatalf(format string, args ...any) {
	t.TB.Helper()
	t.Errorf(format, args...)
	t.end()
}

// Must ends the case if err is not nil.
func (t *T) Must(err error) {
	t.TB.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// Rules notes where the table of cases stands.
func Rules[H any](cases ...Case[H]) []Case[H] {
	_, file, line, _ := runtime.Caller(1)
	at := fmt.Sprintf("%s, at or after line %d", filepath.Base(file), line)
	for i := range cases {
		cases[i].At = at
	}
	return cases
}

// Run makes a subtest of each case; in a synctest bubble if bubble is true.
func Run[H any](t *testing.T, h H, bubble bool, cases []Case[H]) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			body := func(t *testing.T) {
				c.Run(&T{TB: t, rule: c.Rule + " (" + c.At + ")", fail: func(m string) { t.Helper(); t.Error(m) }, end: t.FailNow}, h)
			}
			if bubble {
				synctest.Test(t, body)
			} else {
				body(t)
			}
		})
	}
}

// Failed runs the cases, each in a bubble, and returns the names of those that
// report a broken rule, without failing t.
func Failed[H any](t *testing.T, h H, cases []Case[H]) (names []string) {
	t.Helper()
	for _, c := range cases {
		failed := false
		synctest.Test(t, func(t *testing.T) {
			done := make(chan struct{})
			go func() { // a case that ends by Goexit ends this goroutine only
				defer close(done)
				defer func() {
					if p := recover(); p != nil {
						failed = true
					}
				}()
				c.Run(&T{TB: t, rule: c.Rule, fail: func(string) { failed = true }, end: runtime.Goexit}, h)
			}()
			<-done
		})
		if failed {
			names = append(names, c.Name)
		}
	}
	return names
}

// Names joins case names for comparison.
func Names(names ...string) string { return strings.Join(names, " ") }
