package stampedetest

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
)

// TestRestoreIsCoherent: a process saves and is killed; while it is away, and while
// it restores, another changes what was saved. Nothing that it then serves is older
// than what the shared tier holds, and it is told of later changes as if it had
// never been away.
func TestRestoreIsCoherent(t *testing.T) {
	s := newServer(t)
	f := start(t, s.URL(), 3, config{Loader: loader{}})
	s.hearing(f, backend.CoherencePublish)
	saves, writer, other := f.Procs[0], f.Procs[1], f.Procs[2]
	const many = 300
	keys := make([]string, many)
	for i := range keys {
		keys[i] = fmt.Sprint("saved-", i)
		if err := saves.Set(keys[i], "old"); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "saved")
	if n, err := saves.Save(file); n != many || err != nil {
		t.Fatalf("Save = %d, %v, want %d entries", n, err, many)
	}
	saves.Kill()

	set := func(from, to int, value string) {
		t.Helper()
		for _, key := range keys[from:to] {
			if err := writer.Set(key, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	const set1, deleted, set2, set3 = 60, 90, 150, 200
	set(0, set1, "away")
	for _, key := range keys[set1:deleted] {
		if err := writer.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	saves.Restart()
	restoring := saves.GoRestore(file)
	set(deleted, set2, "during")
	stats, err := restoring.Wait()
	if err != nil || stats.Read != many || stats.Missing != deleted-set1 {
		t.Errorf("Restore = %+v, %v, want %d read, and the %d missing that were deleted", stats, err, many, deleted-set1)
	}
	set(set2, set3, "after")
	changed := time.Now()

	for i, key := range keys {
		want := "old"
		switch {
		case i < set1:
			want = "away"
		case i < deleted:
			want = "" // none
		case i < set2:
			want = "during"
		case i < set3:
			want = "after"
		}
		truth, _ := other.Peek(key)
		if truth != want {
			t.Fatalf("%s is %q in the shared tier, want %q", key, truth, want)
		}
		got, _ := saves.Peek(key)
		for got != want && time.Since(changed) < tellBound { // what was changed last may be on its way
			<-time.After(time.Millisecond)
			got, _ = saves.Peek(key)
		}
		if got != want {
			t.Fatalf("%s is %q in the restored process and %q in the shared tier, %v after the last change", key, got, want, time.Since(changed))
		}
	}
	if loads := f.Loads(keys[0]); len(loads) > 0 {
		t.Errorf("%d loads, want none", len(loads))
	}
}

// tellBound is how late a change may be heard of, and a busy machine's share.
const tellBound = time.Second + noise
