package cache

import (
	"fmt"
	"reflect"
	"strconv"
)

// keyFunc returns how K becomes a string, and whether hashing a K can panic.
func keyFunc[K comparable](custom func(K) string) (fn func(K) string, panics bool, err error) {
	t := reflect.TypeFor[K]()
	panics = holdsInterface(t)
	if custom != nil {
		return custom, panics, nil
	}
	switch t.Kind() {
	case reflect.String:
		return stringKey[K], false, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(k K) string { return strconv.FormatInt(reflect.ValueOf(k).Int(), 10) }, false, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return func(k K) string { return strconv.FormatUint(reflect.ValueOf(k).Uint(), 10) }, false, nil
	}
	// Printing with %v would give two keys one string: {"a b" "c"} and {"a" "b c"}.
	return nil, false, fmt.Errorf("cache: Options.Key: must be set for keys of type %v: "+
		"only strings and integers have a string form that no two keys share", t)
}

// parseFunc is the inverse of keyFunc; nil: there is none.
func parseFunc[K comparable](custom func(K) string) func(string) (K, bool) {
	if custom != nil {
		return nil
	}
	t := reflect.TypeFor[K]()
	return func(s string) (key K, ok bool) {
		v := reflect.ValueOf(&key).Elem()
		switch {
		case t.Kind() == reflect.String:
			v.SetString(s)
			return key, true
		case v.CanInt():
			n, err := strconv.ParseInt(s, 10, t.Bits())
			v.SetInt(n)
			return key, err == nil
		default:
			n, err := strconv.ParseUint(s, 10, t.Bits())
			v.SetUint(n)
			return key, err == nil
		}
	}
}

func stringKey[K comparable](k K) string {
	if s, ok := any(k).(string); ok {
		return s
	}
	return reflect.ValueOf(k).String()
}

// holdsInterface reports whether a value of t can hold an interface, whose
// content may not be comparable.
func holdsInterface(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Array:
		return holdsInterface(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsInterface(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// canCompare reports whether key can be compared, and so hashed.
func canCompare[K comparable](key K) (ok bool) {
	defer func() { ok = recover() == nil }()
	_ = key == key // panics if an interface in it holds a slice, map or func
	return true
}
