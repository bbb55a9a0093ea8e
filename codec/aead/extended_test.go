package aead

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// The vectors of the C2SP specification of XAES-256-GCM, one for either value
// of the bit that is shifted out of the subkey.
func TestVectors(t *testing.T) {
	for _, test := range []struct {
		fill       byte
		data, want string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newExtended(bytes.Repeat([]byte{test.fill}, KeySize))
		if err != nil {
			t.Fatal(err)
		}
		gcm, nonce, err := x.message([]byte("ABCDEFGHIJKLMNOPQRSTUVWX"))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(gcm.Seal(nil, nonce, []byte("XAES-256-GCM"), []byte(test.data))); got != test.want {
			t.Errorf("Seal = %s, want %s", got, test.want)
		}
	}
}
