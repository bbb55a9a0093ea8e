package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bellwethercache/bellwether/codec"
	"github.com/bellwethercache/bellwether/codec/aead"
	"github.com/bellwethercache/bellwether/codec/cbor"
	"github.com/bellwethercache/bellwether/codec/compress"
	"github.com/bellwethercache/bellwether/codec/gob"
	"github.com/bellwethercache/bellwether/codec/msgpack"
	"github.com/bellwethercache/bellwether/codec/protobuf"
)

// codecOf makes the codec that --codec names, and wraps it from the inside out.
func codecOf(s *settings) (c codec.Codec[product], err error) {
	for i, name := range strings.Split(s.codec, "+") {
		switch {
		case i == 0:
			c, err = plain(name)
		case name == "zstd":
			c, err = compress.Zstd(c, nil)
		case name == "s2":
			c, err = compress.S2(c, nil)
		case name == "aead":
			c, err = sealed(c, s.secret)
		default:
			err = errors.New("no wrapper of this name; see --help")
		}
		if err != nil {
			return nil, fmt.Errorf("codec %s: %w", name, err)
		}
	}
	return c, nil
}

func plain(name string) (codec.Codec[product], error) {
	switch name {
	case "json":
		return codec.JSON[product](), nil
	case "cbor":
		return cbor.New[product](), nil
	case "msgpack":
		return msgpack.New[product](), nil
	case "gob":
		return gob.New[product](), nil
	case "protobuf":
		return through[*structpb.Struct]{codec.MaxID, protobuf.New[structpb.Struct](), toMessage, fromMessage}, nil
	case "string":
		return through[string]{codec.MaxID - 1, codec.String(), toText, fromText}, nil
	}
	return nil, errors.New("no codec of this name; see --help")
}

func sealed(c codec.Codec[product], secret string) (codec.Codec[product], error) {
	raw, err := hex.DecodeString(secret)
	if err != nil || len(raw) != aead.KeySize {
		return nil, fmt.Errorf("set SWAP_SECRET to %d hexadecimal digits: openssl rand -hex %d", 2*aead.KeySize, aead.KeySize)
	}
	key, err := aead.NewKey(1, raw)
	if err != nil {
		return nil, err
	}
	ring, err := aead.NewKeyring(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(c, ring)
}

// through is a codec of one's own: a product by way of what another codec takes.
type through[W any] struct {
	id    uint16 // its bytes mean something else than inner's
	inner codec.Codec[W]
	to    func(product) (W, error)
	from  func(W) (product, error)
}

func (t through[W]) ID() uint16 { return t.id }

func (t through[W]) Append(dst []byte, p product) ([]byte, error) {
	w, err := t.to(p)
	if err != nil {
		return dst, err
	}
	return t.inner.Append(dst, w)
}

func (t through[W]) Decode(data []byte) (product, error) {
	w, err := t.inner.Decode(data)
	if err != nil {
		return product{}, err
	}
	return t.from(w)
}

var errNoProduct = codec.Reason("not a product")

// toMessage keeps the price as text: a Struct's numbers are float64.
func toMessage(p product) (*structpb.Struct, error) {
	labels := make([]any, len(p.Labels))
	for i, l := range p.Labels {
		labels[i] = l
	}
	return structpb.NewStruct(map[string]any{"name": p.Name, "cents": fmt.Sprint(p.Cents), "labels": labels, "text": p.Text})
}

func fromMessage(m *structpb.Struct) (product, error) {
	f := m.GetFields()
	p := product{Name: f["name"].GetStringValue(), Text: f["text"].GetStringValue()}
	for _, l := range f["labels"].GetListValue().GetValues() {
		p.Labels = append(p.Labels, l.GetStringValue())
	}
	if _, err := fmt.Sscan(f["cents"].GetStringValue(), &p.Cents); err != nil {
		return product{}, errNoProduct
	}
	return p, nil
}

const unit = "\x1f" // separates; it is in no product

func toText(p product) (string, error) {
	return strings.Join(append([]string{p.Name, fmt.Sprint(p.Cents), p.Text}, p.Labels...), unit), nil
}

func fromText(s string) (product, error) {
	f := strings.Split(s, unit)
	if len(f) < 3 {
		return product{}, errNoProduct
	}
	p := product{Name: f[0], Text: f[2], Labels: f[3:]}
	if _, err := fmt.Sscan(f[1], &p.Cents); err != nil {
		return product{}, errNoProduct
	}
	return p, nil
}
