package valkeystore

import (
	"testing"
	"time"
)

// TestTimeSamples: a reply that was long on its way does not spoil what is known,
// unless it shows that the server's clock is another.
func TestTimeSamples(t *testing.T) {
	var st serverTime
	began := int64(100 * time.Second)
	sample := func(took time.Duration, offset int64) { // the server's clock is read at the end
		ended := began + int64(took)
		st.set(began, ended, ended/1000+offset)
		began = ended + int64(time.Second)
	}
	within := func(what string, offset, by int64) {
		t.Helper()
		if d := st.offset.Load() - offset; d > by || d < -by {
			t.Errorf("%s: the estimate is %d µs off, want at most %d", what, d, by)
		}
	}
	sample(3*time.Second, 5_000_000)
	within("the first", 5_000_000, 1_500_000)
	sample(200*time.Microsecond, 5_000_000)
	within("a better one", 5_000_000, 101)
	sample(time.Second, 5_000_000)
	within("a worse one", 5_000_000, 101)
	if !st.due() && st.asked.Load() == 0 {
		t.Error("a sample that was not taken is not noted")
	}
	sample(time.Second, 9_000_000)
	within("one of another clock", 9_000_000, 500_001)
	sample(time.Millisecond, 9_000_000)
	within("a better one of that", 9_000_000, 501)
	began += int64(time.Hour)
	sample(10*time.Millisecond, 9_000_000+100_000) // what clocks come apart in an hour
	within("an hour later", 9_100_000, 5_001)
}
