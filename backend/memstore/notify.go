package memstore

import "github.com/bellwethercache/bellwether/backend"

// watch is one waiter.
type watch struct{ wake func(backend.Notice) }

// wakes are calls to make once the mutex is free.
type wakes []waking

type waking struct {
	wake   func(backend.Notice)
	notice backend.Notice

	hearer *hearer // to be told of change, if not nil
	change backend.Invalidation
}

func (w wakes) do() {
	for _, x := range w {
		if x.hearer != nil {
			x.hearer.tell(x.change)
			continue
		}
		if n := x.notice; n.Value != nil { // each its own
			x.notice.Value = append([]byte{}, n.Value...)
		}
		x.wake(x.notice)
	}
}

// small is the notice of a value's write.
func small(data []byte) backend.Notice {
	if len(data) > maxPush {
		return backend.Notice{}
	}
	return backend.Notice{Value: append([]byte{}, data...)}
}

// Watch implements backend.Notifier. Whoever ends the lease calls wake.
func (s *Store) Watch(key string, wake func(backend.Notice)) (stop func()) {
	w := &watch{wake}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches[key] == nil {
		s.watches[key] = make(map[*watch]struct{}, 1)
	}
	s.watches[key][w] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watches[key], w)
		if len(s.watches[key]) == 0 {
			delete(s.watches, key)
		}
	}
}

// WakeMode implements backend.Notifier. A holder dies with its waiters.
func (s *Store) WakeMode() backend.WakeMode { return backend.WakePush }
