// SPDX-License-Identifier: Apache-2.0

package collateral_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/snp"
	"enarx.dev/enarx/internal/collateral"
	"enarx.dev/enarx/internal/collateral/fakevendor"
)

const milanCRL = "/vcek/v1/Milan/crl"

// TestFaults has the vendor misbehave in every way, and then not any more.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault fakevendor.Fault
		err   string        // of the first question; "" none
		asked int           // by then
		took  time.Duration // at most; at least half of it
		pause time.Duration // for which nobody asks again: not just before it is over, and just after
	}{
		{"500 once", fakevendor.Fault{Status: 500, Times: 1}, "", 2, 375 * time.Millisecond, 0},
		{"dropped twice", fakevendor.Fault{Drop: true, Times: 2}, "", 3, 1125 * time.Millisecond, 0},
		{"429, then", fakevendor.Fault{Status: 429, RetryAfter: "4", Times: 1}, "", 2, 4 * time.Second, 0},
		{"429", fakevendor.Fault{Status: 429, RetryAfter: "120", Times: 1}, "429 Too Many Requests, wait 2m0s", 1, 0, 2 * time.Minute},
		{"429 until a date", fakevendor.Fault{Status: 429, RetryAfter: begin.Add(5 * time.Minute).Format("Mon, 02 Jan 2006 15:04:05 GMT"), Times: 1},
			"429 Too Many Requests, wait 5m0s", 1, 0, 5 * time.Minute},
		{"429 for ever", fakevendor.Fault{Status: 429, RetryAfter: "99999999999999", Times: 1}, "wait 1h0m0s", 1, 0, time.Hour},
		{"503", fakevendor.Fault{Status: 503, Times: 3}, "503 Service Unavailable", 3, 1125 * time.Millisecond, 0},
		{"garbage", fakevendor.Fault{Garbage: true, Times: 3}, "the answer is not that document", 1, 0, 0},
		{"a bit too much", fakevendor.Fault{Huge: 1, Times: 1}, "the answer is not that document", 1, 0, 0},
		{"huge", fakevendor.Fault{Huge: 2 << 20, Times: 1}, "too big: over 1048576 bytes", 1, 0, 0},
		{"half", fakevendor.Fault{Truncate: true, Times: 1}, "the answer is not that document", 1, 0, 0},
		{"redirect", fakevendor.Fault{Redirect: "https://elsewhere.test/", Times: 1}, "302 Found", 1, 0, 0},
		{"silence", fakevendor.Fault{Delay: time.Hour, Times: 3}, "deadline exceeded", 3, 33 * time.Second, 0},
		{"403", fakevendor.Fault{Status: 403, Times: 1}, "403 Forbidden", 1, 0, 0},
		{"404", fakevendor.Fault{Status: 404, Times: 1}, "404 Not Found", 1, 0, 10 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inTime(t, func(t *testing.T) {
				v := fakevendor.Of(world())
				v.Fail(milanCRL, tt.fault)
				f := fetcher(t, v)
				ask := func() error { _, err := f.Get(t.Context(), collateral.AMDCRL("Milan", false)); return err }
				err := ask()
				took := time.Since(begin)
				if (tt.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("%v, want %q", err, tt.err)
				}
				if n := v.Asked(milanCRL); n != tt.asked || took > tt.took || took < tt.took/2 {
					t.Errorf("asked %d times in %v, want %d in %v", n, took, tt.asked, tt.took)
				}
				if err == nil {
					return
				}
				v.Fail(milanCRL, fakevendor.Fault{})
				if err := ask(); err == nil || v.Asked(milanCRL) != tt.asked {
					t.Errorf("asked again at once: %v", err)
				}
				if tt.pause > 0 {
					time.Sleep(tt.pause - time.Since(begin) - time.Millisecond)
					if err := ask(); err == nil || v.Asked(milanCRL) != tt.asked {
						t.Errorf("asked again too early: %v", err)
					}
					time.Sleep(2 * time.Millisecond)
				} else {
					time.Sleep(7 * time.Second) // the first break, and its jitter
				}
				if err := ask(); err != nil || v.Asked(milanCRL) != tt.asked+1 {
					t.Errorf("after the pause: %v, asked %d times", err, v.Asked(milanCRL))
				}
			})
		})
	}
}

// TestBreaks: the longer an outage, the less often it is looked at, and another
// kind of document is not held up by it.
func TestBreaks(t *testing.T) {
	inTime(t, func(t *testing.T) {
		v := fakevendor.Of(world())
		v.Fail("/vcek/v1/Milan/crl", fakevendor.Fault{Status: 500})
		f := fetcher(t, v)
		for time.Since(begin) < 24*time.Hour {
			_, _ = f.Get(t.Context(), collateral.AMDCRL("Milan", false))
			time.Sleep(time.Second)
		}
		// Three requests a flight; flights 5, 10, 20 … seconds apart and at last 15 minutes.
		if n := v.Asked(milanCRL); n < 3*80 || n > 3*140 {
			t.Errorf("asked %d times in a day", n)
		}
		if _, err := f.Get(t.Context(), collateral.AMDChain("Milan", false)); err != nil {
			t.Error(err)
		}
	})
}

// TestGrowingOld follows a CRL through its life: fresh, due, out of date.
func TestGrowingOld(t *testing.T) {
	const day = 24 * time.Hour
	inTime(t, func(t *testing.T) {
		w, v := world(), fakevendor.Of(world())
		f := fetcher(t, v)
		path := "/sgx/certification/v4/pckcrl"
		get := func() (*collateral.Document, error) {
			d, err := f.Get(t.Context(), collateral.PCKCRL("platform"))
			synctest.Wait() // for what goes on in the background
			return d, err
		}
		first, err := get()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		if d, err := get(); err != nil || d != first || v.Asked(path) != 1 {
			t.Errorf("fresh: %v, asked %d times", err, v.Asked(path))
		}
		// Due: the old one is given out while a new one is looked for.
		newer := w.Intel.PCKCRL(attesttest.PlatformCA, func(c *attesttest.CRL) { c.ThisUpdate = begin.Add(time.Hour) })
		v.Set(path+"?ca=platform&encoding=der", fakevendor.Document{Body: newer, Header: map[string]string{
			"SGX-PCK-CRL-Issuer-Chain": string(attesttest.PEM(w.Intel.CA(attesttest.PlatformCA), w.Intel.Root()))}})
		v.Fail(path, fakevendor.Fault{Delay: 5 * time.Second, Times: 1})
		time.Sleep(2 * time.Hour)
		if d, err := get(); err != nil || d != first || v.Asked(path) != 2 {
			t.Errorf("due: %v, asked %d times", err, v.Asked(path))
		}
		time.Sleep(6 * time.Second)
		second, err := get()
		if err != nil || !second.Issued.Equal(begin.Add(time.Hour)) {
			t.Fatalf("refreshed: %v, %v", err, second.Issued)
		}
		// An outage is not noticed until the CRL is out of date.
		v.Fail(path, fakevendor.Fault{Status: 500})
		time.Sleep(25 * day)
		if d, err := get(); err != nil || d != second {
			t.Errorf("in an outage: %v", err)
		}
		time.Sleep(5 * day)
		d, err := get()
		if all := collateral.Failures(err); len(all) != 1 || all[0].Code != "collateral.crl" || d != second {
			t.Errorf("out of date: %v, %v", d, err)
		}
		if time.Now().Before(d.Next) {
			t.Error("the test's clock is wrong")
		}
	})
}

// TestMaxAge: what the policy would refuse for its age is not given out if the
// vendor has a newer one, and the vendor is not asked all the time if not.
func TestMaxAge(t *testing.T) {
	inTime(t, func(t *testing.T) {
		v := fakevendor.Of(world())
		var maxAge time.Duration
		f := fetcher(t, v, func(c *collateral.Config) { c.MaxAge = func() time.Duration { return maxAge } })
		for range 10 {
			if _, err := f.Get(t.Context(), collateral.AMDCRL("Milan", false)); err != nil {
				t.Error(err)
			}
		}
		maxAge = 7 * 24 * time.Hour    // a new policy
		time.Sleep(6 * 24 * time.Hour) // it is eight days old
		newer := world().AMD.Milan.CRL(func(c *attesttest.CRL) { c.ThisUpdate = begin.Add(24 * time.Hour) })
		v.Set(milanCRL, fakevendor.Document{Body: newer})
		d, err := f.Get(t.Context(), collateral.AMDCRL("Milan", false))
		if err != nil || !d.Issued.Equal(begin.Add(24*time.Hour)) || v.Asked(milanCRL) != 2 {
			t.Errorf("%v, %v, asked %d times", err, d.Issued, v.Asked(milanCRL))
		}
		time.Sleep(30 * 24 * time.Hour)
		for range 10 {
			if d, err := f.Get(t.Context(), collateral.AMDCRL("Milan", false)); err != nil || d == nil {
				t.Errorf("the vendor has nothing newer: %v", err)
			}
		}
		if v.Asked(milanCRL) != 3 {
			t.Errorf("asked %d times", v.Asked(milanCRL))
		}
	})
}

// TestRollback: an older list does not take the place of a newer one.
func TestRollback(t *testing.T) {
	inTime(t, func(t *testing.T) {
		v := fakevendor.Of(world())
		f := fetcher(t, v)
		first, err := f.Get(t.Context(), collateral.AMDCRL("Milan", false))
		if err != nil {
			t.Fatal(err)
		}
		older := world().AMD.Milan.CRL(func(c *attesttest.CRL) { c.ThisUpdate = begin.Add(-100 * time.Hour) })
		v.Set(milanCRL, fakevendor.Document{Body: older})
		for range 3 {
			time.Sleep(5 * time.Hour)
			d, err := f.Get(t.Context(), collateral.AMDCRL("Milan", false))
			if err != nil || !d.Issued.Equal(first.Issued) {
				t.Errorf("%v, %v", err, d.Issued)
			}
			synctest.Wait()
		}
		if v.Asked(milanCRL) != 4 {
			t.Errorf("asked %d times", v.Asked(milanCRL))
		}
	})
}

// TestSingleFlight: a hundred questions are one request.
func TestSingleFlight(t *testing.T) {
	inTime(t, func(t *testing.T) {
		v := fakevendor.Of(world())
		v.Fail("/", fakevendor.Fault{Delay: time.Second})
		f := fetcher(t, v)
		ev := report(world().AMD.Milan)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if c, err := f.For(t.Context(), ev); err != nil || len(c.Certificates) != 2 {
					t.Errorf("%v, %s", err, holds(c))
				}
			})
		}
		wg.Wait()
		for path, n := range v.Paths() {
			if n != 1 {
				t.Errorf("%s: %d requests", path, n)
			}
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("took %v: the documents were not asked for at once", took)
		}
		// Who decided to ask while the flight was landing does not ask again.
		collateral.Share(f, collateral.AMDCRL("Milan", false))
		if v.Asked(milanCRL) != 1 {
			t.Errorf("asked %d times", v.Asked(milanCRL))
		}
	})
}

// TestPatience: who cannot wait gets what there is, and the next one the rest.
func TestPatience(t *testing.T) {
	inTime(t, func(t *testing.T) {
		v := fakevendor.Of(world())
		v.Fail(milanCRL, fakevendor.Fault{Delay: 5 * time.Second})
		f := fetcher(t, v)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		c, err := f.For(ctx, report(world().AMD.Milan))
		if !errors.Is(err, context.DeadlineExceeded) || len(c.Certificates) != 2 || len(c.CRLs) != 0 {
			t.Errorf("%v, %s", err, holds(c))
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		c, err = f.For(t.Context(), report(world().AMD.Milan))
		if err != nil || len(c.CRLs) != 1 || v.Asked(milanCRL) != 1 {
			t.Errorf("%v, %s, asked %d times", err, holds(c), v.Asked(milanCRL))
		}
	})
}

// TestSilence: once a service has let somebody wait in vain, others do not wait
// for it. It is asked in the background until it answers.
func TestSilence(t *testing.T) {
	inTime(t, func(t *testing.T) {
		v := fakevendor.Of(world())
		v.Fail(milanCRL, fakevendor.Fault{Delay: time.Hour})
		f := fetcher(t, v)
		ask := func() (took time.Duration, err error) {
			start := time.Now()
			_, err = f.For(t.Context(), report(world().AMD.Milan))
			return time.Since(start), err
		}
		if took, err := ask(); err == nil || took < 20*time.Second {
			t.Fatalf("%v after %v", err, took)
		}
		for range 600 {
			time.Sleep(time.Second)
			if took, err := ask(); took != 0 || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("waited for %v: %v", took, err)
			}
		}
		if n := v.Asked(milanCRL); n < 6 || n > 40 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		v.Fail(milanCRL, fakevendor.Fault{})
		time.Sleep(20 * time.Minute) // longer than a service is left alone
		_, _ = ask()
		synctest.Wait()
		if took, err := ask(); took != 0 || err != nil {
			t.Errorf("it answers again: %v after %v", err, took)
		}
	})
}

// TestStrangers: evidence of chips that do not exist costs the vendor's
// patience and our memory only so much.
func TestStrangers(t *testing.T) {
	inTime(t, func(t *testing.T) {
		v := fakevendor.Of(world())
		f := fetcher(t, v)
		busy := 0
		for i := range 6000 {
			var chip [64]byte
			copy(chip[:], fmt.Sprint("chip ", i))
			_, err := f.Get(t.Context(), collateral.VCEK("Milan", chip, snp.TCBVersion{}))
			if !errors.Is(err, collateral.ErrNoSuch) {
				busy++
			}
		}
		if n := v.Asked("/vcek"); n != 200 || busy != 5800 {
			t.Errorf("asked %d times, refused %d", n, busy)
		}
		if n := collateral.Slots(f); n > 2*2048 {
			t.Errorf("%d documents are remembered", n)
		}
		time.Sleep(10 * time.Second)
		if c, err := f.For(t.Context(), report(world().AMD.Milan)); err != nil || len(c.Certificates) != 2 {
			t.Errorf("an honest chip afterwards: %v", err)
		}
	})
}

// TestDisk: what one Fetcher got, the next has.
func TestDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	w := world()
	evidence := []*attest.Evidence{report(w.AMD.Milan), {Technology: attest.TDX, Report: w.Machine().QuoteTDX(4)}}
	all := func(t *testing.T, f *collateral.Fetcher) (s string) {
		for _, ev := range evidence {
			c, err := f.For(t.Context(), ev)
			if err != nil {
				t.Error(err)
			}
			s += holds(c) + "\n"
		}
		return s
	}
	var log strings.Builder
	cached := func(c *collateral.Config) { c.Cache, c.Log = dir, slog.New(slog.NewTextHandler(&log, nil)) }
	inTime(t, func(t *testing.T) {
		want := all(t, fetcher(t, fakevendor.Of(w), cached))
		v := fakevendor.New() // has nothing
		if got := all(t, fetcher(t, v, cached)); got != want || len(v.Paths()) != 0 {
			t.Errorf("%s, asked for %v", got, v.Paths())
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", err, info.Mode())
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.collateral"))
		if err != nil || len(files) != 7 {
			t.Fatalf("%v, %q", err, files)
		}
		// Damaged, truncated, empty or swapped, a file is no document.
		for i, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			switch i % 4 {
			case 0:
				data[len(data)-1] ^= 1
			case 1:
				data = data[:len(data)/2]
			case 2:
				data = nil
			case 3:
				if data, err = os.ReadFile(files[i-1]); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		v = fakevendor.Of(w)
		if got := all(t, fetcher(t, v, cached)); got != want || len(v.Paths()) != 7 {
			t.Errorf("%s, asked for %v", got, v.Paths())
		}
		if n := strings.Count(log.String(), "is of no use"); n != 7 {
			t.Errorf("%d of 7 damaged files are logged:\n%s", n, &log)
		}
	})
}

// TestUntrustedDisk: the cache of other roots vouches for nothing here.
func TestUntrustedDisk(t *testing.T) {
	dir := t.TempDir()
	cached := func(c *collateral.Config) { c.Cache = dir }
	inTime(t, func(t *testing.T) {
		other := another()
		f := fetcher(t, fakevendor.Of(other), cached, func(c *collateral.Config) { c.Roots = other.Roots() })
		if _, err := f.Get(t.Context(), collateral.AMDCRL("Milan", false)); err != nil {
			t.Fatal(err)
		}
		v := fakevendor.Of(world())
		d, err := fetcher(t, v, cached).Get(t.Context(), collateral.AMDCRL("Milan", false))
		if err != nil || v.Asked(milanCRL) != 1 || string(d.Body) != string(world().AMD.Milan.CRL()) {
			t.Errorf("%v, asked %d times", err, v.Asked(milanCRL))
		}
	})
}
