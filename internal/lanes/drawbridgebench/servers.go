// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/oidctest"
)

// A rig is the servers that are measured, and a client of both.
type rig struct {
	dir      string
	client   *http.Client
	provider *oidctest.Provider
	procs    []*exec.Cmd
	ours     drawbridgeServer
	theirs   registryServer
	files    int // written by the benchmark itself
}

// raw is the last of these.
func (r *rig) raw() string { return r.file(fmt.Sprint("raw", r.files)) }

const audience = "bench"

func start(ctx context.Context, o options, dir string) (_ *rig, err error) {
	r := &rig{dir: dir}
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	pool, err := r.certificate()
	if err != nil {
		return nil, err
	}
	r.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, NextProtos: []string{"http/1.1"}},
		MaxIdleConnsPerHost: o.clients, DisableCompression: true, WriteBufferSize: 256 << 10, ReadBufferSize: 256 << 10,
	}}
	if r.provider, err = oidctest.New(oidctest.Options{Audience: audience}); err != nil {
		return nil, err
	}
	if err := r.startOurs(ctx); err != nil {
		return nil, err
	}
	return r, r.startTheirs(ctx, o.servers)
}

func (r *rig) stop() {
	for _, p := range r.procs {
		_ = p.Process.Kill()
		_ = p.Wait()
	}
	if r.provider != nil {
		r.provider.Close()
	}
}

// certificate writes the key and the self-signed certificate of both servers.
func (r *rig) certificate() (*x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(crt)
	return pool, errors.Join(os.WriteFile(r.file("crt.pem"), crt, 0o600),
		os.WriteFile(r.file("key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

func (r *rig) file(name string) string { return filepath.Join(r.dir, name) }

// freeAddr returns a loopback address that nothing listens on just now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// run starts a server and waits until it answers at url.
func (r *rig) run(ctx context.Context, url, program string, args ...string) error {
	log, err := os.Create(r.file(filepath.Base(program) + ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	r.procs = append(r.procs, cmd)
	for range 200 {
		resp, err := r.client.Get(url)
		if err == nil {
			resp.Body.Close()
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	text, _ := os.ReadFile(log.Name())
	return fmt.Errorf("%s does not answer: %s", program, text)
}

func (r *rig) startOurs(ctx context.Context) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	program, err := filepath.Abs("bin/enarx-drawbridge")
	if err != nil {
		return err
	}
	store := r.file("ours")
	if err := os.Mkdir(store, 0o700); err != nil {
		return err
	}
	err = r.run(ctx, "https://"+addr+"/health", program, "--addr", addr, "--store", store, "--cert", r.file("crt.pem"), "--key", r.file("key.pem"),
		"--oidc-issuer", r.provider.Issuer(), "--oidc-audience", audience, "--host", addr, "--rate", "-1", "--quota", "-1")
	if err != nil {
		return err
	}
	r.ours = drawbridgeServer{client: r.client, base: "https://" + addr + "/api/v0.1.0/bench/bench",
		token: r.provider.Mint(oidctest.Claims{"scope": "manage:drawbridge_users manage:drawbridge_repositories manage:drawbridge_tags"})}
	return r.ours.register(ctx)
}

func (r *rig) startTheirs(ctx context.Context, folder string) error {
	program, err := filepath.Abs(filepath.Join(folder, "registry"))
	if err != nil {
		return err
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	config := strings.NewReplacer("ADDR", addr, "DIR", r.dir).Replace(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: DIR/theirs}}
http: {addr: "ADDR", tls: {certificate: DIR/crt.pem, key: DIR/key.pem, minimumtls: tls1.3}}
`)
	if err := os.WriteFile(r.file("registry.yml"), []byte(config), 0o600); err != nil {
		return err
	}
	r.theirs = registryServer{client: r.client, base: "https://" + addr}
	return r.run(ctx, "https://"+addr+"/v2/", program, "serve", r.file("registry.yml"))
}

// metaOf describes data as a file with only a SHA-256, or all four digests.
func metaOf(data []byte, algorithms ...drawbridge.Algorithm) drawbridge.Meta {
	h := drawbridge.NewHasher(algorithms...)
	_, _ = h.Write(data)
	return drawbridge.Meta{Digests: h.Sum(), Length: int64(len(data)), Type: "application/octet-stream"}
}

// do sends a request and wants one of the statuses; the body is the caller's.
func do(client *http.Client, req *http.Request, want ...int) (*http.Response, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	for _, w := range want {
		if resp.StatusCode == w {
			return resp, nil
		}
	}
	defer resp.Body.Close()
	text := make([]byte, 500)
	n, _ := resp.Body.Read(text)
	return nil, fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, resp.Status, bytes.TrimSpace(text[:n]))
}
