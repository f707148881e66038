// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"
)

const (
	goodLife    = 30 * time.Second // of answers of the userinfo endpoint
	badLife     = 5 * time.Second
	maxAsked    = 4096 // answers that are kept
	maxAskingAt = 32   // requests to the endpoint at a time
)

// userinfo asks the provider who holds a token, spec/drawbridge.md section 4.4.
// Answers are kept for a moment, as publishing is many requests in a row. Only
// hashes of tokens are.
type userinfo struct {
	cfg      *Config
	provider *provider
	asking   chan struct{}

	mu    sync.Mutex
	asked map[[32]byte]answer
}

type answer struct {
	subject string
	refused string // "" or why
	until   time.Time
}

func newUserinfo(cfg *Config, p *provider) *userinfo {
	return &userinfo{cfg: cfg, provider: p, asking: make(chan struct{}, maxAskingAt), asked: map[[32]byte]answer{}}
}

func (u *userinfo) verify(ctx context.Context, token string) (Principal, *Denied) {
	hash := sha256.Sum256([]byte(token))
	got, ok := u.kept(hash)
	if !ok {
		var err error
		if got, err = u.ask(ctx, token); err != nil {
			return Principal{}, unavailable(err)
		}
		u.keep(hash, got)
	}
	if got.refused != "" {
		return Principal{}, denied("invalid_token", "OpenID Connect credential validation failed: %s", got.refused)
	}
	user, err := u.cfg.Subjects.SubjectUser(ctx, u.cfg.Issuer, got.subject)
	if err != nil {
		return Principal{}, broken(err)
	}
	return Principal{Kind: UserInfo, Issuer: u.cfg.Issuer, Subject: got.subject, User: user}, nil
}

func (u *userinfo) kept(hash [32]byte) (answer, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	got, ok := u.asked[hash]
	return got, ok && u.cfg.Now().Before(got.until)
}

func (u *userinfo) keep(hash [32]byte, got answer) {
	now := u.cfg.Now()
	got.until = now.Add(goodLife)
	if got.refused != "" {
		got.until = now.Add(badLife)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.asked) >= maxAsked {
		for old, a := range u.asked {
			if !now.Before(a.until) {
				delete(u.asked, old)
			}
		}
		for old := range u.asked { // any, if all are fresh
			if len(u.asked) < maxAsked {
				break
			}
			delete(u.asked, old)
		}
	}
	u.asked[hash] = got
}

// ask returns an error if the endpoint cannot be asked. What it does not
// vouch for is an answer.
func (u *userinfo) ask(ctx context.Context, token string) (answer, error) {
	if err := u.provider.ready(); err != nil {
		if err = u.provider.refresh(ctx); err != nil {
			return answer{}, err
		}
	}
	select {
	case u.asking <- struct{}{}:
		defer func() { <-u.asking }()
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	u.provider.mu.Lock()
	endpoint := u.provider.userinfo
	u.provider.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := u.provider.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return answer{}, fmt.Errorf("userinfo: the provider answers %s", resp.Status)
	case resp.StatusCode != http.StatusOK:
		return answer{refused: fmt.Sprintf("the provider answers %d", resp.StatusCode)}, nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	return parseUserinfo(resp.Header.Get("Content-Type"), body), nil
}

// parseUserinfo reads an answer of the endpoint, of which only sub is used.
func parseUserinfo(contentType string, body []byte) answer {
	if kind, _, err := mime.ParseMediaType(contentType); err != nil || kind != "application/json" {
		return answer{refused: fmt.Sprintf("the provider answers by %.80q, not JSON", contentType)}
	}
	var info struct {
		Subject string `json:"sub"`
	}
	if err := json.Unmarshal(body, &info); err != nil || info.Subject == "" || len(info.Subject) > maxSubject {
		return answer{refused: "the provider answers without a subject"}
	}
	return answer{subject: info.Subject}
}
