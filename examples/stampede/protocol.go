package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// The parent and its workers talk in lines of JSON, over the worker's standard
// input and output:
//
//	parent                         worker
//	setup                     →    opens its cache, connects
//	                          ←    ready
//	prepare (for each city)   →    its requests line up
//	                          ←    ready
//	go                        →    its requests run
//	                          ←    loading, progress, warning, spans (at any time)
//	                          ←    result
//	end of input              →    closes its cache, ends
//
// A command has one of its fields set, a message too.
type command struct {
	Setup   *setup `json:"setup,omitempty"`
	Prepare *share `json:"prepare,omitempty"`
	Go      int64  `json:"go,omitempty"` // wall clock, µs: the herd's zero
}

// setup tells a worker what to be.
type setup struct {
	Process    int           `json:"process"` // 1 is the first
	Threads    int           `json:"threads"`
	Protection string        `json:"protection"`
	Valkey     string        `json:"valkey"`
	LockTTL    time.Duration `json:"lock_ttl"`
	API        string        `json:"api"`
	APIKey     string        `json:"api_key"`
	OTLP       string        `json:"otlp,omitempty"`
	Spans      bool          `json:"spans,omitempty"` // are wanted by the parent
}

// share is a worker's part of one city's herd.
type share struct {
	City     city `json:"city"`
	Requests int  `json:"requests"`
}

// message is what a worker says.
type message struct {
	Ready    bool     `json:"ready,omitempty"`
	Live     bool     `json:"live,omitempty"`     // with ready: the server tells when a holder dies
	Progress int      `json:"progress,omitempty"` // requests done, of this share
	Loading  *loading `json:"loading,omitempty"`
	Spans    []span   `json:"spans,omitempty"`
	Warning  string   `json:"warning,omitempty"`
	Result   *result  `json:"result,omitempty"`
	Error    string   `json:"error,omitempty"` // the worker cannot go on
}

// loading says that a request begins to call the API.
type loading struct {
	At     int64 `json:"at"`     // wall clock, µs
	Thread int   `json:"thread"` // of the worker
	Holder bool  `json:"holder"` // under the lock
}

// result is what came of a share.
type result struct {
	Records []record `json:"records"`
	Weather *weather `json:"weather,omitempty"`
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
