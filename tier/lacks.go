package tier

import (
	"slices"

	"github.com/bellwethercache/bellwether/backend"
)

// Lacks says, a sentence each, what the stack does without because the store of
// its farthest tier is not able to, and what it does instead.
func (s *shared[K, V]) Lacks() (said []string) {
	r := s.far
	if r == nil {
		return nil
	}
	lack := func(missing bool, text string) {
		if missing {
			said = append(said, text)
		}
	}
	alone := exclusive(r.store) // there is nobody else to load, to tell of changes or to have another clock
	lack(alone && slices.ContainsFunc(s.remote, func(r *remote[V]) bool { return !exclusive(r.store) }),
		"the farthest store is this process's alone (backend.Exclusive) and one before it is not, so nobody else's loads and changes are known: "+
			"put the store that is shared last")
	lack(r.leaser == nil && !r.opts.NoLease && !alone, "the farthest store does not lease (backend.Leaser), so each process loads for itself")
	lack(r.leaser != nil && r.notifier == nil, "the farthest store does not tell when a lease ends (backend.Notifier), so who waits looks again and again")
	lack(r.leaser != nil && r.notifier != nil && r.multi == nil, "the farthest store does not lease many keys at once (backend.MultiLeaser), so GetMany asks for each")
	lack(r.swapper == nil, "the farthest store does not compare and swap (backend.Swapper), so Expire deletes")
	lack(r.clock == nil && !alone, "the farthest store does not tell the time (backend.Clock), so ages are measured with each machine's own clock")
	lack(r.own, "the farthest store keeps no stamps of tags (backend.Tagger), so they are kept as entries, which may be evicted")
	silent := r.teller == nil || r.teller.CoherenceMode() == backend.CoherenceOff
	lack(silent && !alone && len(s.listeners()) > 0, "the farthest store does not tell of changes by others (backend.Invalidator), so memory serves what it has "+
		"until its time is over: cap that with LocalOptions.MaxTTL, or set RemoteOptions.Bus")
	return said
}

func exclusive(s backend.Store) bool {
	x, ok := s.(backend.Exclusive)
	return ok && x.Exclusive()
}
