package valkeyconn

import (
	"strings"
	"testing"
	"time"
)

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
		"valkey://app:secret@cache.example", "valkey://h/notanumber", "valkey://:secret@\x00h", "valkey://h/1/2",
	} {
		_, err := Options(url)
		if err == nil || !strings.HasPrefix(err.Error(), "URL: ") || strings.Contains(err.Error(), "secret") {
			t.Errorf("Options(%q) = %v, want an error that begins with URL: and quotes no password", url, err)
		}
	}
}
