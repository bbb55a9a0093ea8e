package otelx_test

import (
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/otelx"
)

func ExampleHooks() {
	opts := &cache.Options[string, string]{
		Name:  "weather",
		Hooks: otelx.Hooks(&otelx.Options{CacheName: "weather"}),
	}
	_ = opts // cache.New(fetchWeather, opts, tiers...)
}
