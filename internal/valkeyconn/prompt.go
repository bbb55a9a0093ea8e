package valkeyconn

import (
	"context"

	"github.com/valkey-io/valkey-go"
)

// prompt is the client of a cluster or of Sentinels, whose calls end with their
// context. The client alone honours it while the node's connection stands, but
// not while it dials the node or asks the others for the topology, which is what
// it does in a failover: and then answers of another node are no sign that this
// one's connection stands.
type prompt struct{ valkey.Client }

func (p prompt) Do(ctx context.Context, cmd valkey.Completed) valkey.ValkeyResult {
	if ctx.Done() == nil {
		return p.Client.Do(ctx, cmd)
	}
	done := make(chan valkey.ValkeyResult, 1)
	go func() { done <- p.Client.Do(ctx, cmd) }() // ends within the client's own limits
	select {
	case r := <-done:
		return r
	case <-ctx.Done():
		return valkey.NewErrorResult(ctx.Err())
	}
}

func (p prompt) DoMulti(ctx context.Context, cmds ...valkey.Completed) []valkey.ValkeyResult {
	if ctx.Done() == nil {
		return p.Client.DoMulti(ctx, cmds...)
	}
	done := make(chan []valkey.ValkeyResult, 1)
	go func() { done <- p.Client.DoMulti(ctx, cmds...) }() // as above; the caller leaves it cmds
	select {
	case r := <-done:
		return r
	case <-ctx.Done():
		results := make([]valkey.ValkeyResult, len(cmds))
		for i := range results {
			results[i] = valkey.NewErrorResult(ctx.Err())
		}
		return results
	}
}
