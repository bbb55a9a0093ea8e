package cache

import (
	"context"

	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// JoinHooks returns hooks that call those of a and then those of b. Where both
// give a tag, a's is used.
func JoinHooks(a, b Hooks) Hooks {
	return Hooks{
		GetStart:  then(a.GetStart, b.GetStart),
		GetDone:   both(a.GetDone, b.GetDone),
		Tag:       either(a.Tag, b.Tag),
		FillStart: then(a.FillStart, b.FillStart),
		FillDone:  both(a.FillDone, b.FillDone),
		ManyStart: then(a.ManyStart, b.ManyStart),
		ManyDone:  both(a.ManyDone, b.ManyDone),

		RefreshStart: then(a.RefreshStart, b.RefreshStart),
		RefreshDone:  both(a.RefreshDone, b.RefreshDone),

		WaitStart:  then(a.WaitStart, b.WaitStart),
		WaitDone:   both(a.WaitDone, b.WaitDone),
		LoadStart:  then(a.LoadStart, b.LoadStart),
		LoadDone:   both(a.LoadDone, b.LoadDone),
		WriteStart: then(a.WriteStart, b.WriteStart),
		WriteDone:  both(a.WriteDone, b.WriteDone),
		Warn:       both(a.Warn, b.Warn),
		Lock: lock.Hooks{
			AcquireStart: tagged(a.Lock.AcquireStart, b.Lock.AcquireStart),
			Contended:    both(a.Lock.Contended, b.Lock.Contended),
			Retry:        both(a.Lock.Retry, b.Lock.Retry),
			AcquireDone:  both(a.Lock.AcquireDone, b.Lock.AcquireDone),
			Released:     both(a.Lock.Released, b.Lock.Released),
		},
		Tier: tier.Hooks{
			OpDone:  both(a.Tier.OpDone, b.Tier.OpDone),
			Breaker: both(a.Tier.Breaker, b.Tier.Breaker),
			Hearing: both(a.Tier.Hearing, b.Tier.Hearing),
		},
	}
}

type doneFunc[I any] = func(context.Context, I)

func both[I any](a, b doneFunc[I]) doneFunc[I] {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	return func(ctx context.Context, info I) {
		a(ctx, info)
		b(ctx, info)
	}
}

type startFunc[I any] = func(context.Context, I) context.Context

func then[I any](a, b startFunc[I]) startFunc[I] {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	return func(ctx context.Context, info I) context.Context { return b(a(ctx, info), info) }
}

// either gives a's tag, or b's if that is empty.
func either(a, b func(context.Context) string) func(context.Context) string {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	return func(ctx context.Context) string {
		if tag := a(ctx); tag != "" {
			return tag
		}
		return b(ctx)
	}
}

type tagFunc[I any] = func(context.Context, I) (context.Context, string)

func tagged[I any](a, b tagFunc[I]) tagFunc[I] {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	return func(ctx context.Context, info I) (context.Context, string) {
		ctx, tag := a(ctx, info)
		ctx, other := b(ctx, info)
		if tag == "" {
			tag = other
		}
		return ctx, tag
	}
}
