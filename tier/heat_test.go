package tier

import "testing"

const span = int64(1) << spanBits

// begin is a moment as clock.Now has them, a while after the process began.
const begin = int64(1)<<62 + 10*span

// reads has h read in each of n spans from a moment on, and returns the one after.
func (h *heat) reads(from int64, n int) (after int64) {
	for range n {
		if h.cold(from) {
			h.warm(from)
		}
		from += span
	}
	return from
}

func TestHeatCountsSpans(t *testing.T) {
	var often, seldom, never heat
	now := begin
	for i := range 100 {
		for range 1000 { // within a span they count once
			often.reads(now, 1)
		}
		if i%10 == 0 {
			seldom.reads(now, 1)
		}
		now += span
	}
	if a, b, c := often.score(now), seldom.score(now), never.score(now); a <= 5*b || b == 0 || c != 0 {
		t.Errorf("scores %d, %d and %d of entries read in each span, in each tenth and never", a, b, c)
	}
	if often.cold(now-span) || !often.cold(now) {
		t.Errorf("cold = %t in the span of the last read, %t in the next, want false, true", often.cold(now-span), often.cold(now))
	}
}

func TestHeatHalves(t *testing.T) {
	var h heat
	now := h.reads(begin, 1)
	at := now - span
	for i := range 10 {
		if got, want := h.score(at+int64(i)*halfLife*span), uint32(degree)>>i; got != want {
			t.Errorf("score = %d after %d half-lives, want %d", got, i, want)
		}
	}
	// Between two of them it falls steadily.
	for i, last := 1, h.score(at); i <= 2*halfLife; i++ {
		got := h.score(at + int64(i)*span)
		if got >= last || last-got > last/32 {
			t.Fatalf("score = %d after %d spans, want a little less than %d", got, i, last)
		}
		last = got
	}
	for _, spans := range []int64{32 * halfLife, 1 << 20, 1<<32 - 1} {
		if got := h.score(at + spans*span); got != 0 {
			t.Errorf("score = %d after %d spans, want 0", got, spans)
		}
	}
}

// TestHeatIsBounded: a read in every span, for years, and what a file claims.
func TestHeatIsBounded(t *testing.T) {
	var h heat
	now := h.reads(begin, 10_000)
	steady := h.score(now)
	if steady == 0 || steady >= hottest {
		t.Errorf("score = %d after reads in 10000 spans, want it between 0 and %d", steady, hottest)
	}
	if after := h.score(h.reads(now, 10_000)); after < steady-steady/100 || after > steady+steady/100 {
		t.Errorf("score = %d after as many again, want it as before, %d", after, steady)
	}
	h.set(now, 1<<32-1)
	if got := h.score(now); got != hottest {
		t.Errorf("score = %d, want it capped at %d", got, hottest)
	}
	h.warm(now)
	if got := h.score(now); got != hottest {
		t.Errorf("score = %d after a read, want it capped at %d", got, hottest)
	}
}
