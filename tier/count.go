package tier

import (
	"math"
	"sync"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
)

// census is what counting knows of the nodes that a flush has left behind: a flush
// costs a hit one comparison, and takes nothing out of the memory.
type census struct {
	mu      sync.Mutex
	settled int64 // the doubt for which the memory's own count is right
	swept   int64 // when the last sweep found something
}

// settle is for how long a memory may apply deletions late, and count them.
const settle = time.Second

// stats counts what can be served. After a flush, or a removal of all, whoever
// counts first gives the room of what was dropped back; before, and again once
// that has been done, the memory's own count is taken.
func (l *local[K, V]) stats() LocalStats {
	c, ok := l.memory.(backend.Counted)
	if !ok {
		return LocalStats{}
	}
	s := LocalStats{Counted: true, Entries: c.Len(), Evicted: c.Evicted()}
	x := &l.census
	x.mu.Lock()
	defer x.mu.Unlock()
	doubt := l.doubt.Load()
	if l.ranger == nil || doubt == x.settled {
		return s
	}
	dead := 0
	s.Entries, dead = l.sweep()
	switch now := clock.Now(); {
	case dead > 0:
		x.swept = now
	case doubt != math.MaxInt64 && (x.swept == 0 || now >= clock.After(x.swept, settle)):
		x.settled = doubt
	}
	return s
}

// sweep takes out what news from elsewhere has removed, and counts the rest. An
// entry that is stored under the same hash between the look and the Delete goes as
// well: a memory may drop anything.
func (l *local[K, V]) sweep() (alive, dead int) {
	l.ranger.Range(func(m backend.Node) bool {
		n, ok := m.(*node[K, V])
		switch {
		case !ok:
		case l.state(n) == removed:
			dead++
			if l.node(n.key) == n {
				l.delete(n.key)
			}
		case !n.Expired():
			alive++
		}
		return true
	})
	return alive, dead
}
