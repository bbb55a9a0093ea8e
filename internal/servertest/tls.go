package servertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TLSServer is a real valkey-server that speaks TLS on an address of its own. Its
// certificate is for 127.0.0.1, and not for localhost.
type TLSServer struct {
	*Server
	secure string
}

// TLS starts a valkey-server as Valkey does. For this process its certificate is
// signed by an authority of the system's: nothing else may have asked for those
// before. A server that was built without TLS is skipped, whatever is required.
func TLS(tb testing.TB, args ...string) *TLSServer {
	tb.Helper()
	if runtime.GOOS != "linux" {
		Skip(tb, "only on Linux can a test add to the authorities that the system trusts")
	}
	s := new(TLSServer)
	dir := tb.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	authority, err := authority()
	if err == nil {
		err = authority.sign(file("ca.pem"), file("cert.pem"), file("key.pem"))
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Setenv("SSL_CERT_FILE", file("ca.pem"))
	s.Server = launch(tb, func(string) *Server {
		s.secure = freeAddr(tb)
		_, port, _ := net.SplitHostPort(s.secure)
		return &Server{args: append([]string{
			"--tls-port", port, "--tls-auth-clients", "no",
			"--tls-ca-cert-file", file("ca.pem"), "--tls-cert-file", file("cert.pem"), "--tls-key-file", file("key.pem"),
		}, args...), needs: speaksTLS}
	})
	return s
}

// speaksTLS skips the test if bin was built without TLS.
func speaksTLS(tb testing.TB, bin string) {
	tb.Helper()
	// It listens nowhere, and so ends at once; without TLS because it does not know
	// the setting.
	out, _ := exec.Command(bin, "--port", "0", "--tls-port", "0").CombinedOutput()
	if strings.Contains(string(out), "FATAL CONFIG FILE ERROR") {
		Skip(tb, "valkey-server was built without TLS: it does not know --tls-port")
	}
}

// URL is what valkeystore.Open takes.
func (s *TLSServer) URL() string { return "valkeys://" + s.secure }

// signer is an authority.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// authority is this process's: the system's are read once.
var authority = sync.OnceValues(func() (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &signer{template("servertest authority"), key}
	a.cert.IsCA, a.cert.BasicConstraintsValid, a.cert.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err != nil {
		return nil, err
	}
	a.cert, err = x509.ParseCertificate(der)
	return a, err
})

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// sign writes the authority's certificate, and a server's with its key.
func (a *signer) sign(ca, cert, key string) error {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c := template("servertest server")
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, k.Public(), a.key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		ca: {Type: "CERTIFICATE", Bytes: a.cert.Raw}, cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
