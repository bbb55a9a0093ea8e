package valkeystore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/backend/backendtest"
	"github.com/bellwethercache/bellwether/internal/servertest"
)

// TestConformanceTLS: every connection, those of subscriptions and of tracking too.
func TestConformanceTLS(t *testing.T) {
	srv := servertest.TLS(t)
	for _, mode := range append([]backend.CoherenceMode{backend.CoherencePublish}, tracking...) {
		t.Run(string(mode), func(t *testing.T) {
			url := srv.URL()
			byMessages := mode == backend.CoherencePublish // leases are no matter of tracking
			if byMessages {
				url = strings.Replace(url, "valkeys", "rediss", 1)
			}
			open := func(tb testing.TB) backend.Store { return telling(tb, url, namespace(tb), mode) }
			backendtest.RunStore(t, backendtest.StoreHarness{
				New: open, Peer: func(tb testing.TB, _ backend.Store) backend.Store { return open(tb) },
				Leases: byMessages, Clock: byMessages, Wakes: byMessages, Multi: byMessages, Swaps: true, Tags: true,
			})
		})
	}
	t.Run("another name", func(t *testing.T) {
		s := open(t, strings.Replace(srv.URL(), "127.0.0.1", "localhost", 1), "n")
		if err := s.Set(t.Context(), "k", []byte("v"), time.Minute); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Set = %v at a server whose certificate is for another name, want ErrUnavailable", err)
		}
	})
	t.Run("without TLS", func(t *testing.T) {
		s := open(t, strings.Replace(srv.URL(), "valkeys", "valkey", 1), "n")
		if err := s.Set(t.Context(), "k", []byte("v"), time.Minute); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Set = %v at a port that wants TLS, want ErrUnavailable", err)
		}
	})
}
