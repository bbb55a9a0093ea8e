package lock

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"
)

// Options configure a [Locker]. The zero value, and nil, mean the defaults. The
// Locker keeps a copy.
type Options struct {
	// TTL is how long a lease outlives its holder's last sign of life. At
	// least 10 ms. Defaults to 10 s. See the package comment for how to choose.
	TTL time.Duration

	// RenewEvery is the interval at which a held lease is renewed. Negative
	// turns renewal off. Defaults to a third of TTL, the largest that leaves
	// two more tries after a lost one.
	RenewEvery time.Duration

	// Backoff is the sleep between attempts. Defaults to [DefaultBackoff].
	Backoff Backoff

	// MaxWait bounds a wait, however alive the holder is. Defaults to 30 s.
	MaxWait time.Duration

	// Retries, if positive, ends a wait after that many retries (the
	// textbook's 5). Defaults to 0: as many as fit into MaxWait.
	Retries int

	// Usual is how long the work under a lease usually takes. Those who wait
	// are told, and do not wait for what their deadline does not allow.
	// Defaults to 0: not known.
	Usual time.Duration

	// Owner names this process to humans who look at a lease. Without "|", at
	// most 64 bytes. Defaults to the process id and six random digits.
	Owner string

	// Hooks observe the locker.
	Hooks Hooks
}

func (o *Options) withDefaults() Options {
	var v Options
	if o != nil {
		v = *o
	}
	v.TTL = cmp.Or(v.TTL, 10*time.Second)
	v.RenewEvery = cmp.Or(v.RenewEvery, v.TTL/3)
	if v.Backoff == nil {
		v.Backoff = DefaultBackoff()
	}
	v.MaxWait = cmp.Or(v.MaxWait, 30*time.Second)
	v.Owner = cmp.Or(v.Owner, defaultOwner)
	return v
}

func (o Options) validate() error {
	switch {
	case o.TTL < 10*time.Millisecond:
		return fmt.Errorf("lock: Options.TTL: must be at least 10ms, is %v", o.TTL)
	case o.RenewEvery >= o.TTL:
		return fmt.Errorf("lock: Options.RenewEvery: must be below TTL (%v), is %v", o.TTL, o.RenewEvery)
	case o.MaxWait < 0:
		return fmt.Errorf("lock: Options.MaxWait: must not be negative, is %v", o.MaxWait)
	case o.Usual < 0:
		return fmt.Errorf("lock: Options.Usual: must not be negative, is %v", o.Usual)
	case o.Retries < 0:
		return fmt.Errorf("lock: Options.Retries: must not be negative, is %d", o.Retries)
	case len(o.Owner) > 64 || strings.Contains(o.Owner, "|"):
		return fmt.Errorf("lock: Options.Owner: must be at most 64 bytes without %q", "|")
	}
	return nil
}

var defaultOwner = func() string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return fmt.Sprintf("%d-%s", os.Getpid(), hex.EncodeToString(b[:]))
}()
