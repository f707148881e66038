// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/internal/credentials"
	"enarx.dev/enarx/oidctest"
)

// failing is a store that can be told to take nothing.
type failing struct {
	credentials.Store
	mu   sync.Mutex
	sets int // that succeed from now on; negative: all
}

func (f *failing) Set(ctx context.Context, account, secret string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sets == 0 {
		return errors.New("disk full")
	}
	f.sets--
	return f.Store.Set(ctx, account, secret)
}

func newAccount(t *testing.T) (*Account, *failing) {
	t.Helper()
	dir := t.TempDir()
	file, err := credentials.NewFile(dir, dir, "")
	if err != nil {
		t.Fatal(err)
	}
	store := &failing{Store: file, sets: -1}
	return &Account{
		Store: store, Name: "auth.example-store.example", Old: "auth.example", Dir: dir,
		Discover: func(ctx context.Context, issuer string) (*Provider, error) {
			return Discover(ctx, http.DefaultTransport, issuer)
		},
	}, store
}

// another is the same account in another process.
func another(a *Account) *Account {
	return &Account{Store: a.Store, Name: a.Name, Old: a.Old, Dir: a.Dir, Secret: a.Secret, Discover: a.Discover}
}

// signIn signs in at the provider with tokens of that life.
func signIn(t *testing.T, p *oidctest.Provider, a *Account, audience string) *Session {
	t.Helper()
	found, err := Discover(t.Context(), http.DefaultTransport, p.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	s, err := found.Device(t.Context(), Request{ClientID: "cli", Audience: audience}, func(Prompt) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Save(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t *testing.T, life time.Duration) *oidctest.Provider {
	return oidctest.Start(t, oidctest.Options{Life: life, Approve: func(string) string { return "someone" }})
}

// TestStaysSignedIn: a token that ends is exchanged, each time by one process.
func TestStaysSignedIn(t *testing.T) {
	for name, audience := range map[string]string{"jwt": store, "opaque": ""} {
		t.Run(name, func(t *testing.T) {
			p := start(t, 30*time.Second) // which is as good as over
			a, _ := newAccount(t)
			first := signIn(t, p, a, audience)
			before := p.Requests("/oauth/token")
			var all sync.WaitGroup
			for range 5 {
				all.Go(func() {
					token, err := another(a).Token(t.Context())
					if err != nil || token == "" {
						t.Error(err)
					}
				})
			}
			all.Wait()
			s, err := a.Session(t.Context())
			if err != nil || s.Access == first.Access || s.Refresh == first.Refresh {
				t.Fatalf("%+v, %v", s, err)
			}
			// Tokens of this provider are always nearly over, so each process asks for
			// its own. None of them may have come with a refresh token that was used.
			if asked := p.Requests("/oauth/token") - before; asked < 1 || asked > 5 {
				t.Errorf("%d requests", asked)
			}
			if bare, err := a.Store.Get(t.Context(), a.Name); err != nil || bare != s.Access {
				t.Errorf("upstream would find %q, %v", bare, err)
			}
		})
	}
}

func TestRenewOnce(t *testing.T) {
	p := start(t, time.Hour)
	a, _ := newAccount(t)
	first := signIn(t, p, a, store)
	if token, err := a.Token(t.Context()); err != nil || token != first.Access {
		t.Fatalf("%v", err)
	}
	before := p.Requests("/oauth/token")
	var all sync.WaitGroup
	others := []*Account{another(a), another(a), another(a), a, a}
	got := make([]string, len(others))
	for i, o := range others {
		all.Go(func() {
			token, err := o.Renew(t.Context(), first.Access) // a store refused it
			if err != nil {
				t.Error(err)
			}
			got[i] = token
		})
	}
	all.Wait()
	for _, token := range got {
		if token != got[0] || token == first.Access {
			t.Errorf("tokens differ, or nothing is new")
		}
	}
	if asked := p.Requests("/oauth/token") - before; asked != 1 {
		t.Errorf("%d requests", asked)
	}
}

func TestAccountEnds(t *testing.T) {
	p := start(t, 30*time.Second)
	ctx := t.Context()
	a, disk := newAccount(t)
	if _, err := a.Token(ctx); !errors.Is(err, credentials.ErrNotFound) {
		t.Errorf("never signed in: %v", err)
	}
	if _, err := a.Session(ctx); !errors.Is(err, credentials.ErrNotFound) {
		t.Errorf("never signed in: %v", err)
	}

	// What upstream stored: no way to renew it, but it may be good.
	if err := disk.Set(ctx, a.Name, p.Mint(nil)); err != nil {
		t.Fatal(err)
	}
	token, err := another(a).Token(ctx)
	if err != nil {
		t.Error(err)
	}
	if _, err := another(a).Renew(ctx, token); !errors.Is(err, ErrEnded) {
		t.Errorf("no refresh token: %v", err)
	}
	if err := disk.Set(ctx, a.Name, p.Forge(oidctest.Fault{Expired: true}, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := another(a).Token(ctx); !errors.Is(err, ErrEnded) {
		t.Errorf("over, no refresh token: %v", err)
	}

	// The provider has ended the session.
	s := signIn(t, p, a, store)
	p.Revoke(s.Refresh)
	if _, err := another(a).Renew(ctx, s.Access); !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("revoked: %v", err)
	}
	// A provider that is down does not end what is still good.
	s = signIn(t, p, a, store)
	p.Misbehave(oidctest.Fault{Down: true})
	if token, err := another(a).Token(ctx); err != nil || token != s.Access {
		t.Errorf("provider down: %v", err)
	}
	if _, err := another(a).Renew(ctx, s.Access); err == nil || errors.Is(err, ErrEnded) {
		t.Errorf("provider down, token refused: %v", err)
	}
	p.Misbehave(oidctest.Fault{})

	if err := a.Forget(ctx); err != nil {
		t.Error(err)
	}
	if _, err := a.Token(ctx); !errors.Is(err, credentials.ErrNotFound) {
		t.Errorf("forgotten: %v", err)
	}
	// As the manual of upstream has it.
	if err := disk.Set(ctx, a.Old, "by-hand"); err != nil {
		t.Fatal(err)
	}
	if token, err := a.Token(ctx); err != nil || token != "by-hand" {
		t.Errorf("%q, %v", token, err)
	}
	if err := disk.Set(ctx, a.Old, "two words"); err != nil {
		t.Fatal(err)
	}
	if _, err := another(a).Token(ctx); !errors.Is(err, ErrNotToken) || strings.Contains(err.Error(), "words") {
		t.Errorf("%v", err)
	}
}

// TestNotKept: a refresh token is not spent where the next one cannot be kept,
// and a session is whole wherever storing it was cut short.
func TestNotKept(t *testing.T) {
	p := start(t, time.Hour)
	ctx := t.Context()
	for sets := range 4 {
		a, disk := newAccount(t)
		first := signIn(t, p, a, store)
		disk.sets = sets
		var warned string
		b := another(a)
		b.Warn = func(text string) { warned = text }
		token, err := b.Renew(ctx, first.Access)
		disk.sets = -1
		switch sets {
		case 0:
			if err == nil || errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "disk full") {
				t.Errorf("%d: %v", sets, err)
			}
		default:
			if err != nil || token == first.Access || (warned != "") != (sets < 3) {
				t.Errorf("%d: %v, warned %q", sets, err, warned)
			}
		}
		// The next process: only where the provider gave a new refresh token and
		// no disk took it, the session is over.
		_, err = another(a).Renew(ctx, first.Access)
		if lost := sets == 1; lost != errors.Is(err, ErrEnded) || !lost && err != nil {
			t.Errorf("%d: afterwards: %v", sets, err)
		}
	}
	// Only the refresh token came to be stored.
	a, disk := newAccount(t)
	signIn(t, p, a, store)
	if err := disk.Delete(ctx, a.Name); err != nil {
		t.Fatal(err)
	}
	if token, err := another(a).Token(ctx); err != nil || token == "" {
		t.Errorf("%v", err)
	}
}

func TestClientAnew(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{Clients: map[string]string{"robot": "s3cret"}})
	found, err := Discover(t.Context(), http.DefaultTransport, p.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	s, err := found.ClientCredentials(t.Context(), Request{ClientID: "robot", Secret: "s3cret", Audience: store})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := newAccount(t)
	if err := a.Save(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, err := another(a).Renew(t.Context(), s.Access); !errors.Is(err, ErrEnded) {
		t.Errorf("without the secret: %v", err)
	}
	a.Secret = "s3cret"
	if token, err := another(a).Renew(t.Context(), s.Access); err != nil || token == s.Access {
		t.Errorf("%v", err)
	}
	a.Secret = "wr0ng"
	if _, err := another(a).Renew(t.Context(), s.Access+"x"); err != nil {
		// The stored token is not the one that was refused, and good.
		t.Errorf("%v", err)
	}
}

// TestHelperAlone: a helper that knows one secret, whatever the account.
func TestHelperAlone(t *testing.T) {
	a, disk := newAccount(t)
	disk.Store = one{"the-token"}
	if token, err := a.Token(t.Context()); err != nil || token != "the-token" {
		t.Errorf("%q, %v", token, err)
	}
	if _, err := a.Renew(t.Context(), "the-token"); !errors.Is(err, ErrEnded) {
		t.Errorf("%v", err)
	}
	if s, err := a.Session(t.Context()); err != nil || s.Access != "the-token" {
		t.Errorf("%+v, %v", s, err)
	}
}

type one struct{ secret string }

func (o one) Get(context.Context, string) (string, error) { return o.secret, nil }
func (o one) Set(context.Context, string, string) error   { return nil }
func (o one) Delete(context.Context, string) error        { return nil }
