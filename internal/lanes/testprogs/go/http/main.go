// SPDX-License-Identifier: Apache-2.0

// Command http serves HTTP and HTTPS to itself: many requests at a time, a large body
// each way, a slow handler, and a server that shuts down.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	clients  = 8
	requests = 25
	large    = 3 << 20
)

func main() {
	log.SetFlags(0)
	handler := http.NewServeMux()
	handler.HandleFunc("GET /double/{word}", func(w http.ResponseWriter, r *http.Request) {
		word := r.PathValue("word")
		fmt.Fprint(w, word, word)
	})
	handler.HandleFunc("POST /sum", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
	})
	handler.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done() // the client loses patience
	})
	plain, secure, pool := listen(), listen(), x509.NewCertPool()
	var servers sync.WaitGroup
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate(pool)}}}
	servers.Go(func() { report(server.Serve(plain)) })
	servers.Go(func() { report(server.ServeTLS(secure, "", "")) })
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: clients}}
	for _, base := range []string{"http://" + plain.Addr().String(), "https://" + secure.Addr().String()} {
		exercise(client, base)
		fmt.Println(base[:strings.Index(base, ":")], "done")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client.CloseIdleConnections()
	check(server.Shutdown(ctx))
	servers.Wait()
	if _, err := client.Get("http://" + plain.Addr().String()); err == nil {
		log.Fatal("the server is still there")
	}
	fmt.Println("shut down")
}

func exercise(client *http.Client, base string) {
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for i := range requests {
				word := fmt.Sprintf("%d-%d.", c, i)
				expect(get(client, base+"/double/"+word), word+word)
			}
		})
	}
	all.Wait()
	body := bytes.Repeat([]byte("0123456789abcdef"), large/16)
	resp, err := client.Post(base+"/sum", "application/octet-stream", bytes.NewReader(body))
	check(err)
	expect(read(resp), fmt.Sprintf("%d %x <nil>", large, sha256.Sum256(body)))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", base+"/slow", nil)
	check(err)
	if _, err := client.Do(req); ctx.Err() == nil || err == nil {
		log.Fatal("the slow request ended: ", err)
	}
}

func get(client *http.Client, url string) string {
	resp, err := client.Get(url)
	check(err)
	return read(resp)
}

func read(resp *http.Response) string {
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		log.Fatal(resp.Status)
	}
	text, err := io.ReadAll(resp.Body)
	check(err)
	return string(text)
}

func listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	return l
}

// certificate makes one for the loopback address and puts it into pool.
func certificate(pool *x509.CertPool) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	leaf, err := x509.ParseCertificate(der)
	check(err)
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func report(err error) {
	if err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func expect(got, want string) {
	if got != want {
		log.Fatalf("got %q, want %q", got, want)
	}
}
