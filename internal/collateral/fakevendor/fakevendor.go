// SPDX-License-Identifier: Apache-2.0

// Package fakevendor is the services of AMD and Intel, for tests: it serves
// the documents it was given and can be told to misbehave.
package fakevendor

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A Document is what is served under one address.
type Document struct {
	Body   []byte
	Header map[string]string
}

// A Fault is a way to misbehave. The zero value is none.
type Fault struct {
	Status     int           // answered instead of 200
	RetryAfter string        // with Status
	Delay      time.Duration // before the answer, or until the client gives up
	Garbage    bool          // something else in place of the body
	Truncate   bool          // half of the body, under the length of the whole
	Huge       int           // so many bytes more than there should be
	Redirect   string        // to there
	Drop       bool          // the connection, without an answer
	Times      int           // after which all is well again; 0: never
}

// A Vendor is an [http.Handler]. It is safe for concurrent use.
type Vendor struct {
	mu     sync.Mutex
	docs   map[string]Document
	faults map[string]*Fault // by the beginning of the address
	asked  map[string]int
}

// New returns a vendor that has nothing.
func New() *Vendor {
	return &Vendor{docs: map[string]Document{}, faults: map[string]*Fault{}, asked: map[string]int{}}
}

// Set serves a document under path, with its query. An issuer chain in its
// header is in plain PEM: it is encoded on the way.
func (v *Vendor) Set(path string, d Document) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.docs[path] = d
}

// Fail makes every address that begins with prefix fail. A Fault with nothing
// in it ends that.
func (v *Vendor) Fail(prefix string, f Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.faults[prefix] = &f
}

// Asked returns how many times an address that begins with prefix was asked
// for.
func (v *Vendor) Asked(prefix string) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for path, times := range v.asked {
		if strings.HasPrefix(path, prefix) {
			n += times
		}
	}
	return n
}

// Paths returns what was asked for, and how often.
func (v *Vendor) Paths() map[string]int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.asked)
}

// look takes notice of a request and returns what is to be done with it.
func (v *Vendor) look(path string) (d Document, ok bool, f Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked[path]++
	d, ok = v.docs[path]
	for prefix, fault := range v.faults {
		if strings.HasPrefix(path, prefix) {
			f = *fault
			if fault.Times > 0 {
				if fault.Times--; fault.Times == 0 {
					delete(v.faults, prefix)
				}
			}
			break
		}
	}
	return d, ok, f
}

func (v *Vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d, ok, fault := v.look(r.URL.RequestURI())
	if fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case fault.Drop:
		panic(http.ErrAbortHandler)
	case fault.Redirect != "":
		http.Redirect(w, r, fault.Redirect, http.StatusFound)
		return
	case fault.Status != 0:
		if fault.RetryAfter != "" {
			w.Header().Set("Retry-After", fault.RetryAfter)
		}
		http.Error(w, "the service misbehaves", fault.Status)
		return
	case r.Method == http.MethodPost && r.URL.Path == "/sgx/registration/v1/platform":
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, "0123456789abcdef") // the PPID of every platform that registers
		return
	case !ok:
		http.NotFound(w, r)
		return
	}
	for name, value := range d.Header {
		w.Header().Set(name, strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
	}
	body := d.Body
	if fault.Garbage {
		body = []byte("<html>come back later</html>")
	}
	body = append(body[:len(body):len(body)], bytes.Repeat([]byte{'x'}, fault.Huge)...)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if fault.Truncate {
		body = body[:len(body)/2]
	}
	_, _ = w.Write(body)
}

// RoundTrip answers without a network: where time is not the machine's, a
// Vendor is a transport.
func (v *Vendor) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := &recorder{header: http.Header{}, status: http.StatusOK}
	dropped := false
	func() {
		defer func() { dropped = recover() != nil }()
		v.ServeHTTP(rec, r)
	}()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if dropped {
		return nil, fmt.Errorf("fakevendor: connection reset by peer")
	}
	return &http.Response{StatusCode: rec.status, Header: rec.header, Body: rec, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1}, nil
}

// recorder is both ends of an answer.
type recorder struct {
	header http.Header
	status int
	bytes.Buffer
}

func (r *recorder) Header() http.Header    { return r.header }
func (r *recorder) WriteHeader(status int) { r.status = status }
func (r *recorder) Close() error           { return nil }
