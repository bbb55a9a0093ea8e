package fleettest

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// The test and its processes talk in lines of JSON, over a process's standard
// input and output. Each command with an ID is answered once, not necessarily
// in order; events come at any time. The end of its input is a process's end.
type command struct {
	ID uint64 `json:"id,omitempty"` // 0: no answer wanted
	Op op     `json:"op"`

	Setup   *setup        `json:"setup,omitempty"`   // open
	Key     string        `json:"key,omitempty"`     // get, set, delete, expire, peek; loader: "" is the default
	Keys    []string      `json:"keys,omitempty"`    // many; the tags of set, tags and clear
	Value   string        `json:"value,omitempty"`   // set; see: what it was
	Callers int           `json:"callers,omitempty"` // get
	Timeout time.Duration `json:"timeout,omitempty"` // get, many: of each caller; 0: none
	At      Moment        `json:"at,omitempty"`      // get, many: when to begin
	Loader  *Loader       `json:"loader,omitempty"`  // loader
	Load    string        `json:"load,omitempty"`    // release: an ID
	Outcome *Outcome      `json:"outcome,omitempty"` // release; nil: the Loader's
}

type op string

const (
	opOpen    op = "open"
	opGet     op = "get"
	opMany    op = "many"
	opSet     op = "set"
	opDelete  op = "delete"
	opExpire  op = "expire"
	opPeek    op = "peek"
	opSee     op = "see"
	opTags    op = "tags"    // DeleteTags; of none: Clear
	opSave    op = "save"    // to the file that Value names
	opRestore op = "restore" // from it
	opStats   op = "stats"
	opClose   op = "close"
	opLoader  op = "loader"
	opRelease op = "release"
	opSync    op = "sync" // all that happened before has been told
)

// setup tells a process what to be.
type setup struct {
	Process string            `json:"process"` // begins the IDs of its loads
	URL     string            `json:"url"`
	Config  Config            `json:"config"`
	Loaders map[string]Loader `json:"loaders"`
}

// message is an answer or an event.
type message struct {
	ID     uint64          `json:"id,omitempty"`
	Err    *Failure        `json:"err,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Event  *event          `json:"event,omitempty"`
}

// event is news of a load.
type event struct {
	Kind    string   `json:"kind"`
	Load    string   `json:"load"`
	At      Moment   `json:"at"`
	Key     string   `json:"key,omitempty"`     // begin
	Fence   uint64   `json:"fence,omitempty"`   // begin; 0: no lease
	Role    string   `json:"role,omitempty"`    // begin
	Outcome *Outcome `json:"outcome,omitempty"` // end
	Lost    bool     `json:"lost,omitempty"`    // commit
}

const (
	eventBegin  = "load-begin"
	eventEnd    = "load-end"
	eventCommit = "load-commit"
)

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
