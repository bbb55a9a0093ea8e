package cache_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeFragmentsAreExamples fails for a Go fragment of the README that is
// not, line for line, in an example file, which is compiled and run.
func TestReadmeFragmentsAreExamples(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var code string
	for _, file := range []string{"example_test.go", "../lock/example_test.go", "../otelx/example_test.go"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code += flatten(string(b))
	}
	fragments := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(fragments) < 3 {
		t.Errorf("%d Go fragments found in the README; has its form changed?", len(fragments))
	}
	for _, f := range fragments {
		if !strings.Contains(code, flatten(string(f[1]))) {
			t.Errorf("this fragment of the README is in no example file:\n%s", f[1])
		}
	}
}

// flatten drops indentation.
func flatten(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
