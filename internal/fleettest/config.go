package fleettest

import (
	"cmp"
	"errors"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/ristrettostore"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// Config says what each process of a fleet opens. Zero fields mean the
// cache's own defaults. It travels as JSON: to add a knob, add a field and use
// it in open.
type Config struct {
	// Proxied puts a Proxy between each process and the server.
	Proxied bool

	// Cold leaves out the Peek and the Listen by which a process connects
	// before Start returns.
	Cold bool

	// Loader is what keys do that have no Loader of their own.
	Loader Loader

	Namespace string // defaults to "fleet"
	Remote    tier.RemoteOptions

	Name                 string
	Policy               cache.Policy
	MaxLoads, MaxWaiters int
	ShareFailures        bool // tell other processes the text of a load's failure

	LeaseTTL, RenewEvery, MaxWait time.Duration
	Retries                       int

	Local     tier.LocalOptions
	NoPush    bool // waiters poll
	PushValue int  // see valkeystore.Options

	Coherence backend.CoherenceMode // see valkeystore.Options
}

// open opens the cache of one process.
func (c *Config) open(url string, load cache.LoadFunc[string, string], hooks cache.Hooks) (*cache.Cache[string, string], *valkeystore.Store, error) {
	near, err := ristrettostore.New(nil)
	if err != nil {
		return nil, nil, err
	}
	far, err := valkeystore.Open(url, &valkeystore.Options{
		Namespace: cmp.Or(c.Namespace, "fleet"), NoPush: c.NoPush, PushValue: c.PushValue, Coherence: c.Coherence,
	})
	if err != nil {
		return nil, nil, errors.Join(err, near.Close())
	}
	opts := &cache.Options[string, string]{
		Name:       c.Name,
		Policy:     c.Policy,
		MaxLoads:   c.MaxLoads,
		MaxWaiters: c.MaxWaiters,
		Hooks:      hooks,
		Lease: lock.Options{
			TTL:        c.LeaseTTL,
			RenewEvery: c.RenewEvery,
			MaxWait:    c.MaxWait,
			Retries:    c.Retries,
		},
	}
	if c.ShareFailures {
		opts.FailureText = error.Error
	}
	made, err := cache.New(load, opts, tier.Local(near, &c.Local), tier.Remote(far, &c.Remote))
	return made, far, err
}

// Loader says what loads of a key do. The zero Loader returns at once with a
// value that no other load returns.
type Loader struct {
	Takes     time.Duration // before it returns
	Block     bool          // instead: until Release
	IgnoreCtx bool          // it goes on when its context ends
	Size      int           // a value of its own is padded to so many bytes
	Then      Outcome       // what it ends with, unless Release says otherwise
}

// Outcome is how a load ends. The zero Outcome is a value of its own.
type Outcome struct {
	Kind Kind   `json:"kind,omitempty"`
	Text string `json:"text,omitempty"`
}

// Kind is a kind of Outcome.
type Kind string

const (
	KindOwn      Kind = ""         // a value that no other load returns
	KindValue    Kind = "value"    // Text
	KindNotFound Kind = "notfound" // cache.ErrNotFound
	KindError    Kind = "error"    // an error whose text is Text
	KindPanic    Kind = "panic"    // with Text
	KindGoexit   Kind = "goexit"   // runtime.Goexit
	KindCanceled Kind = "canceled" // not to be asked for: its context ended; Text is the cause
	KindGone     Kind = "gone"     // not to be asked for: its process ended
)

// Value is the outcome of a load that returns s.
func Value(s string) Outcome { return Outcome{KindValue, s} }

// Error is the outcome of a load that fails with text.
func Error(text string) Outcome { return Outcome{KindError, text} }

// NotFound is the outcome of a load of what the source does not have.
func NotFound() Outcome { return Outcome{Kind: KindNotFound} }

// Panic is the outcome of a load that panics.
func Panic(text string) Outcome { return Outcome{KindPanic, text} }

// Goexit is the outcome of a load that ends its goroutine.
func Goexit() Outcome { return Outcome{Kind: KindGoexit} }
