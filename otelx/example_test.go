package otelx_test

import (
	"fmt"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/otelx"
)

func ExampleHooks() {
	opts := &cache.Options[string, string]{
		Name:  "weather",
		Hooks: otelx.Hooks(&otelx.Options{CacheName: "weather"}),
	}
	fmt.Println(opts.Name, opts.Hooks.GetStart != nil) // cache.New(fetchWeather, opts, tiers...)
	// Output: weather true
}
