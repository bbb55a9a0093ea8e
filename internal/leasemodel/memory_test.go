package leasemodel

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unsafe"

	"github.com/bellwethercache/bellwether/backend/memstore"
)

// memory is a place in this process, for a testing/synctest bubble, where time
// costs nothing.
type memory struct {
	sabotage func(m *mutant) // nil: as it is
	back     bool            // let the clock be set back, for those who would look at it

	raw   *memstore.Store
	shown target
	m     *mutant
}

func (m *memory) reset(int) {
	m.raw = memstore.NewStore()
	m.shown = m.raw
	if m.sabotage != nil {
		m.m = newMutant(m.raw)
		m.sabotage(m.m)
		m.shown = m.m
	}
}

func (m *memory) peer(int) target    { return m.shown }
func (m *memory) tick()              {}
func (m *memory) expire()            { time.Sleep(leaseTTL) }
func (m *memory) crash(int)          {}
func (m *memory) settle()            {}
func (m *memory) abilities() ability { return ability{wakes: true, stepsBack: m.back} }

// flush leaves the count of fences alone: this store never loses it.
func (m *memory) flush() {
	for _, name := range []string{"values", "leases", "rows"} {
		field(m.raw, name).Clear()
	}
	if m.m != nil {
		m.m.flushed()
	}
}

func (m *memory) evict(what kept) {
	forget(m.raw, map[kept]string{keptLease: "leases", keptValue: "values"}[what])
}

func (m *memory) stepBack() {
	if m.m != nil {
		m.m.clock -= 1000
	}
}

func (m *memory) peek() sight {
	data, _ := m.raw.Get(context.Background(), key)
	return sight{value: string(data)}
}

// print tells what is kept, with times as what is left of them.
func (m *memory) print() string {
	var b strings.Builder
	if l := field(m.raw, "leases").MapIndex(reflect.ValueOf(key)); l.IsValid() {
		fmt.Fprint(&b, l.FieldByName("Token").String(), l.FieldByName("watched").Bool(), !l.FieldByName("cooling").IsNil(), left(l))
	}
	if r := field(m.raw, "rows").MapIndex(reflect.ValueOf(key)); r.IsValid() {
		fmt.Fprint(&b, " row ", r.FieldByName("failures").Int())
	}
	return b.String()
}

// left is what is left of something kept until a time.
func left(kept reflect.Value) time.Duration {
	copied := reflect.New(kept.Type()).Elem()
	copied.Set(kept)
	f := copied.FieldByName("until")
	until := reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem() //nolint:gosec // see field
	return max(0, time.Until(until.Interface().(time.Time)))
}

// field is a field of the store that is nobody's business. Evicting something
// is no ability of a store in memory, and reading must not change anything.
func field(s *memstore.Store, name string) reflect.Value {
	f := reflect.ValueOf(s).Elem().FieldByName(name)
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem() //nolint:gosec // see above
}

func forget(s *memstore.Store, name string) {
	field(s, name).SetMapIndex(reflect.ValueOf(key), reflect.Value{})
}

// holder is the token of the lease that is held, or "".
func holder(s *memstore.Store) string {
	l := field(s, "leases").MapIndex(reflect.ValueOf(key))
	if !l.IsValid() || left(l) == 0 {
		return ""
	}
	return fmt.Sprintf("%s|%d", l.FieldByName("Token").String(), l.FieldByName("fence").Uint())
}

// keeping runs fn and puts the lease back as it was.
func keeping(s *memstore.Store, fn func()) {
	leases := field(s, "leases")
	before := leases.MapIndex(reflect.ValueOf(key))
	fn()
	if before.IsValid() {
		leases.SetMapIndex(reflect.ValueOf(key), before)
	}
}
