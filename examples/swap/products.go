package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/bellwethercache/bellwether/cache"
)

// product is what the service answers with.
type product struct {
	Name   string
	Cents  int64
	Labels []string
	Text   string // long enough to be worth compressing
}

var policy = cache.Policy{TTL: 10 * time.Minute, AbsentTTL: time.Minute}

// fetch is the expensive source.
func fetch(_ context.Context, id int) (product, error) {
	if id == 0 {
		return product{}, cache.ErrNotFound
	}
	return product{
		Name:   fmt.Sprintf("Product № %d\n", id),
		Cents:  int64(id) << 50,
		Labels: []string{"", "a=b&c", fmt.Sprint("n", id)},
		Text:   strings.Repeat(fmt.Sprintf("product %d is like no other; ", id), 400),
	}, nil
}
