package tier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
)

// ErrQueued comes with the error of a change that a store could not be told of,
// and that is made up for as soon as the store answers: there is no need to
// repeat it. See [RemoteOptions].Backlog.
var ErrQueued = errors.New("tier: the change is queued until the store answers")

// backlog holds the changes that a store could not be told of: the newest of each
// key, and of each tag. Until they are made up for, nothing is believed that the
// store holds of what they concern: a process must not see what it has deleted.
type backlog[V any] struct {
	limit int
	pay   func(ctx context.Context) (paid bool) // makes up for what it can
	size  atomic.Int64                          // of keys and tags; looked at by each lookup

	replayed, dropped atomic.Uint64

	mu      sync.Mutex
	keys    map[string]*owed[V]
	bytes   int // of the values that wait
	tags    map[owedTag]owedStamp
	running bool
	kick    chan struct{} // of 1: the store may have come back
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// owed is a change of a key. It is not changed once it is in the backlog.
type owed[V any] struct {
	op       Op                   // OpSet, OpDelete or OpExpire
	entry    *Entry[V]            // of OpSet
	bytes    int                  // that its value takes
	over     []uint64             // the IDs of entries that it is known to have come after
	request  backend.LeaseRequest // of OpSet, always the same: a lease whose reply was lost is not another's
	asOf     uint64               // of OpDelete: when it was asked for, by the store's time; 0: not known
	at       int64                // the moment by which it had failed: what begins later is newer
	told     bool                 // the store knows; the processes that listen to its Bus do not
	refusals int                  // by the store, when it was tried again
	next     int64                // clock.Now before which it is not tried, for those
}

// maxBytes bounds what the values take, encoded, that wait for one store. Beyond
// it a Set waits as a Delete: there is nothing older to be found then, either.
const maxBytes = 64 << 20

// maxOver bounds how many entries a Set remembers to have come after.
const maxOver = 8

// lastTry is for how long Close tries to pay what is owed.
const lastTry = 100 * time.Millisecond

// maxRefusals is how often a store may refuse a change that is replayed before it
// is dropped: with the pauses between, for some minutes.
const maxRefusals = 16

// The pauses between two attempts, of which each is twice the last. A store that
// is known to have come back is tried at once.
const (
	minPause = 50 * time.Millisecond
	maxPause = time.Second
	// After a refusal: it is of no use to be quick.
	maxRefused = 30 * time.Second
)

func newBacklog[V any](limit int) *backlog[V] {
	b := &backlog[V]{limit: limit, keys: make(map[string]*owed[V]), tags: make(map[owedTag]owedStamp), kick: make(chan struct{}, 1)}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// find returns the change of key that the store was not told of; nil: none.
func (b *backlog[V]) find(key string) *owed[V] {
	if b.size.Load() == 0 {
		return nil
	}
	if d := b.next(key); d != nil && !d.told {
		return d
	}
	return nil
}

// next returns what key waits for; nil: nothing.
func (b *backlog[V]) next(key string) *owed[V] {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keys[key]
}

// newer reports whether a change of key waits that came after the moment begun.
func (b *backlog[V]) newer(key string, begun int64) bool {
	d := b.find(key)
	return d != nil && begun != 0 && d.at >= begun
}

// owe queues a change that has failed with err, and returns err with what became
// of that. One writer of a key is at work at a time.
func (b *backlog[V]) owe(key string, d owed[V], err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.keys[key]
	if before == nil && !b.room(1) || b.ctx.Err() != nil {
		b.dropped.Add(1)
		return err
	}
	if before != nil && !before.told && !d.told && d.op == OpExpire {
		d.op, d.asOf, d.entry, d.bytes, d.request = before.op, before.asOf, stale(before.entry), before.bytes, before.request // a Delete says more, and a Set has to be made first
	}
	if before != nil {
		b.bytes -= before.bytes
		d.over = append(slices.Clip(before.over), d.over...)
		if e := before.entry; e != nil && e.ID != 0 { // it may have arrived
			d.over = append(d.over, e.ID)
		}
		d.over = d.over[max(len(d.over)-maxOver, 0):]
	}
	if b.bytes+d.bytes > maxBytes {
		d.op, d.asOf, d.entry, d.bytes = OpDelete, d.entry.AsOf, nil, 0
	}
	b.bytes += d.bytes
	b.keys[key] = &d
	b.grown()
	return fmt.Errorf("%w; %w", err, ErrQueued)
}

func stale[V any](e *Entry[V]) *Entry[V] {
	if e == nil {
		return nil
	}
	s := *e
	s.FreshFor, s.DueIn, s.ID = min(s.FreshFor, 0), 0, 0
	return &s
}

func (b *backlog[V]) room(more int) bool {
	return b.ctx.Err() == nil && len(b.keys)+len(b.tags)+more <= b.limit
}

// grown sees to it that what is owed is paid. The caller holds b.mu.
func (b *backlog[V]) grown() {
	b.size.Store(int64(len(b.keys) + len(b.tags)))
	if !b.running {
		b.running = true
		b.wg.Go(b.work)
	}
}

// settle forgets what key waits for, if that failed before the moment begun: what
// began then has been written, or key deleted.
func (b *backlog[V]) settle(key string, begun int64) {
	if b.size.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := b.keys[key]; d != nil && d.at < begun {
		b.remove(key)
	}
}

// remove takes what key waits for out. The caller holds b.mu.
func (b *backlog[V]) remove(key string) {
	b.bytes -= b.keys[key].bytes
	delete(b.keys, key)
	b.size.Store(int64(len(b.keys) + len(b.tags)))
}

// done forgets d, unless another has taken its place.
func (b *backlog[V]) done(key string, d *owed[V]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keys[key] == d {
		b.replayed.Add(1)
		b.remove(key)
	}
}

// refused notes that the store does not want d. It is tried some times more: a
// server that was demoted, or has its cluster in disorder, refuses for a while.
func (b *backlog[V]) refused(key string, d *owed[V]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keys[key] != d {
		return
	}
	if d.refusals+1 >= maxRefusals {
		b.dropped.Add(1)
		b.remove(key)
		return
	}
	again := *d
	again.refusals++
	again.next = later(again.refusals)
	b.keys[key] = &again
}

// later is when what was refused so often is tried again.
func later(refusals int) int64 {
	return clock.After(clock.Now(), min(minPause<<refusals, maxRefused))
}

// waiting returns the keys and the tags that wait and are to be tried now; of the
// tags apart those that the store knows.
func (b *backlog[V]) waiting() (keys []string, tags map[bool][]*tag, news map[owedTag]owedStamp) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := clock.Now()
	for key, d := range b.keys {
		if d.next <= now {
			keys = append(keys, key)
		}
	}
	tags, news = make(map[bool][]*tag), make(map[owedTag]owedStamp)
	for t, s := range b.tags {
		switch {
		case s.told && s.stamp != 0:
			news[t] = s
		case s.next <= now:
			tags[t.expire] = append(tags[t.expire], t.tag)
		}
	}
	return keys, tags, news
}

// back tells that the store may have come back.
func (b *backlog[V]) back() {
	if b.size.Load() == 0 {
		return
	}
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// work pays until nothing is owed.
func (b *backlog[V]) work() {
	pause := minPause
	t := time.NewTimer(pause)
	defer t.Stop()
	for {
		select {
		case <-b.kick:
		case <-t.C:
		case <-b.ctx.Done():
		}
		paid := b.ctx.Err() == nil && b.pay(b.ctx)
		b.mu.Lock()
		if b.size.Load() == 0 || b.ctx.Err() != nil {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		if pause = min(2*pause, maxPause); paid {
			pause = minPause
		}
		t.Reset(pause)
	}
}

// close ends the work, waits for that, and tries once more to pay. What is owed then
// is lost.
func (b *backlog[V]) close() error {
	b.mu.Lock()
	b.cancel()
	b.mu.Unlock()
	b.wg.Wait()
	if b.size.Load() > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), lastTry)
		defer cancel()
		b.pay(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	lost := len(b.keys) + len(b.tags)
	if lost == 0 {
		return nil
	}
	clear(b.keys)
	clear(b.tags)
	b.bytes = 0
	b.size.Store(0)
	b.dropped.Add(uint64(lost))
	return fmt.Errorf("tier: %d queued changes are lost: the store did not come back before Close", lost)
}

// told has the newest change of key be one that the store knows of.
func (b *backlog[V]) told(key string, d *owed[V]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keys[key] == d {
		b.bytes -= d.bytes
		b.keys[key] = &owed[V]{op: d.op, at: d.at, told: true}
	}
}

// unreached reports whether a store may not have heard of a change.
func unreached(err error) bool {
	return errors.Is(err, backend.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// untoldError says that a change was made, and that its Bus did not take the news.
type untoldError struct{ error }

// Unwrap gives the Bus's error.
func (e *untoldError) Unwrap() error { return e.error }

// told joins the errors of a store and of its Bus.
func told(err, news error) error {
	if err == nil && news != nil {
		return &untoldError{news}
	}
	return errors.Join(err, news)
}

// untold reports whether nothing but the news of a change has failed.
func untold(err error) bool {
	_, ok := err.(*untoldError) //nolint:errorlint // joined with another it is not the only one
	return ok
}
