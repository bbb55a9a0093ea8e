// Package valkeypush wakes those who wait for a lease on a Valkey server, and
// finds out whose holder has died. backend/valkeystore and lock/valkeylock share
// it; its counterpart are the scripts of internal/valkeylease.
//
// A process subscribes to a channel of its own, <namespace>:p:<id>. A script
// that ends a lease publishes to the channels of those who wait on it. Being
// subscribed is also how a process is seen to live: the kernel closes a killed
// process's connections, and the server then counts no subscriber.
package valkeypush

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

// Hub is one process's subscription and its table of watches. It does nothing
// until Start. It is safe for concurrent use.
type Hub struct {
	layout  valkeylease.Layout
	process string // its id
	cfg     Config

	ctx     context.Context // of its goroutines
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	started atomic.Bool
	mode    atomic.Int32  // a mode
	settled chan struct{} // closed once the first attempt at each node has ended

	mu      sync.Mutex
	closed  bool
	links   map[string]*link // by node
	watches map[string]map[*watch]struct{}
	ticket  uint64               // of the last watch
	dead    map[string]time.Time // processes found dead, and when
	polling bool
	look    chan struct{}     // of 1: there is a new process to look at
	unnamed map[string]string // tokens of leases that do not name this process, by lease
	client  valkey.Client

	hearing hearing
}

// watch is one waiter. Its fields are the hub's, under its mutex.
type watch struct {
	wake   func(backend.Notice)
	ticket uint64
	fence  uint64 // the oldest lease whose end it wants to hear of; 0: not known yet
	holder string // process that holds the lease; empty: nobody to look at
}

// mode orders the wake modes: a hub is as good as the worst of its links.
type mode = int32

const (
	poll mode = iota
	push
	live
)

// Config says what a hub does. The zero value is a hub that tells changes as they
// are published.
type Config struct {
	// Off: it never subscribes and wakes nobody.
	Off bool

	// Coherence is how it learns of changes of keys; "": as they are published.
	// With CoherenceOff it tells nothing. With CoherenceKeys what the client is told
	// is to be handed to Invalidated, if Tracked says that it is, and Untracked is to
	// be called when it is not any more. Untrack is called when a server refuses to
	// track, and does not wait.
	Coherence backend.CoherenceMode
	Tracked   func() bool
	Untrack   func()

	// NoStamps: the server keeps no stamps of tags, messages are all there is.
	NoStamps bool
}

// New returns a hub for one namespace.
func New(layout valkeylease.Layout, cfg Config) *Hub {
	id := make([]byte, valkeylease.ProcessLen/2)
	_, _ = rand.Read(id) // never fails
	h := &Hub{
		layout: layout, process: hex.EncodeToString(id), cfg: cfg,
		settled: make(chan struct{}), look: make(chan struct{}, 1),
		links: make(map[string]*link), watches: make(map[string]map[*watch]struct{}), dead: make(map[string]time.Time),
		unnamed: make(map[string]string),
	}
	h.hearing.init()
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Start subscribes in the background, the first time it is called.
func (h *Hub) Start(c valkey.Client) {
	if h.cfg.Off || h.started.Load() || h.started.Swap(true) {
		return
	}
	h.mu.Lock()
	h.client = c
	h.mu.Unlock()
	h.spawn(func() { h.follow(c) })
}

// StartWith is Start with a client that is yet to connect.
func (h *Hub) StartWith(client func(context.Context) (valkey.Client, error)) {
	if h.cfg.Off {
		return
	}
	h.spawn(func() { // ends once there is a client, or the hub closes
		if c, err := client(h.ctx); err == nil {
			h.Start(c)
		}
	})
}

// spawn runs fn on a goroutine that Close waits for.
func (h *Hub) spawn(fn func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.wg.Go(fn)
	}
}

// Settled waits until the first attempt to subscribe has ended, well or not.
func (h *Hub) Settled(ctx context.Context) {
	if h.cfg.Off {
		return
	}
	select {
	case <-h.settled:
	case <-h.ctx.Done():
	case <-ctx.Done():
	}
}

// Off reports whether it never subscribes.
func (h *Hub) Off() bool { return h.cfg.Off }

// Process is the id of this process.
func (h *Hub) Process() string { return h.process }

// Mode says how waiters are woken at the moment.
func (h *Hub) Mode() backend.WakeMode {
	switch h.mode.Load() {
	case live:
		return backend.WakeLive
	case push:
		return backend.WakePush
	}
	return backend.WakePoll
}

// Self is what this process tells of itself in a request.
func (h *Hub) Self(watch bool) (s valkeylease.Self) {
	m := h.mode.Load()
	if m >= push && watch {
		s.Waiter = h.process
		h.mu.Lock()
		s.Ticket = h.ticket
		h.mu.Unlock()
	}
	if m == live { // else others might take us for dead
		s.Holder = h.process
		s.Dead = h.deadNow()
	}
	return s
}

// Saw draws the conclusions from a reply: a process that takes part in leases
// subscribes, and looks after the holder that it waits for.
func (h *Hub) Saw(c valkey.Client, a valkeylease.Ask, r valkeylease.Reply) {
	if r.Value != nil || h.cfg.Off {
		return
	}
	h.Start(c)
	if r.Won && a.Holder == "" {
		h.nameLater(a.Keys.Lease, a.Token)
	}
	if r.Won || r.Cooling != nil {
		return
	}
	if r.Pushed {
		h.expect(a.Keys.Lease, a.Ticket, r.Holding)
	}
	if r.Process != "" && r.Process != h.process && h.mode.Load() == live {
		h.lookAfter(a.Keys.Lease, r.Process)
	}
}

// maxUnnamed bounds the leases that are to be named.
const maxUnnamed = 4096

// nameLater notes a lease that was taken before others could see this process
// live. It is named as soon as they can: its renewal may be far.
func (h *Hub) nameLater(lease, token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.unnamed) < maxUnnamed {
		h.unnamed[lease] = token
	}
	h.nameNow() // it may have come up meanwhile
}

// nameNow names the leases that wait for it, if others can see this process
// live. The mutex is held.
func (h *Hub) nameNow() {
	if h.mode.Load() != live || len(h.unnamed) == 0 || h.closed {
		return
	}
	leases, c := h.unnamed, h.client
	h.unnamed = make(map[string]string)
	h.wg.Go(func() {
		ctx, cancel := context.WithTimeout(h.ctx, nameLimit)
		defer cancel()
		valkeylease.Name(ctx, c, leases, h.process)
	})
}

// expect notes the lease that watches wait for. Only watches that began before
// the request: a later one may have begun after that lease's end, and after a
// Delete of what it brought.
func (h *Hub) expect(lease string, ticket, fence uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watches[lease] {
		if w.fence == 0 && w.ticket <= ticket {
			w.fence = fence
		}
	}
}

// Watch registers wake for a lease. It does no I/O.
func (h *Hub) Watch(lease string, wake func(backend.Notice)) (stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ticket++
	w := &watch{wake: wake, ticket: h.ticket}
	if h.watches[lease] == nil {
		h.watches[lease] = make(map[*watch]struct{}, 1)
	}
	h.watches[lease][w] = struct{}{}
	return func() { h.unwatch(lease, w) }
}

func (h *Hub) unwatch(lease string, w *watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watches[lease], w)
	if len(h.watches[lease]) == 0 {
		delete(h.watches, lease)
	}
}

// Close ends the subscription, waits for the hub's goroutines and wakes
// whoever still waits. It is idempotent.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
	h.wakeAll()
}

// deliver hands a message out. It runs in the client's reader: it neither
// blocks nor calls the client. A message may be late, and in a cluster comes
// once from each node.
func (h *Hub) deliver(m valkeylease.Message) {
	type call struct {
		wake   func(backend.Notice)
		notice backend.Notice
	}
	var calls []call
	h.mu.Lock()
	for w := range h.watches[m.Lease] {
		x := call{wake: w.wake}
		switch {
		case w.fence == 0 || m.Fence == 0: // of which lease it is we cannot tell: look again
		case m.Fence < w.fence:
			continue
		default:
			x.notice = m.Notice
			w.fence = m.Fence + 1
		}
		w.holder = ""
		if len(calls) > 0 && x.notice.Value != nil { // each its own
			x.notice.Value = append([]byte{}, x.notice.Value...)
		}
		calls = append(calls, x)
	}
	h.mu.Unlock() // a wake may call its stop
	for _, x := range calls {
		x.wake(x.notice)
	}
}

// wakeAll tells everybody to look again: a message may have been lost.
func (h *Hub) wakeAll() { h.wakeIf(func(*watch) bool { return true }) }

func (h *Hub) wakeIf(which func(*watch) bool) {
	var wakes []func(backend.Notice)
	h.mu.Lock()
	for _, set := range h.watches {
		for w := range set {
			if which(w) {
				w.holder = ""
				wakes = append(wakes, w.wake)
			}
		}
	}
	h.mu.Unlock() // a wake may call its stop
	for _, wake := range wakes {
		wake(backend.Notice{})
	}
}
