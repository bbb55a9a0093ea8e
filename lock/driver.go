package lock

import (
	"context"
	"time"
)

// Driver is a server that can keep a lease. Each method is one atomic step
// there, honours ctx, may be called concurrently and may be repeated with the
// same token: repeating an Acquire whose reply was lost wins again, with the
// same fence. Durations are relative; no wall clock is compared.
//
// Implementers run lock/locktest.
type Driver interface {
	// Acquire takes the lease of key for req.Token, or says who has it.
	Acquire(ctx context.Context, key string, req Request) (Grant, error)

	// Renew lets the lease end ttl from now, if token holds it. It reports
	// false otherwise and never creates a lease.
	Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error)

	// Release ends the lease if token holds it, and reports whether it did. It
	// takes the request's token as well, of an Acquire whose reply was lost.
	Release(ctx context.Context, key, token string) (bool, error)
}

// Notifier is an optional ability of a [Driver]: to wake those who wait for a
// lease when it ends, rather than let them look again and again.
type Notifier interface {
	// Watch calls wake when the lease that an Acquire with Request.Watch found
	// held has ended, when its holder's process is found to be gone (an
	// Acquire then takes it over), and when such news may have been lost. It
	// does no I/O. wake must not block and may be called a last time while
	// stop runs.
	Watch(key string, wake func()) (stop func())
}

// Request asks a [Driver] for a lease.
type Request struct {
	Token string        // 32 hexadecimal digits, new for each acquisition; a capability: never logged
	Owner string        // names the process, for humans
	Tag   string        // opaque; given to those who lose: a trace context
	TTL   time.Duration // the lease ends after it unless renewed
	Usual time.Duration // how long such work takes, told to those who wait; 0: unknown
	Watch bool          // a Watch of the key is under way: tell it when the lease ends
}

// Grant is a driver's answer to an Acquire.
type Grant struct {
	Status   Status
	Fence    uint64 // if Won: greater than every earlier fence of this key
	Token    string // if Won: names this lease alone, for Renew and Release; empty: the request's does
	TookOver bool   // if Won: from a holder whose process is gone
	Holder   Holder // if Held
	Pushed   bool   // if Held: its end will be told to the Watch
}

// Status is the answer to the question who may work.
type Status uint8

const (
	Held   Status = iota // another token has the lease
	Won                  // the lease is yours
	Filled               // the work is already done: there is nothing to acquire
	Failed               // the work has failed elsewhere and is not to be tried again yet
)

// Holder describes a lease that another token has.
type Holder struct {
	Owner     string        // its Request.Owner
	Tag       string        // its Request.Tag: untrusted bytes from the server
	Since     time.Duration // how long it has been held
	Remaining time.Duration // until it ends unless renewed; negative: it has no end
	Usual     time.Duration // its Request.Usual
}
