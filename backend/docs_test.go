package backend_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEachStoreHasItsPage: who chooses a store finds the same of each.
func TestEachStoreHasItsPage(t *testing.T) {
	stores, err := filepath.Glob("*store")
	stores = append(stores, "valkeybus")
	if err != nil || len(stores) < 7 {
		t.Fatalf("stores %v, %v", stores, err)
	}
	for _, store := range stores {
		page, err := os.ReadFile(filepath.Join(store, "doc.go"))
		if err != nil {
			t.Errorf("%s: no page: %v", store, err)
		}
		for _, heading := range []string{"What it is for", "Limits", "Settings", "Stampede protection there"} {
			if !strings.Contains(string(page), "\n// # "+heading+"\n") {
				t.Errorf("%s: the page says nothing under %q", store, heading)
			}
		}
		examples, err := os.ReadFile(filepath.Join(store, "example_test.go"))
		if err != nil || !strings.Contains(string(examples), "\nfunc Example") {
			t.Errorf("%s: no Example: %v", store, err)
		}
	}
}
