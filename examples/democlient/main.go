// SPDX-License-Identifier: Apache-2.0

// Command democlient is what `make demo` talks to its network examples with, so
// that the demo needs no curl, netcat or openssl.
package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"enarx.dev/enarx/examples/internal/peer"
)

const patience = time.Minute

func main() {
	log.SetFlags(0)
	log.SetPrefix("democlient: ")
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "https":
		return https(args[1])
	case len(args) == 2 && args[0] == "chat":
		return chat(args[1])
	case len(args) >= 4 && args[0] == "serve":
		return serve(args[1], args[2], args[3:])
	}
	return errors.New("usage: democlient https ADDR | chat ADDR | serve PACKAGE COPY COMMAND [ARG...]")
}

// https makes two requests over one connection. The Keep's certificate is
// self-signed as long as no Steward issues one, so it is shown and not checked.
func https(addr string) error {
	conn, err := peer.Dial(addr, patience)
	if err != nil {
		return err
	}
	conn.Close()
	client := &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	get, err := client.Get("https://" + addr + "/")
	if err != nil {
		return err
	}
	body, err := io.ReadAll(get.Body)
	get.Body.Close()
	if err != nil {
		return err
	}
	fmt.Printf("%s, certificate of %s\n", tls.VersionName(get.TLS.Version), get.TLS.PeerCertificates[0].Subject)
	fmt.Printf("GET /: %s %s", get.Status, body)
	post, err := client.Post("https://"+addr+"/echo", "text/plain", strings.NewReader("over TLS and back\n"))
	if err != nil {
		return err
	}
	defer post.Body.Close()
	if body, err = io.ReadAll(post.Body); err != nil {
		return err
	}
	fmt.Printf("POST /echo: %s %s", post.Status, body)
	return nil
}

// chat lets two guests talk and prints what each of them sees.
func chat(addr string) error {
	type guest struct {
		net.Conn
		*bufio.Reader
	}
	join := func() (guest, error) {
		conn, err := peer.Dial(addr, patience)
		if err != nil {
			return guest{}, err
		}
		conn.SetDeadline(time.Now().Add(patience))
		return guest{conn, bufio.NewReader(conn)}, nil
	}
	show := func(name string, g guest) error {
		line, err := g.ReadString('\n')
		fmt.Printf("%s sees: %s", name, line)
		return err
	}
	first, err := join()
	if err != nil {
		return err
	}
	if err := show("first", first); err != nil {
		return err
	}
	second, err := join()
	if err != nil {
		return err
	}
	defer second.Close()
	if err := errors.Join(show("second", second), show("first", first)); err != nil {
		return err
	}
	fmt.Fprintln(first.Conn, "anybody there?")
	if err := show("second", second); err != nil {
		return err
	}
	fmt.Fprintln(second.Conn, "yes")
	if err := show("first", first); err != nil {
		return err
	}
	first.Close()
	return show("second", second)
}

// serve is a TLS server with a CA of its own: it makes a copy of the package that
// trusts this CA, and runs the command on it.
func serve(source, copied string, command []string) error {
	ca, err := peer.NewAuthority()
	if err != nil {
		return err
	}
	certificate, err := ca.Server("localhost")
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		return err
	}
	defer listener.Close()
	edit := peer.Edit{Port: listener.Addr().(*net.TCPAddr).Port, CA: ca.PEM()}
	if err := os.RemoveAll(copied); err != nil {
		return err
	}
	if err := peer.CopyPackage(copied, source, edit); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- answer(listener) }()
	cmd := exec.Command(command[0], append(command[1:], copied)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	return <-served
}

func answer(listener net.Listener) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(conn, "I read %q and my certificate is good\n", strings.TrimSpace(line))
	return err
}
