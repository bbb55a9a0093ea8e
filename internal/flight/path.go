package flight

import "context"

// path is the chain of flights that a context runs in, to detect recursion.
type path struct {
	group any
	key   string
	keys  map[string]struct{} // of a batch, instead of key
	up    *path
}

type pathKey struct{}

func enter(ctx context.Context, group any, key string) context.Context {
	up, _ := ctx.Value(pathKey{}).(*path)
	return context.WithValue(ctx, pathKey{}, &path{group: group, key: key, up: up})
}

func within(ctx context.Context, group any, key string) bool {
	p, _ := ctx.Value(pathKey{}).(*path)
	for ; p != nil; p = p.up {
		if p.group != group {
			continue
		}
		if _, ok := p.keys[key]; ok || p.keys == nil && p.key == key {
			return true
		}
	}
	return false
}
