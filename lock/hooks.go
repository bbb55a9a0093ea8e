package lock

import (
	"context"
	"time"
)

// Hooks observe a [Locker]. A nil func is off. They are called on the path
// that they observe, concurrently, and must not block. AcquireStart may return
// a derived context, which the later hooks of that acquisition receive.
//
// Infos carry no keys: what identifies work for a person travels in the
// context or in [AcquireStart].Key, which is for redaction by its receiver.
type Hooks struct {
	// AcquireStart is called before the first attempt. The tag it returns is
	// stored with the lease and handed to those who lose. Where the first
	// attempt was made outside of the Locker (Acquisition.First) it is called
	// after that, and the tag is not used.
	AcquireStart func(ctx context.Context, info AcquireStart) (_ context.Context, tag string)
	// Contended is called once, when the first attempt finds another holder.
	Contended func(ctx context.Context, info Contended)
	// Retry is called before each sleep.
	Retry func(ctx context.Context, info Retry)
	// AcquireDone is called once, whatever came of it.
	AcquireDone func(ctx context.Context, info AcquireDone)
	// Released is called when a won lease ends.
	Released func(ctx context.Context, info Released)
	// Warn gives advice: something works but will hurt.
	Warn func(ctx context.Context, w Warning)
}

// AcquireStart is the info of [Hooks].AcquireStart.
type AcquireStart struct {
	Key string
	TTL time.Duration

	// Of an acquisition whose first attempt was made before this call.
	Began time.Time // when; zero: it has yet to be made
	Held  bool      // it found another holder
}

// Contended is the info of [Hooks].Contended.
type Contended struct{ Holder Holder }

// Retry is the info of [Hooks].Retry.
type Retry struct {
	Attempt int           // attempts made so far
	Delay   time.Duration // until the next one, at most
	Pushed  bool          // the lease's end will be told: Delay is only the net
	Holder  Holder        // as of the last attempt: another may have taken over
}

// AcquireDone is the info of [Hooks].AcquireDone.
type AcquireDone struct {
	Outcome  Outcome
	Attempts int
	Waited   time.Duration // since the first attempt found a holder; 0 if uncontended
	Fence    uint64        // if acquired
	TookOver bool          // if acquired: from a holder whose process is gone
	Err      error         // of OutcomeTimeout, OutcomeCanceled and OutcomeError
}

// Released is the info of [Hooks].Released.
type Released struct {
	Held time.Duration
	Lost bool  // it was no longer ours
	Err  error // the server could not be asked
}

// Outcome says how an acquisition ended.
type Outcome uint8

// The outcomes, as spans and metrics name them.
const (
	OutcomeAcquired Outcome = iota // the lease is ours
	OutcomeFilled                  // the work was done by another
	OutcomeTimeout                 // waited for as long as allowed, or as made sense
	OutcomeCanceled                // the caller's context ended
	OutcomeError                   // the server could not be asked
	OutcomeHeld                    // another has it, and the caller does not wait
	OutcomeFailed                  // the work has failed elsewhere; it is not to be tried again yet

	numOutcomes = iota
)

// Outcomes are how often each [Outcome] has come of an acquisition.
type Outcomes [numOutcomes]uint64

var outcomeNames = [numOutcomes]string{"acquired", "filled", "timeout", "canceled", "error", "held", "failed"}

// String returns the outcome's name in spans and metrics.
func (o Outcome) String() string { return outcomeNames[o] }

// Warning is advice from a running program. Message is a full sentence that
// says what to change.
type Warning struct {
	Code    WarningCode
	Message string
}

// WarningCode tells warnings apart.
type WarningCode string

const (
	// WarnRenewLate: a renewal has not succeeded in time; the lease may end,
	// or has ended, while its holder still works.
	WarnRenewLate WarningCode = "renew-late"
	// WarnWorkTooLong: renewal is off and the work took more than half the TTL.
	WarnWorkTooLong WarningCode = "work-too-long"
	// WarnEntryTTL: a cache's entries live no longer than the lease that
	// guards their load.
	WarnEntryTTL WarningCode = "entry-ttl"
)
