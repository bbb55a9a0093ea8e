package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// The parent and its workers talk in lines of JSON, over the worker's standard
// input and output. The parent's first line is a setup; the worker answers that
// it is ready, obeys orders, many at a time, and ends with its input.

// setup tells a worker what to be.
type setup struct {
	Service string        `json:"service"`
	Valkey  string        `json:"valkey"`
	OTLP    string        `json:"otlp,omitempty"` // base URL; empty: no traces
	Metrics string        `json:"metrics"`        // address to serve /metrics on
	Latency time.Duration `json:"latency"`        // of the source
	Rate    int           `json:"rate"`           // of the reads that go on all the time, a second
}

// The things that an order can ask for.
const (
	doGet    = "get"
	doMany   = "many"
	doSet    = "set"
	doExpire = "expire"
)

// order is a piece of work for a worker.
type order struct {
	ID       int           `json:"id"`
	Do       string        `json:"do"`
	Keys     []string      `json:"keys"`
	Callers  int           `json:"callers,omitempty"`  // at once; of a get
	Patience time.Duration `json:"patience,omitempty"` // of each caller; 0: endless
	Parent   string        `json:"parent,omitempty"`   // traceparent of the request that it is part of; empty: each caller is a request
	At       int64         `json:"at,omitempty"`       // wall clock, µs: when to begin
}

// news is what a worker says. One of its fields is set.
type news struct {
	Ready   string   `json:"ready,omitempty"` // where it serves /metrics
	Loading *loading `json:"loading,omitempty"`
	Done    *done    `json:"done,omitempty"`
	Error   string   `json:"error,omitempty"` // it cannot go on
}

// loading says that a load begins which an order has caused.
type loading struct {
	Key   string `json:"key"`
	Trace string `json:"trace"` // id
}

// done says that an order has been obeyed.
type done struct {
	ID     int    `json:"id"`
	OK     int    `json:"ok"`
	Failed int    `json:"failed"`
	Stale  int    `json:"stale"`
	Trace  string `json:"trace"` // of one caller, a failed one if there is one
}

// lines writes values as lines of JSON. It is safe for concurrent use.
type lines struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newLines(w io.Writer) *lines { return &lines{enc: json.NewEncoder(w)} }

func (l *lines) send(v any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.enc.Encode(v)
}
