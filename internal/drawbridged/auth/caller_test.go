// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/oidctest"
)

// memory is a store of tokens and subjects.
type memory struct {
	mu       sync.Mutex
	records  map[string][]byte
	uses     map[string]map[int][]byte
	subjects map[string]string
	broken   error
}

func newMemory() *memory {
	return &memory{records: map[string][]byte{}, uses: map[string]map[int][]byte{}, subjects: map[string]string{}}
}

func (m *memory) TokenRecord(_ context.Context, id string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.records[id], m.broken
}

func (m *memory) TokenUse(_ context.Context, id string, n int) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.uses[id][n], m.broken
}

func (m *memory) ClaimTokenUse(_ context.Context, id string, n int, record []byte) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.uses[id] == nil {
		m.uses[id] = map[int][]byte{}
	}
	if m.uses[id][n] != nil {
		return false, nil
	}
	m.uses[id][n] = record
	return true, nil
}

func (m *memory) SubjectUser(_ context.Context, _, subject string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.subjects[subject], m.broken
}

func (m *memory) ClaimSubject(_ context.Context, _, subject, user string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subjects[subject] == "" {
		m.subjects[subject] = user
	}
	return m.subjects[subject], m.broken
}

// clock is a clock that tests turn.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) forward(d time.Duration) { c.ahead.Add(int64(d)) }

// A bench is an Authenticator with all it depends on.
type bench struct {
	*Authenticator
	idp   *oidctest.Provider
	store *memory
	clock clock
}

func newBench(t *testing.T, opts oidctest.Options, change func(*Config)) *bench {
	t.Helper()
	b := &bench{store: newMemory()}
	opts.Now = b.clock.Now
	b.idp = oidctest.Start(t, opts)
	cfg := Config{
		Issuer: b.idp.Issuer(), JWT: true, Audiences: []string{"testserver", "https://store.example/"},
		Tokens: b.store, Subjects: b.store, Now: b.clock.Now, Hosts: []string{testHost},
	}
	if change != nil {
		change(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Authenticator = a
	return b
}

// from returns the caller with the bearer token, at an address.
func (b *bench) from(attempt, token string) *Caller {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if attempt != "" {
		r.Header.Set(AttemptHeader, attempt)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return b.Caller(r)
}

// status of what a token can do: who it is, or the error.
func (b *bench) who(t *testing.T, token string) (Principal, *Denied) {
	t.Helper()
	p, err := b.from("", token).Authenticate(t.Context())
	if err == nil {
		return p, nil
	}
	d, ok := errors.AsType[*Denied](err)
	if !ok {
		t.Fatalf("not a *Denied: %v", err)
	}
	return p, d
}

func (b *bench) refused(t *testing.T, name, token string, status int, text, reason string) {
	t.Helper()
	p, d := b.who(t, token)
	if d == nil || d.Status != status || d.Text != text || !strings.Contains(d.Reason, reason) || p.Kind != Anonymous {
		t.Errorf("%s: %+v, %+v", name, p, d)
	}
}

func (b *bench) taken(t *testing.T, name, token, subject string) {
	t.Helper()
	if p, d := b.who(t, token); d != nil || p.Subject != subject || p.Kind == Anonymous {
		t.Errorf("%s: %+v, %+v", name, p, d)
	}
}

const invalidText = "Invalid token provided"

func TestBearer(t *testing.T) {
	b := newBench(t, oidctest.Options{}, nil)
	token := b.idp.Mint(nil)
	tests := []struct {
		name   string
		header []string
		status int
	}{
		{"none", nil, 401},
		{"good", []string{"Bearer " + token}, 0},
		{"lower case", []string{"bearer " + token}, 0},
		{"empty", []string{""}, 400},
		{"scheme only", []string{"Bearer"}, 400},
		{"no token", []string{"Bearer "}, 400},
		{"basic", []string{"Basic dGVzdDp0ZXN0"}, 400},
		{"two tokens", []string{"Bearer a b"}, 400},
		{"two headers", []string{"Bearer " + token, "Bearer " + token}, 400},
		{"JSON", []string{`Bearer {"payload":"","signatures":[]}`}, 400},
		{"control", []string{"Bearer a\tb"}, 400},
		{"huge", []string{"Bearer " + strings.Repeat("a", maxToken+1)}, 400},
		{"not a token", []string{"Bearer " + strings.Repeat("a", maxToken)}, 401},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Authorization"] = tt.header
		if tt.header == nil {
			r.Header.Del("Authorization")
		}
		_, err := b.Caller(r).Authenticate(t.Context())
		status := 0
		if d, ok := errors.AsType[*Denied](err); ok {
			status = d.Status
		}
		if status != tt.status {
			t.Errorf("%s: %d %v, want %d", tt.name, status, err, tt.status)
		}
	}
}

func TestLazy(t *testing.T) {
	b := newBench(t, oidctest.Options{}, nil)
	public := Resource{User: "alice", Repo: "r", Exists: true, Public: true, Root: root, Tag: "1.0.0"}
	for _, header := range []string{"nonsense", "Bearer nonsense", "Bearer " + b.idp.Forge(oidctest.Fault{KeyID: "x"}, nil)} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", header)
		c := b.Caller(r)
		if err := c.Decide(t.Context(), ReadTree, public); err != nil {
			t.Errorf("%s: %v", header, err)
		}
		if c.Seen().Kind != Anonymous {
			t.Errorf("seen %+v", c.Seen())
		}
	}
	if n := b.idp.Requests("/.well-known/openid-configuration"); n != 0 {
		t.Errorf("the provider was asked %d times about what is public", n)
	}
	c := b.from("", b.idp.Mint(nil))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := c.Decide(t.Context(), ListTags, Resource{User: "alice", Owner: "test|subject", Repo: "r", Exists: true}); err != nil {
				t.Error(err)
			}
			c.Seen()
		})
	}
	all.Wait()
	if got := c.Seen().ID(); got != "oidc:test|subject" {
		t.Errorf("seen %s", got)
	}
}

func TestSession(t *testing.T) {
	b := newBench(t, oidctest.Options{}, nil)
	c := b.As(Session("https://idp.example/", "a"))
	mine := Resource{User: "alice", Owner: "a", Repo: "r", Exists: true}
	if err := c.Decide(t.Context(), MintToken, mine); err != nil {
		t.Error(err)
	}
	mine.Owner = "b"
	if err := c.Decide(t.Context(), ListTags, mine); err == nil {
		t.Error("another's repository is seen")
	}
	if p, err := c.Authenticate(t.Context()); err != nil || p.Subject != "a" {
		t.Errorf("%+v, %v", p, err)
	}
}

// Who asks for what was yanked, and may have it, gets it; nobody else is told
// more than that it was yanked.
func TestReveal(t *testing.T) {
	b := newBench(t, oidctest.Options{}, nil)
	gone := Resource{User: "alice", Owner: "test|subject", Repo: "r", Tag: "1.0.0", Exists: true, Public: true, Root: root, Yanked: true}
	for _, tt := range []struct {
		token  string
		reveal bool
		status int
	}{
		{"", false, 410}, {"", true, 410}, {"nonsense", false, 410}, {"nonsense", true, 401},
		{b.idp.Mint(nil), false, 410}, {b.idp.Mint(nil), true, 0}, {b.idp.Mint(oidctest.Claims{"sub": "m"}), true, 410},
	} {
		gone.Reveal = tt.reveal
		status := 0
		if d, ok := errors.AsType[*Denied](b.from("", tt.token).Decide(t.Context(), ReadTree, gone)); ok {
			status = d.Status
		}
		if status != tt.status {
			t.Errorf("%.10s, %v: %d, want %d", tt.token, tt.reveal, status, tt.status)
		}
	}
}

func TestUserinfo(t *testing.T) {
	b := newBench(t, oidctest.Options{}, func(c *Config) { c.JWT, c.UserInfo, c.Audiences = false, true, nil })
	b.idp.Opaque("test-token", "test|subject")
	b.idp.Opaque("other-token", "other")
	unknown := Resource{User: "testuser", Owner: ""}
	c := b.from("", "test-token")
	want := "User with OpenID Connect subject `test|subject` not found"
	if err := c.Decide(t.Context(), ReadUser, unknown); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if err := c.Register(t.Context(), "testuser"); err != nil {
		t.Error(err)
	}
	if err := b.from("", "test-token").Register(t.Context(), "testuser"); err != nil {
		t.Errorf("again: %v", err)
	}
	err := b.from("", "test-token").Register(t.Context(), "testuser2")
	if d, ok := errors.AsType[*Denied](err); !ok || d.Status != 409 || d.Text != "User already associated with OpenID Connect subject `test|subject`" {
		t.Errorf("a second name: %v", err)
	}
	err = b.from("", "test-token").Decide(t.Context(), ReadUser, Resource{User: "someone", Owner: "other"})
	if err == nil || err.Error() != "You are logged in as `testuser`, please relogin as `someone` to access the resource" {
		t.Errorf("got %v", err)
	}
	b.refused(t, "unknown token", "unknown", 401, "OpenID Connect credential validation failed: the provider answers 401", "")
	if n := b.idp.Requests("/userinfo"); n != 2 {
		t.Errorf("userinfo was asked %d times about two tokens", n)
	}

	// Answers are kept for a moment only.
	b.idp.Revoke("test-token")
	b.taken(t, "revoked just now", "test-token", "test|subject")
	b.clock.forward(goodLife)
	b.refused(t, "revoked", "test-token", 401, "OpenID Connect credential validation failed: the provider answers 401", "")
	b.refused(t, "unknown token again", "unknown", 401, "OpenID Connect credential validation failed: the provider answers 401", "")
	b.idp.Opaque("unknown", "late")
	b.clock.forward(badLife)
	b.taken(t, "known meanwhile", "unknown", "late")

	b.idp.Misbehave(oidctest.Fault{Status: 500})
	b.refused(t, "broken provider", "other-token", 503, "The identity provider cannot be reached now", "500")
	b.idp.Misbehave(oidctest.Fault{Redirect: "http://other.example/"})
	b.refused(t, "redirected", "other-token", 503, "The identity provider cannot be reached now", "another host")
	b.idp.Misbehave(oidctest.Fault{Status: 404})
	b.refused(t, "strange answer", "other-token", 401, "OpenID Connect credential validation failed: the provider answers 404", "")
}

func TestUserinfoKeepsLittle(t *testing.T) {
	b := newBench(t, oidctest.Options{}, func(c *Config) { c.JWT, c.UserInfo = false, true })
	for i := range 3 * maxAsked {
		b.userinfo.keep([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, answer{subject: "s"})
	}
	if n := len(b.userinfo.asked); n != maxAsked {
		t.Errorf("%d answers are kept", n)
	}
	b.clock.forward(goodLife)
	b.userinfo.keep([32]byte{255, 255, 255}, answer{subject: "s"})
	if n := len(b.userinfo.asked); n != 1 {
		t.Errorf("%d answers are kept that nobody may use", n)
	}
}

// With both modes a token that either takes works, but none gets more than it
// was issued with.
func TestBothModes(t *testing.T) {
	b := newBench(t, oidctest.Options{}, func(c *Config) { c.UserInfo = true })
	b.idp.Opaque("test-token", "legacy")
	b.taken(t, "opaque", "test-token", "legacy")
	b.taken(t, "JWT", b.idp.Mint(nil), "test|subject")
	b.taken(t, "JWT for userinfo alone", b.idp.Mint(oidctest.Claims{"aud": b.idp.Issuer() + "userinfo"}), "test|subject")
	p, d := b.who(t, b.idp.Mint(oidctest.Claims{"scope": "openid"}))
	if d != nil || p.Kind != OIDC || len(p.Scopes) != 1 {
		t.Errorf("a JWT without scopes becomes %+v, %+v", p, d)
	}
	asked := b.idp.Requests("/userinfo")
	b.refused(t, "expired", b.idp.Mint(oidctest.Claims{"exp": b.clock.Now().Add(-time.Hour).Unix()}), 401, invalidText, "expired")
	b.refused(t, "no scope", b.idp.Mint(oidctest.Claims{"scope": nil}), 401, invalidText, "no scope")
	if n := b.idp.Requests("/userinfo"); n != asked {
		t.Error("userinfo was asked about a JWT that is meant for us")
	}
	// One that is broken in a way that the provider does not mind.
	broken := b.idp.Mint(oidctest.Claims{"scope": "openid"}) + "="
	b.idp.Opaque(broken, "test|subject")
	b.refused(t, "broken", broken, 401, invalidText, "")
	for _, user := range []string{"first", "second"} {
		if err := b.from("", b.idp.Mint(nil)).Register(t.Context(), user); err != nil {
			t.Errorf("a JWT registers %s: %v", user, err)
		}
	}
	if got := b.store.subjects["test|subject"]; got != "first" {
		t.Errorf("userinfo will know the user %q", got)
	}
	b.refused(t, "nothing", "nothing", 401, "OpenID Connect credential validation failed: the provider answers 401", "")
	if got := b.Modes(); !slices.Equal(got, []string{"jwt", "userinfo"}) {
		t.Errorf("modes %q", got)
	}
}

func TestStoreDown(t *testing.T) {
	b := newBench(t, oidctest.Options{}, func(c *Config) { c.UserInfo = true })
	b.idp.Opaque("test-token", "legacy")
	_, text, err := NewToken(drawbridge.Token{Kind: "robot", User: "alice", Actions: []string{"read"}, Expires: b.clock.Now().Add(time.Hour)}, Session("", "a"), b.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.store.broken = errors.New("disk on fire")
	b.refused(t, "userinfo", "test-token", 500, "Storage backend failure", "disk on fire")
	b.refused(t, "robot", text, 500, "Storage backend failure", "disk on fire")
}

func TestConfig(t *testing.T) {
	good := Config{Issuer: "https://idp.example/", JWT: true, Audiences: []string{"a"}}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"good", func(*Config) {}, ""},
		{"nothing", func(c *Config) { *c = Config{} }, ""},
		{"loopback", func(c *Config) { c.Issuer = "http://localhost:1/" }, ""},
		{"http", func(c *Config) { c.Issuer = "http://idp.example/" }, "not an https URL"},
		{"no URL", func(c *Config) { c.Issuer = "idp.example" }, "not a URL"},
		{"query", func(c *Config) { c.Issuer += "?a=b" }, "not a URL"},
		{"no issuer", func(c *Config) { c.Issuer = "" }, "need an issuer"},
		{"no mode", func(c *Config) { c.JWT = false }, "without JWTs or userinfo"},
		{"no audience", func(c *Config) { c.Audiences = nil }, "need an audience"},
		{"empty audience", func(c *Config) { c.Audiences = []string{""} }, "need an audience"},
		{"HMAC", func(c *Config) { c.Algorithms = []string{"HS256"} }, "not RS256"},
		{"none", func(c *Config) { c.Algorithms = []string{"none"} }, "not RS256"},
	}
	for _, tt := range tests {
		cfg := good
		tt.change(&cfg)
		if _, err := New(cfg); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Without a provider, there are still robots.
func TestNoProvider(t *testing.T) {
	store := newMemory()
	a, err := New(Config{Tokens: store})
	if err != nil {
		t.Fatal(err)
	}
	a.Run(t.Context())
	if err := a.Ready(); err != nil {
		t.Error(err)
	}
	token, text, err := NewToken(drawbridge.Token{Kind: "robot", User: "dev", Actions: []string{"publish"}, Expires: time.Now().Add(time.Hour)}, Session("", "a"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if store.records[token.ID], err = token.Record(); err != nil {
		t.Fatal(err)
	}
	if p, err := a.Verify(t.Context(), text); err != nil || p.ID() != "robot:"+token.ID {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := a.Verify(t.Context(), "x.y.z"); err == nil {
		t.Error("a JWT of nobody is good")
	}
	if a, err = New(Config{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Verify(t.Context(), text); err == nil {
		t.Error("a token without a store is good")
	}
}
