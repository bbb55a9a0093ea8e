package leasemodel

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/valkeystore"
	"github.com/bellwethercache/bellwether/internal/servertest"
	"github.com/bellwethercache/bellwether/internal/valkeyconn"
	"github.com/bellwethercache/bellwether/internal/valkeylease"
)

const namespace = "model"

// server is a place at a server, a real one or a stand-in. A lease's end by time
// is a DEL of its key there, which nobody can tell from it, but for the stand-in
// whose time can be moved.
type server struct {
	t      *testing.T
	c      valkey.Client
	mini   *servertest.MiniServer // nil: a real server
	keys   valkeylease.Keys
	layout valkeylease.Layout

	store *valkeystore.Store // nil: the scripts themselves, with wake-ups and dead processes
	peers map[int]*peer
}

// newServer connects to a server. Through a store it explores all of it but
// pushes, which come on a connection and in a time of their own.
func newServer(t *testing.T, url string, mini *servertest.MiniServer, procs int, store bool) *server {
	t.Helper()
	layout, err := valkeylease.NewLayout(namespace)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, c: dial(t, url), mini: mini, layout: layout, keys: layout.Keys(key), peers: map[int]*peer{}}
	if store {
		if s.store, err = valkeystore.Open(url, &valkeystore.Options{Namespace: namespace, NoPush: true}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.store.Close() })
		return s
	}
	for i := nobody; i < procs; i++ {
		s.peers[i] = &peer{s: s, id: fmt.Sprintf("%012x", i+1)}
	}
	for i := range procs {
		s.peers[i].subscribe(dial(t, url))
	}
	return s
}

func dial(t *testing.T, url string) valkey.Client {
	t.Helper()
	opt, err := valkeyconn.Options(url)
	if err != nil {
		t.Fatal(err)
	}
	c, err := valkey.NewClient(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (s *server) do(args ...string) valkey.ValkeyResult {
	r := s.c.Do(context.Background(), s.c.B().Arbitrary(args...).Build())
	if err := r.Error(); err != nil && !valkey.IsValkeyNil(err) {
		s.t.Fatalf("%v: %v", args, err)
	}
	return r
}

func (s *server) reset(int) {
	s.flush()
	for _, p := range s.peers {
		if p.crashed {
			p.crashed = false
			p.subscribe(p.c)
		}
	}
}

func (s *server) peer(p int) target {
	if s.store != nil {
		return s.store
	}
	return s.peers[p]
}

func (s *server) abilities() ability {
	return ability{wakes: s.store == nil, takesOver: s.store == nil, fenceLost: true, stepsBack: s.mini != nil}
}

func (s *server) tick() {
	if s.mini != nil {
		s.mini.Advance(time.Millisecond)
	}
}

func (s *server) expire() {
	if s.mini != nil {
		s.mini.Advance(leaseTTL)
		return
	}
	s.evict(keptLease)
}

func (s *server) stepBack() { s.mini.Advance(-time.Minute) }

func (s *server) flush() {
	if s.mini != nil {
		s.mini.FlushAll()
		return
	}
	s.do("DEL", s.keys.Lease, s.keys.Value, s.keys.Fence) // there is nothing else, and it leaves the scripts
}

func (s *server) evict(what kept) {
	k := map[kept]string{keptLease: s.keys.Lease, keptValue: s.keys.Value, keptFence: s.keys.Fence}[what]
	if s.mini != nil {
		s.mini.Del(k)
		return
	}
	s.do("DEL", k)
}

func (s *server) crash(p int) {
	if s.store == nil {
		s.peers[p].crash()
	}
}

// settle publishes to each process after all that was published before, and
// waits until it is there.
func (s *server) settle() {
	for _, p := range s.peers {
		p.settle()
	}
}

func (s *server) peek() sight {
	if s.mini != nil {
		v, _ := s.mini.Get(s.keys.Value)
		return sight{value: v, forever: s.mini.Exists(s.keys.Lease) && s.mini.TTL(s.keys.Lease) == 0}
	}
	r := s.c.DoMulti(context.Background(), s.c.B().Get().Key(s.keys.Value).Build(), s.c.B().Pttl().Key(s.keys.Lease).Build())
	v, _ := r[0].ToString()
	ttl, err := r[1].AsInt64()
	return sight{value: v, forever: err != nil || ttl == -1}
}

// print leaves out fences and times.
func (s *server) print() string {
	var lease, fence string
	if s.mini != nil {
		lease, _ = s.mini.Get(s.keys.Lease)
		fence, _ = s.mini.Get(s.keys.Fence)
	} else {
		lease, _ = s.do("GET", s.keys.Lease).ToString()
		fence, _ = s.do("GET", s.keys.Fence).ToString()
	}
	f := strings.SplitN(lease, "|", 4)
	if len(f) == 4 {
		f[1], f[2] = "", ""
	}
	_, fails, _ := strings.Cut(fence, "|")
	return fmt.Sprint(f, fence != "", fails)
}

// peer is a process that calls the scripts, as valkeystore does.
type peer struct {
	s       *server
	id      string
	c       valkey.Client // of its subscription
	stop    func()
	crashed bool
	nonce   int

	mu   sync.Mutex
	wake func(backend.Notice)
	seen chan string // nonces
}

var _ target = (*peer)(nil)

func (p *peer) subscribe(c valkey.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	p.c, p.seen = c, make(chan string, 1)
	ended := make(chan struct{})
	go func() { // ends with ctx
		defer close(ended)
		_ = c.Receive(ctx, c.B().Subscribe().Channel(p.s.layout.Channel(p.id)).Build(), p.message)
	}()
	p.stop = func() {
		_ = c.Do(context.Background(), c.B().Unsubscribe().Channel(p.s.layout.Channel(p.id)).Build())
		<-ended
		cancel()
	}
	p.subscribed(1)
}

// subscribed waits until so many are.
func (p *peer) subscribed(want int64) {
	p.s.t.Helper()
	for range 10_000 {
		if p.subscribers() == want {
			return
		}
	}
	p.s.t.Fatalf("%d subscribed, want %d", p.subscribers(), want)
}

func (p *peer) subscribers() int64 {
	r, err := p.s.do("PUBSUB", "NUMSUB", p.s.layout.Channel(p.id)).ToArray()
	if err != nil || len(r) != 2 {
		return -1
	}
	n, _ := r[1].AsInt64()
	return n
}

func (p *peer) message(m valkey.PubSubMessage) {
	msg, ok := valkeylease.ParseMessage(m.Message)
	if !ok {
		p.s.t.Errorf("not understood: %q", m.Message)
		return
	}
	if msg.Nonce != "" {
		p.seen <- msg.Nonce
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wake != nil {
		p.wake(msg.Notice)
	}
}

func (p *peer) settle() {
	if p.seen == nil || p.crashed {
		return
	}
	p.mu.Lock()
	watched := p.wake != nil
	p.mu.Unlock()
	if !watched {
		return
	}
	p.nonce++
	want := strconv.Itoa(p.nonce)
	p.s.do("PUBLISH", p.s.layout.Channel(p.id), "n0:"+want)
	if got := <-p.seen; got != want {
		p.s.t.Errorf("nonce %s, want %s", got, want)
	}
}

func (p *peer) crash() {
	p.crashed = true
	p.stop()
	p.subscribed(0)
}

// Lease believes everybody else dead; the server knows better.
func (p *peer) Lease(ctx context.Context, _ string, req backend.LeaseRequest) (backend.LeaseReply, error) {
	a := valkeylease.Ask{Keys: p.s.keys, LeaseRequest: req, Guard: true}
	if p.seen != nil {
		a.Holder, a.Waiter = p.id, p.id
	}
	for _, other := range p.s.peers {
		if other != p {
			a.Dead = append(a.Dead, other.id)
		}
	}
	r, err := valkeylease.Acquire(ctx, p.s.c, a)
	return r.LeaseReply, err
}

func (p *peer) Commit(ctx context.Context, _, token string, v []byte, ttl time.Duration) (bool, error) {
	return valkeylease.Commit(ctx, p.s.c, valkeylease.Fill{Keys: p.s.keys, Token: token, Value: v, TTL: ttl, Push: 1024, By: p.id})
}

func (p *peer) Renew(ctx context.Context, _, token string, ttl time.Duration) (bool, error) {
	return valkeylease.Renew(ctx, p.s.c, p.s.keys, token, ttl, "")
}

func (p *peer) Release(ctx context.Context, _, token string, f backend.Failure) (bool, error) {
	return valkeylease.Release(ctx, p.s.c, p.s.keys, token, f)
}

func (p *peer) Set(ctx context.Context, _ string, v []byte, ttl time.Duration) error {
	return valkeylease.Set(ctx, p.s.c, p.s.keys, v, ttl, 1024, p.id)
}

func (p *peer) Delete(ctx context.Context, _ ...string) error {
	return errors.Join(valkeylease.DeleteMany(ctx, p.s.c, []valkeylease.Keys{p.s.keys}, p.id)...)
}

func (p *peer) Swap(ctx context.Context, _ string, old, v []byte, ttl time.Duration) (bool, error) {
	return valkeylease.Swap(ctx, p.s.c, p.s.keys, old, v, ttl, p.id)
}

func (p *peer) Watch(_ string, wake func(backend.Notice)) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake = wake
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.wake = nil
	}
}

func (p *peer) Get(context.Context, string) ([]byte, error) { return nil, backend.ErrMiss }
func (p *peer) WakeMode() backend.WakeMode                  { return backend.WakeLive }
func (p *peer) Close() error                                { return nil }
