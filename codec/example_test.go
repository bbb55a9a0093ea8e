package codec_test

import (
	"errors"
	"fmt"

	"github.com/bellwethercache/bellwether/codec"
)

func ExampleJSON() {
	c := codec.JSON[map[string]int]()
	data, _ := c.Append(nil, map[string]int{"a": 1})
	v, _ := c.Decode(data)
	fmt.Println(string(data), v)
	// Output: {"a":1} map[a:1]
}

func ExampleBytes() {
	data, _ := codec.Bytes().Append([]byte("head "), []byte("body"))
	fmt.Println(string(data))
	// Output: head body
}

func ExampleString() {
	v, _ := codec.String().Decode([]byte("as it is"))
	fmt.Println(v)
	// Output: as it is
}

func ExampleError() {
	_, err := codec.JSON[uint8]().Decode([]byte("4711"))
	failed, _ := errors.AsType[*codec.Error](err)
	fmt.Println(err)
	fmt.Println(failed.Unwrap())
	// Output:
	// codec: decode JSON: *json.UnmarshalTypeError
	// json: cannot unmarshal number 4711 into Go value of type uint8
}

func ExampleWrap() {
	id, _ := codec.Wrap(5, codec.IDJSON) // a wrapper of your own, around JSON
	fmt.Println(id)
	// Output: 5121
}
