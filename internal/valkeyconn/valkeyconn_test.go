package valkeyconn

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"
	"go.uber.org/goleak"

	"github.com/bellwethercache/bellwether/backend"
)

func TestMain(m *testing.M) {
	// A cluster's client asks for the topology up to a second after an error.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*call).DelayDo.func1"))
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		url, addr, user, password string
		db                        int
		tls                       bool
	}{
		{"valkey://localhost", "localhost:6379", "", "", 0, false},
		{"redis://127.0.0.1:7000/3", "127.0.0.1:7000", "", "", 3, false},
		{"rediss://app:s%40cret@cache.example:6380/1", "cache.example:6380", "app", "s@cret", 1, true},
		{"valkeys://:pw@cache.example", "cache.example:6379", "", "pw", 0, true},
		{"valkey://app:pw@localhost", "localhost:6379", "app", "pw", 0, false},
		{"unix:///run/valkey.sock?db=2", "/run/valkey.sock", "", "", 2, false},
		{"valkey://app:pw@10.0.0.7?plaintext_password=1", "10.0.0.7:6379", "app", "pw", 0, false},
	} {
		o, err := Options(tc.url)
		if err != nil {
			t.Errorf("%s: %v", tc.url, err)
			continue
		}
		if o.InitAddress[0] != tc.addr || o.Username != tc.user || o.Password != tc.password || o.SelectDB != tc.db || (o.TLSConfig != nil) != tc.tls {
			t.Errorf("%s: %v %q %q %d tls %t", tc.url, o.InitAddress, o.Username, o.Password, o.SelectDB, o.TLSConfig != nil)
		}
		if o.TLSConfig != nil && o.TLSConfig.InsecureSkipVerify {
			t.Errorf("%s: TLS is not verified", tc.url)
		}
		// What keeps one caller's deadline from another's call, and a start
		// without a server from failing.
		if !o.AlwaysPipelining || !o.DisableRetry || !o.DisableCache || !o.ForceSingleClient ||
			o.Dialer.Timeout != time.Second || o.Dialer.KeepAlive != 500*time.Millisecond || o.ConnWriteTimeout != time.Second {
			t.Errorf("%s: settings %t %t %t %t %v %v %v", tc.url, o.AlwaysPipelining, o.DisableRetry, o.DisableCache, o.ForceSingleClient,
				o.Dialer.Timeout, o.Dialer.KeepAlive, o.ConnWriteTimeout)
		}
	}
}

func TestRefusedURLs(t *testing.T) {
	for _, url := range []string{
		"", "localhost:6379", "http://localhost", "valkey://app:p%sswordsecret@host", "rediss://h?skip_verify=true",
		"valkey://app:secret@cache.example", "valkey://h/notanumber", "valkey://app:secret@h1,h2", "valkey+cluster://app:secret@127.0.0.1,h2",
		"valkey+cluster://a,,b", "valkey+cluster://a/1", "valkey+sentinel://a", "valkey+sentinel://a/", "valkey+sentinel://a/m/x", "valkey+ring://a", "unix+cluster:///secret",
		"valkey+cluster://app:p%sswordsecret@h", "valkey://:secret@\x00h", "valkey://h/1/2",
	} {
		_, err := Options(url)
		if err == nil || !strings.HasPrefix(err.Error(), "URL: ") || strings.Contains(err.Error(), "secret") {
			t.Errorf("Options(%q) = %v, want an error that begins with URL: and quotes no password", url, err)
		}
	}
}

func TestDeployments(t *testing.T) {
	for _, tc := range []struct {
		url, addrs, master string
		db                 int
	}{
		{"valkey+cluster://a,b:7000,[::1]:7001", "a:6379 b:7000 [::1]:7001", "", 0},
		{"redis://a:7000?addr=b:7001&addr=c", "a:7000 b:7001 c:6379", "", 0},
		{"rediss+cluster://app:s%40cret@a,b", "a:6379 b:6379", "", 0},
		{"valkey+sentinel://a,b:5000/mymaster", "a:26379 b:5000", "mymaster", 0},
		{"redis+sentinel://a/my%20master/3", "a:26379", "my master", 3},
		{"valkeys+sentinel://app:s%40cret@a,b/m?dial_timeout=2s", "a:26379 b:26379", "m", 0},
		{"redis://a:5000/2?master_set=m&addr=b:5001", "a:5000 b:5001", "m", 2},
		{"valkey+sentinel://app:pw@127.0.0.1,localhost/m", "127.0.0.1:26379 localhost:26379", "m", 0},
	} {
		o, err := Options(tc.url)
		if err != nil {
			t.Errorf("%s: %v", tc.url, err)
			continue
		}
		if got := strings.Join(o.InitAddress, " "); got != tc.addrs || o.Sentinel.MasterSet != tc.master || o.SelectDB != tc.db {
			t.Errorf("%s: %q %q %d", tc.url, got, o.Sentinel.MasterSet, o.SelectDB)
		}
		if o.ForceSingleClient || !o.AlwaysPipelining || !o.DisableRetry || o.Dialer.Timeout == 0 || o.ConnWriteTimeout != time.Second {
			t.Errorf("%s: settings %t %t %t %v %v", tc.url, o.ForceSingleClient, o.AlwaysPipelining, o.DisableRetry, o.Dialer.Timeout, o.ConnWriteTimeout)
		}
		tls, secret := strings.HasPrefix(tc.url, "valkeys") || strings.HasPrefix(tc.url, "rediss"), strings.Contains(tc.url, "s%40cret")
		if tls != (o.TLSConfig != nil) || tls && o.TLSConfig.ServerName != "" || secret && (o.Username != "app" || o.Password != "s@cret") {
			t.Errorf("%s: tls %+v, user %q", tc.url, o.TLSConfig, o.Username)
		}
		if s := o.Sentinel; tc.master != "" && (s.Dialer.Timeout != o.Dialer.Timeout || s.TopologyRefreshInterval == 0 || s.Password != "" || tls != (s.TLSConfig != nil)) {
			t.Errorf("%s: Sentinels are asked with %v, %v", tc.url, s.Dialer.Timeout, s.TopologyRefreshInterval)
		}
		if tc.master == "" && (o.ClusterOption.ShardsRefreshInterval == 0 || o.ClusterOption.MaxMovedRedirections == 0) {
			t.Errorf("%s: %+v", tc.url, o.ClusterOption)
		}
	}
}

// TestNobodyThereYet: of a cluster, or of Sentinels, somebody must answer before
// there is a client.
func TestNobodyThereYet(t *testing.T) {
	for _, url := range []string{"valkey+cluster://127.0.0.1:1", "valkey+sentinel://127.0.0.1:1/m"} {
		c, err := Open(url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second without waiting for an attempt
			if _, err := c.Client(t.Context()); !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("%s: Client = %v, want ErrUnavailable", url, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if _, err := c.Await(ctx); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%s: Await = %v, want ErrUnavailable", url, err)
		}
		cancel()
		c.Close()
		c.Close()
	}
}

// hung is a client that honours no context.
type hung struct {
	valkey.Client
	end chan struct{}
}

func (h hung) Do(context.Context, valkey.Completed) valkey.ValkeyResult {
	<-h.end
	return valkey.ValkeyResult{}
}

func (h hung) DoMulti(_ context.Context, cmds ...valkey.Completed) []valkey.ValkeyResult {
	<-h.end
	return make([]valkey.ValkeyResult, len(cmds))
}

func (h hung) Mode() valkey.ClientMode { return valkey.ClientModeCluster }

func TestAClustersCallsEndWithTheirContext(t *testing.T) {
	end := make(chan struct{})
	c, err := Borrow(hung{end: end}).Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Do(ctx, valkey.Completed{}).Error(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Do = %v", err)
	}
	for _, r := range c.DoMulti(ctx, valkey.Completed{}, valkey.Completed{}) {
		if !errors.Is(r.Error(), context.DeadlineExceeded) {
			t.Errorf("DoMulti = %v", r.Error())
		}
	}
	close(end)
	if n := len(c.DoMulti(t.Context(), valkey.Completed{}, valkey.Completed{})); n != 2 {
		t.Errorf("DoMulti = %d results, want 2", n)
	}
}
