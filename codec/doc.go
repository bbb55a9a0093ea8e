// Package codec turns values into bytes and back, for bytes nobody vouches for.
//
// [JSON] is the default and fits any type encoding/json fits. [Bytes] and
// [String] store what they are given. The others are packages of their own, so
// that a program compiles only what it uses:
//
//	codec            take it when                                    ID
//	JSON             in doubt; people read the store                  1
//	Bytes            the value is a byte slice                        2
//	String           the value is a string                            3
//	cbor.New         JSON is too slow, or strings may be binary       4
//	protobuf.New     the value is a protobuf message                  5
//	msgpack.New      types or readers speak MessagePack already       6
//	gob.New          types speak gob already, or hold interfaces      7
//	compress.S2      encodings of some KiB, and memory is scarce      wraps
//	compress.Zstd    the same, and memory is scarcer than time        wraps
//	aead.Seal        others can read or write the shared store        wraps
//
// Cost relative to JSON, of one struct with nested structs, strings, numbers
// and a map; the wrappers are around JSON:
//
//	                 300 bytes of JSON            4.3 KiB of JSON
//	                 encode   decode   size       encode   decode   size
//	JSON             2.0 µs   8.7 µs   299        21 µs    87 µs    4403
//	CBOR             0.6      0.4      0.87       0.4      0.5      0.86
//	protobuf         0.8      0.3      0.82       1.0      0.4      0.83
//	msgpack          0.9      0.4      0.91       0.8      0.4      0.88
//	gob              0.9      0.5      1.27       0.6      0.4      0.80
//	compress.S2      stored raw                   1.4      1.0      0.28
//	compress.Zstd    stored raw                   2.4      1.0      0.12
//	aead.Seal        2.8      1.1      1.15       1.2      1.0      1.01
//
// Fastest of six runs on two busy cores (AMD EPYC, Go 1.26.8), so good to a
// fifth; gob, of ninety short runs on cores busier still, with JSON's of the
// same. go test -run '^$' -bench Codecs -count 6 ./codec measures it again.
//
// # Limits
//
// An encoding of n bytes may take n times the size of an element in memory, so
// limit the size of entries where they are read. A value that contains itself
// is an error in JSON and fatal elsewhere.
//
// # A codec of your own
//
// It implements [Codec], is called concurrently, and passes the kit in
// codec/codectest. One that binds encodings to keys implements [Keyed] too;
// one that wraps another makes its ID with [Wrap]. [Recover] and [Error] keep
// panics inside and values out of logs.
package codec
