package diskstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

const childFile = "BELLWETHER_DISKSTORE_CHILD"

// valueOf is what every writer writes under a key: its round, and bytes that
// depend on both.
func valueOf(key string, round int) string {
	return fmt.Sprint(round, ":", strings.Repeat(fmt.Sprint(key, round, " "), 1+round%500))
}

func sound(key, value string) bool {
	var round int
	_, err := fmt.Sscanf(value, "%d:", &round)
	return err == nil && value == valueOf(key, round)
}

// writeUntilKilled is the child: it says what it has written.
func writeUntilKilled(path string) {
	s, err := Open(path, &Options{MaxBytes: 8 << 20, FailIfDamaged: true})
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	for g := range 4 {
		go func() {
			for round := 0; ; round++ {
				key := fmt.Sprint("k", rand.IntN(500))
				if err := s.Set(context.Background(), key, []byte(valueOf(key, round)), time.Hour); err != nil {
					fmt.Println("set:", err)
					os.Exit(1)
				}
				mine := fmt.Sprint("mine", g)
				if err := s.Set(context.Background(), mine, []byte(valueOf(mine, round)), time.Hour); err != nil {
					fmt.Println("set:", err)
					os.Exit(1)
				}
				fmt.Println(g, round)
			}
		}()
	}
	select {}
}

// TestKilledInMidWrite: what was acknowledged is there, and nothing is damaged.
func TestKilledInMidWrite(t *testing.T) {
	path := fileIn(t)
	for range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childFile+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := [4]int{}
		lines, scan := 0, bufio.NewScanner(out)
		for scan.Scan() {
			var g, round int
			if _, err := fmt.Sscan(scan.Text(), &g, &round); err != nil {
				t.Fatalf("the child says %q", scan.Text())
			}
			last[g] = round
			if lines++; lines == 300+rand.IntN(200) || lines == 500 {
				_ = cmd.Process.Kill() // and read on to the end
			}
		}
		_ = cmd.Wait()
		if lines < 300 {
			t.Fatalf("the child wrote %d times", lines)
		}
		s := open(t, path, &Options{MaxBytes: 8 << 20, FailIfDamaged: true})
		n := 0
		for e, err := range s.Entries(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			value, err := s.Get(t.Context(), e.Key)
			if err != nil || !sound(e.Key, string(value)) {
				t.Fatalf("Get(%s) = %.50q, %v", e.Key, value, err)
			}
			n++
		}
		if index, data := count(t, s); index != n || data != n {
			t.Errorf("%d entries in the index, %d in the data, %d live", index, data, n)
		}
		for g, round := range last {
			value, err := s.Get(t.Context(), fmt.Sprint("mine", g))
			var got int
			_, _ = fmt.Sscanf(string(value), "%d:", &got)
			if err != nil || got < round {
				t.Errorf("writer %d was told that round %d is written; found %d, %v", g, round, got, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// filled makes a closed file with entries.
func filled(tb testing.TB) string {
	tb.Helper()
	path := fileIn(tb)
	s := open(tb, path, nil)
	err := s.do(tb.Context(), 1, func(t *tables) error { // in one transaction
		for i := range 2000 {
			key := fmt.Sprint("k", i)
			if err := t.put(key, record(key, []byte(valueOf(key, i)), s.now(), time.Hour)); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, s.Close()); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestADamagedFileIsPutAside(t *testing.T) {
	page := os.Getpagesize()
	for name, damage := range map[string]func(b []byte) []byte{
		"truncated":          func(b []byte) []byte { return b[:len(b)/2] },
		"truncated to metas": func(b []byte) []byte { return b[:2*page] },
		"truncated to a bit": func(b []byte) []byte { return b[:100] },
		"a page missing":     func(b []byte) []byte { return b[:len(b)-1] },
		"zeroes":             func(b []byte) []byte { clear(b); return b },
		"foreign":            func([]byte) []byte { return bytes.Repeat([]byte("hello "), 10_000) },
		"no metas":           func(b []byte) []byte { clear(b[:2*page]); return b },
		"noise behind metas": func(b []byte) []byte { noise(b[2*page:]); return b },
		"zero behind metas":  func(b []byte) []byte { clear(b[2*page:]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			path := filled(t)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b = damage(b)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err := Open(path, &Options{FailIfDamaged: true}); !errors.Is(err, ErrDamaged) {
				t.Errorf("Open = %v, want ErrDamaged", err)
				if err == nil {
					_ = s.Close()
				}
			}
			var warned []Warning
			s := open(t, path, &Options{Warn: func(w Warning) { warned = append(warned, w) }})
			if len(warned) != 1 || !errors.Is(warned[0].Err, ErrDamaged) || warned[0].Aside != path+".damaged" {
				t.Errorf("warned of %+v, want the file put aside", warned)
			}
			if aside, err := os.ReadFile(path + ".damaged"); err != nil || len(aside) != len(b) {
				t.Errorf("%d bytes put aside, want %d, %v", len(aside), len(b), err)
			}
			wantMiss(t, s, "k1")
			set(t, s, "k", "v", time.Hour)
			want(t, s, "k", "v")
			_ = s.Close()
			want(t, open(t, path, nil), "k", "v")
		})
	}
}

func noise(b []byte) {
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
}

// TestDamageWhileOpen overwrites pages of an open file, as a dying disk would:
// no call may give a wrong value, panic or hang, and the store goes on.
func TestDamageWhileOpen(t *testing.T) {
	page := int64(os.Getpagesize())
	for seed := range uint64(10) {
		path := filled(t)
		warned := 0
		s := open(t, path, &Options{Warn: func(w Warning) {
			warned++
			if !errors.Is(w.Err, ErrDamaged) {
				t.Errorf("warned of %v", w.Err)
			}
		}})
		r := rand.New(rand.NewPCG(seed, 0))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		info, _ := f.Stat()
		bad := make([]byte, page)
		for range 1 + 3*seed {
			noise(bad)
			if seed%3 == 0 {
				clear(bad)
			}
			at := 2 + r.Int64N(info.Size()/page-2)
			if _, err := f.WriteAt(bad, at*page); err != nil {
				t.Fatal(err)
			}
		}
		if seed == 9 {
			_ = f.Truncate(4 * page)
		}
		_ = f.Close()
		for i := range 2000 {
			key := fmt.Sprint("k", i)
			if value, err := s.Get(t.Context(), key); err == nil && !sound(key, string(value)) {
				t.Fatalf("Get(%s) = %.50q", key, value)
			}
			if i%20 == 0 {
				if err := s.Set(t.Context(), key, []byte(valueOf(key, i)), time.Hour); err != nil {
					t.Fatalf("Set = %v", err)
				}
			}
		}
		set(t, s, "k", "v", time.Hour)
		want(t, s, "k", "v")
		if warned == 0 {
			t.Errorf("seed %d: nothing was noticed", seed)
		}
		_ = s.Close()
	}
}

// TestTheMachineWentDown: pages of a file that was open then may have been
// written or not, in any order.
func TestTheMachineWentDown(t *testing.T) {
	path := filled(t)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(aboutBucket).Put(bootKey, []byte("another")) })
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, &Options{FailIfDamaged: true}); !errors.Is(err, ErrDamaged) {
		t.Errorf("Open = %v, want ErrDamaged", err)
	}
	wantMiss(t, open(t, path, nil), "k1")
}
