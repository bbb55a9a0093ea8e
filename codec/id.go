package codec

// The IDs of the codecs in this module.
const (
	IDJSON     uint16 = 1
	IDBytes    uint16 = 2
	IDString   uint16 = 3
	IDCBOR     uint16 = 4
	IDProtobuf uint16 = 5
	IDMsgpack  uint16 = 6
	IDGob      uint16 = 7
)

// The numbers of the wrappers in this module, for [Wrap].
const (
	WrapS2   uint16 = 1
	WrapZstd uint16 = 2
	WrapSeal uint16 = 3
)

// MaxID is the largest ID of a codec that wraps no other.
const MaxID uint16 = 1<<idBits - 1

const (
	idBits     = 10
	wrapBits   = 3
	maxWrapper = 1<<wrapBits - 1
)

const (
	errWrapper = Reason("a wrapper's number is 1 to 7")
	errInner   = Reason("no codec with an ID to wrap")
	errLayers  = Reason("more than two wrappers")
)

// Wrap returns the ID of a codec that wraps another: wrapper is the wrapper's
// own number, inner the ID of what it wraps. No two stacks share an ID: the
// ten low bits are the innermost codec's ID, three bits each are the wrappers,
// the inner one first. Two wrappers is all that fits. Numbers 1 to 4 are
// Bellwether's, 5 to 7 are yours.
func Wrap(wrapper, inner uint16) (uint16, error) {
	switch {
	case wrapper == 0 || wrapper > maxWrapper:
		return 0, &Error{Codec: "wrapper", Op: "create", Err: errWrapper}
	case inner == 0:
		return 0, &Error{Codec: "wrapper", Op: "create", Err: errInner}
	case inner <= MaxID:
		return inner | wrapper<<idBits, nil
	case inner < 1<<(idBits+wrapBits):
		return inner | wrapper<<(idBits+wrapBits), nil
	}
	return 0, &Error{Codec: "wrapper", Op: "create", Err: errLayers}
}
