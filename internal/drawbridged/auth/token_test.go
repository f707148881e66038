// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/oidctest"
)

// minted stores a new token and returns it with its text.
func (b *bench) minted(t *testing.T, ask drawbridge.Token) (*Token, string) {
	t.Helper()
	if ask.Expires.IsZero() {
		ask.Expires = b.clock.Now().Add(time.Hour)
	}
	token, text, err := NewToken(ask, Session("", "a"), b.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	record, err := token.Record()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(record, []byte(text[21:])) {
		t.Error("the secret is stored")
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.store.records[token.ID] = record
	return token, text
}

func TestRobots(t *testing.T) {
	b := newBench(t, oidctest.Options{}, nil)
	token, text := b.minted(t, drawbridge.Token{Kind: "robot", User: "alice", Repository: "r", Actions: []string{"read"}, Name: "CI"})
	p, d := b.who(t, text)
	if d != nil || p.Kind != Robot || p.ID() != "robot:"+token.ID || p.Token.By != "oidc:a" {
		t.Fatalf("%+v, %+v", p, d)
	}
	if who := p.Whoami(); who.Kind != "robot" || who.Users[0] != "alice" || who.Scopes[0] != "read" {
		t.Errorf("%+v", who)
	}
	if !strings.HasPrefix(text, "edb_"+token.ID+"_") || len(text) != tokenLen {
		t.Errorf("text %s", text)
	}
	_, other := b.minted(t, drawbridge.Token{Kind: "robot", User: "alice", Actions: []string{"publish"}})
	head := text[:21]
	_, _, own, err := parseText(text)
	if err != nil {
		t.Fatal(err)
	}
	_, _, secret, err := parseText(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"of another secret":  head + base32Lower.EncodeToString(checksummed(head, secret)),
		"of another kind":    "edd" + head[3:] + base32Lower.EncodeToString(checksummed("edd"+head[3:], own)),
		"truncated":          text[:len(text)-1],
		"longer":             text + "a",
		"altered":            text[:30] + string('a'+(text[30]-'a'+1)%20) + text[31:],
		"in capitals":        strings.ToUpper(text),
		"prefix only":        "edb_",
		"spare bits":         text[:len(text)-1] + string(text[len(text)-1]+1),
		"never made":         strings.Replace(text, token.ID, "aaaaaaaaaaaaaaaa", 1),
		"never made, but so": never16(secret),
	} {
		b.refused(t, name, bad, 401, invalidText, "")
	}
	b.clock.forward(time.Hour)
	b.refused(t, "expired", text, 401, "Token has expired", token.ID)
	b.clock.forward(-time.Hour)
	delete(b.store.records, token.ID)
	b.refused(t, "revoked", text, 401, invalidText, token.ID)
	b.store.records[token.ID] = []byte("{}")
	b.refused(t, "damaged", text, 500, "Storage backend failure", "")
	if n := b.idp.Requests("/.well-known/openid-configuration"); n != 0 {
		t.Errorf("the provider was asked %d times about tokens of ours", n)
	}
}

// never16 is a good text of a token that nobody made.
func never16(secret []byte) string {
	head := "edb_aaaaaaaaaaaaaaaa_"
	return head + base32Lower.EncodeToString(checksummed(head, secret))
}

func TestNewToken(t *testing.T) {
	now := time.Now()
	robot := drawbridge.Token{Kind: "robot", User: "alice", Actions: []string{"read"}, Expires: now.Add(time.Hour)}
	deployment := drawbridge.Token{Kind: "deployment", User: "alice", Repository: "r", Tag: "1.0.0", Expires: now.Add(time.Hour)}
	tests := []struct {
		name   string
		from   drawbridge.Token
		change func(*drawbridge.Token)
		want   string
	}{
		{"robot", robot, func(*drawbridge.Token) {}, ""},
		{"deployment", deployment, func(*drawbridge.Token) {}, ""},
		{"digest", deployment, func(t *drawbridge.Token) { t.Tag, t.Digest, t.Uses = "", drawbridge.Pin(root), 3 }, ""},
		{"kind", robot, func(t *drawbridge.Token) { t.Kind = "oidc" }, "of the kind"},
		{"user", robot, func(t *drawbridge.Token) { t.User = "a/b" }, "user name"},
		{"repository", robot, func(t *drawbridge.Token) { t.Repository = ".." }, "repository name"},
		{"name", robot, func(t *drawbridge.Token) { t.Name = strings.Repeat("ä", 101) }, "name"},
		{"control", robot, func(t *drawbridge.Token) { t.Name = "a\nb" }, "control"},
		{"no end", robot, func(t *drawbridge.Token) { t.Expires = time.Time{} }, "must expire"},
		{"over already", robot, func(t *drawbridge.Token) { t.Expires = now }, "already"},
		{"for ever", robot, func(t *drawbridge.Token) { t.Expires = now.AddDate(11, 0, 0) }, "ten years"},
		{"no actions", robot, func(t *drawbridge.Token) { t.Actions = nil }, "at least one"},
		{"other action", robot, func(t *drawbridge.Token) { t.Actions = []string{"manage"} }, "manage"},
		{"twice", robot, func(t *drawbridge.Token) { t.Actions = []string{"read", "read"} }, "once each"},
		{"robot with a tag", robot, func(t *drawbridge.Token) { t.Tag = "1.0.0" }, "no tag"},
		{"robot with uses", robot, func(t *drawbridge.Token) { t.Uses = 1 }, "no tag"},
		{"deployment of all", deployment, func(t *drawbridge.Token) { t.Repository = "" }, "needs a repository"},
		{"deployment that publishes", deployment, func(t *drawbridge.Token) { t.Actions = []string{"publish"} }, "no actions"},
		{"deployment of anything", deployment, func(t *drawbridge.Token) { t.Tag = "" }, "needs a tag"},
		{"tag", deployment, func(t *drawbridge.Token) { t.Tag = "latest" }, "latest"},
		{"digest", deployment, func(t *drawbridge.Token) { t.Digest = "sha256:00" }, "sha256"},
		{"uses", deployment, func(t *drawbridge.Token) { t.Uses = -1 }, "uses"},
		{"many uses", deployment, func(t *drawbridge.Token) { t.Uses = maxTokenUses + 1 }, "uses"},
	}
	for _, tt := range tests {
		ask := tt.from
		ask.ID, ask.Secret, ask.Used = "mine", "mine", 7
		tt.change(&ask)
		token, text, err := NewToken(ask, Session("", "a"), now)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil {
			continue
		}
		record, err := token.Record()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseToken(record)
		if err != nil || back.Hash != token.Hash || back.ID == "mine" || back.Used != 0 || !strings.Contains(text, back.ID) {
			t.Errorf("%s: %+v, %v", tt.name, back, err)
		}
		if public := back.Public(3); public.Used != 3 || public.Secret != "" {
			t.Errorf("%s: %+v", tt.name, public)
		}
	}
}

func TestParseTokenRefuses(t *testing.T) {
	for name, record := range map[string]string{
		"empty":   "",
		"unknown": `{"id":"aaaaaaaaaaaaaaaa","admin":true}`,
		"large":   strings.Repeat(" ", MaxTokenRecord+1),
		"no hash": fmt.Sprintf(`{"id":"aaaaaaaaaaaaaaaa","kind":"robot","user":"a","actions":["read"],"created":%q,"expires":%q}`, time.Now().Format(time.RFC3339), time.Now().Add(time.Hour).Format(time.RFC3339)),
	} {
		if _, err := ParseToken([]byte(record)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestDeploymentUses(t *testing.T) {
	b := newBench(t, oidctest.Options{}, nil)
	token, text := b.minted(t, drawbridge.Token{Kind: "deployment", User: "alice", Repository: "r", Tag: "1.0.0", Uses: 2, Expires: b.clock.Now().Add(24 * time.Hour)})
	mine := Resource{User: "alice", Repo: "r", Owner: "a", Tag: "1.0.0", Exists: true, Root: root}
	read := func(attempt string) string {
		if err := b.from(attempt, text).Decide(t.Context(), ReadDeployment, mine); err != nil {
			return err.Error()
		}
		return ""
	}
	const usedUp = "The deployment token has been used 2 times"
	others := mine
	others.Tag = "2.0.0"
	if err := b.from("a", text).Decide(t.Context(), ReadDeployment, others); err == nil {
		t.Error("another tag is open")
	}
	for i, step := range []struct {
		wait    time.Duration
		attempt string
		want    string
	}{
		{0, "a", ""}, {0, "a", ""}, {5 * time.Minute, "a", ""}, {0, "", ""}, {0, "", usedUp}, {0, "b", usedUp}, {0, "a", ""}, {5 * time.Minute, "a", usedUp},
	} {
		b.clock.forward(step.wait)
		if got := read(step.attempt); got != step.want {
			t.Errorf("step %d, %q: %q, want %q", i, step.attempt, got, step.want)
		}
	}
	for _, a := range []Action{ReadTag, ReadTree, ReadDigest} {
		if err := b.from("a", text).Decide(t.Context(), a, mine); err == nil {
			t.Errorf("%s: whoever has a deployment token, like a host, reads content", a)
		}
	}
	if n := len(b.store.uses[token.ID]); n != 2 {
		t.Errorf("%d uses were counted", n)
	}

	// Many at once do not get more than there are.
	token, text = b.minted(t, drawbridge.Token{Kind: "deployment", User: "alice", Repository: "r", Tag: "1.0.0", Uses: 5})
	var all sync.WaitGroup
	var open atomic.Int32
	for i := range 40 {
		all.Go(func() {
			if b.from(fmt.Sprint("attempt ", i), text).Decide(t.Context(), ReadDeployment, mine) == nil {
				open.Add(1)
			}
		})
	}
	all.Wait()
	if open.Load() != 5 || len(b.store.uses[token.ID]) != 5 {
		t.Errorf("%d got in", open.Load())
	}
	// What is public costs no use.
	token, text = b.minted(t, drawbridge.Token{Kind: "deployment", User: "alice", Repository: "r", Tag: "1.0.0", Uses: 1})
	public := mine
	public.Public = true
	if err := b.from("", text).Decide(t.Context(), ReadDeployment, public); err != nil || len(b.store.uses[token.ID]) != 0 {
		t.Errorf("%v, %d uses", err, len(b.store.uses[token.ID]))
	}
}

// raced is a store in which somebody else is always faster at the first use.
type raced struct{ *memory }

func (r raced) ClaimTokenUse(ctx context.Context, id string, n int, record []byte) (bool, error) {
	if n == 1 {
		if _, err := r.memory.ClaimTokenUse(ctx, id, n, []byte(`{"time":"2026-01-01T00:00:00Z","attempt":"another"}`)); err != nil {
			return false, err
		}
	}
	return r.memory.ClaimTokenUse(ctx, id, n, record)
}

func TestDeploymentUsesRace(t *testing.T) {
	b := newBench(t, oidctest.Options{}, nil)
	b.cfg.Tokens = raced{b.store}
	mine := Resource{User: "alice", Repo: "r", Owner: "a", Tag: "1.0.0", Exists: true, Root: root}
	for uses, open := range map[int]bool{1: false, 2: true} {
		_, text := b.minted(t, drawbridge.Token{Kind: "deployment", User: "alice", Repository: "r", Tag: "1.0.0", Uses: uses})
		if err := b.from("", text).Decide(t.Context(), ReadDeployment, mine); (err == nil) != open {
			t.Errorf("%d uses, of which another took one: %v", uses, err)
		}
	}
}

// counting is a store that counts what is read of uses.
type counting struct {
	*memory
	reads *int
}

func (c counting) TokenUse(ctx context.Context, id string, n int) ([]byte, error) {
	*c.reads++
	return c.memory.TokenUse(ctx, id, n)
}

// Who has a token that was used often does not make the store read all of it.
func TestDeploymentUsesAreCheap(t *testing.T) {
	b := newBench(t, oidctest.Options{}, nil)
	reads := 0
	b.cfg.Tokens = counting{b.store, &reads}
	token, text := b.minted(t, drawbridge.Token{Kind: "deployment", User: "alice", Repository: "r", Tag: "1.0.0", Uses: maxTokenUses})
	mine := Resource{User: "alice", Repo: "r", Owner: "a", Tag: "1.0.0", Exists: true, Root: root}
	record := []byte(`{"time":"` + b.clock.Now().UTC().Format(time.RFC3339) + `","attempt":"another"}`)
	for n := 1; n < maxTokenUses; n++ {
		if _, err := b.store.ClaimTokenUse(t.Context(), token.ID, n, record); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		attempt string
		open    bool
	}{{"mine", true}, {"mine", true}, {"", false}, {"other", false}} {
		reads = 0
		if err := b.from(step.attempt, text).Decide(t.Context(), ReadDeployment, mine); (err == nil) != step.open {
			t.Errorf("%q: %v", step.attempt, err)
		}
		if reads > maxLookback+16 {
			t.Errorf("%q: %d reads", step.attempt, reads)
		}
	}
}
