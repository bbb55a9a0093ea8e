package tier

import "fmt"

// owedStamp is what is owed of an owedTag.
type owedStamp struct {
	at       int64
	told     bool
	stamp    uint64 // if told: what the store has given
	refusals int
	next     int64
}

// owedTag is a stamp of a tag.
type owedTag struct {
	tag    *tag
	expire bool
}

// oweTags is owe for stamps of tags, all of them or none.
func (b *backlog[V]) oweTags(list []*tag, expire bool, s owedStamp, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	more := 0
	for _, g := range list {
		if _, ok := b.tags[owedTag{g, expire}]; !ok {
			more++
		}
	}
	if !b.room(more) {
		b.dropped.Add(uint64(more))
		return err
	}
	for _, g := range list {
		b.tags[owedTag{g, expire}] = s
		g.owes(expire).Store(!s.told)
	}
	b.grown()
	return fmt.Errorf("%w; %w", err, ErrQueued)
}

// triedTags notes that stamps were not taken, or, with a stamp, that they were and
// that others have not been told.
func (b *backlog[V]) triedTags(list []*tag, expire bool, then int64, stamp uint64, refused bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range list {
		t := owedTag{g, expire}
		s, ok := b.tags[t]
		switch {
		case !ok || s.at > then:
			continue
		case stamp != 0:
			s.told, s.stamp = true, stamp
			g.owes(expire).Store(false)
		case refused:
			s.refusals++
			s.next = later(s.refusals)
		}
		if s.refusals >= maxRefusals {
			b.dropped.Add(1)
			delete(b.tags, t)
			g.owes(expire).Store(false)
			continue
		}
		b.tags[t] = s
	}
	b.size.Store(int64(len(b.keys) + len(b.tags)))
}

// doneTags forgets stamps that were taken, if they failed no later than then. The
// caller has marked the tags with the stamp that the store gave.
func (b *backlog[V]) doneTags(list []*tag, expire bool, then int64, replayed bool) {
	if b.size.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range list {
		s, ok := b.tags[owedTag{g, expire}]
		if !ok || s.at > then {
			continue
		}
		delete(b.tags, owedTag{g, expire})
		g.owes(expire).Store(false)
		if replayed {
			b.replayed.Add(1)
		}
	}
	b.size.Store(int64(len(b.keys) + len(b.tags)))
}
