package valkeylease

import (
	"context"
	"strconv"

	"github.com/valkey-io/valkey-go"

	"github.com/bellwethercache/bellwether/backend"
)

// maxStamps is how many stamps of tags are kept before the older half of them is
// given up, with the entries of that age: some 20 MB at the server.
const maxStamps = 100_000

// Stamp notes that entries with one of tags are removed, or with expire that
// they are stale. The stamp is no less than floor.
func Stamp(ctx context.Context, c valkey.Client, l Layout, expire bool, floor uint64, by string, tags []string) (uint64, error) {
	kind := "r"
	if expire {
		kind = "e"
	}
	args := append([]string{kind, strconv.FormatUint(floor, 10), strconv.Itoa(maxStamps), by}, tags...)
	n, err := stampScript.run(ctx, c, call{l.Stamps(), args}).AsUint64()
	return n, Wrap(err)
}

// Stamps returns the stamps of tags, in their order.
func Stamps(ctx context.Context, c valkey.Client, l Layout, tags []string) ([]backend.TagStamp, error) {
	parts, err := stampsScript.run(ctx, c, call{l.Stamps(), tags}).AsStrSlice()
	if err != nil {
		return nil, Wrap(err)
	}
	if len(parts) != 2*len(tags) {
		return nil, errShort
	}
	stamps := make([]backend.TagStamp, len(tags))
	for i := range stamps {
		// What is no number is not ours, and says nothing.
		stamps[i].Removed, _ = strconv.ParseUint(parts[2*i], 10, 64)
		stamps[i].Expired, _ = strconv.ParseUint(parts[2*i+1], 10, 64)
	}
	return stamps, nil
}
