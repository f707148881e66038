// SPDX-License-Identifier: Apache-2.0

package web

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// The cookies. The prefix makes browsers refuse them from anybody but this
// very host, over TLS, for all paths.
const (
	cookieSession = "__Host-drawbridge"       // session
	cookieLogin   = "__Host-drawbridge-login" // pendingLogin
	cookieFlash   = "__Host-drawbridge-flash" // flash
)

// maxCookie is the most bytes of a cookie's value: browsers keep 4096 with the
// name and the attributes.
const maxCookie = 3800

// seal keeps what cookies carry from everybody, who sent them included. The
// name of the cookie is authenticated too: one cannot stand for another.
type seal struct{ aead cipher.AEAD }

// newSeal derives a seal from 32 bytes of key; nil is a random one.
func newSeal(key []byte) (seal, error) {
	if key == nil {
		key = make([]byte, 32)
		rand.Read(key)
	}
	if len(key) != 32 {
		return seal{}, fmt.Errorf("the session key has %d bytes, not 32", len(key))
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "enarx drawbridge web cookies", 32)
	if err != nil {
		return seal{}, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return seal{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return seal{aead}, err
}

// sealed is what a cookie's value is when opened.
type sealed[T any] struct {
	Until int64 `json:"u"` // Unix seconds
	Value T     `json:"v"`
}

var errCookie = errors.New("not a cookie of ours, or no longer")

// setCookie gives the browser v for some time.
func setCookie[T any](w http.ResponseWriter, s seal, name string, v T, now time.Time, life time.Duration) error {
	plain, err := json.Marshal(sealed[T]{now.Add(life).Unix(), v})
	if err != nil {
		return err
	}
	value := base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, []byte(name)))
	if len(value) > maxCookie {
		return fmt.Errorf("the cookie %s would have %d bytes, more than %d", name, len(value), maxCookie)
	}
	http.SetCookie(w, cookie(name, value, int(life/time.Second)))
	return nil
}

// readCookie opens what setCookie sealed under the same name.
func readCookie[T any](r *http.Request, s seal, name string, now time.Time) (T, error) {
	var box sealed[T]
	c, err := r.Cookie(name)
	if err != nil || len(c.Value) > maxCookie {
		return box.Value, errCookie
	}
	data, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return box.Value, errCookie
	}
	plain, err := s.aead.Open(nil, nil, data, []byte(name))
	if err != nil {
		return box.Value, errCookie
	}
	if err := json.Unmarshal(plain, &box); err != nil || now.Unix() >= box.Until {
		var none T
		return none, errCookie
	}
	return box.Value, nil
}

// dropCookie makes the browser forget a cookie.
func dropCookie(w http.ResponseWriter, name string) { http.SetCookie(w, cookie(name, "", -1)) }

func cookie(name, value string, seconds int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, MaxAge: seconds, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}
