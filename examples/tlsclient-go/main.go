// SPDX-License-Identifier: Apache-2.0

// Command tlsclient-go talks to a server over a connection that the Keep opened
// for it. The Keep did the TLS handshake, and trusts the CA that Enarx.toml gives.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"slices"
	"strings"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("tlsclient-go: ")
	conn, err := connection("server")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, "hello from a Keep"); err != nil {
		log.Fatal(err)
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 1<<20))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("the server says: %s", answer)
}

// connection returns the connection that Enarx.toml names.
func connection(name string) (net.Conn, error) {
	fd := slices.Index(strings.Split(os.Getenv("FD_NAMES"), ":"), name)
	if fd < 0 {
		return nil, fmt.Errorf("no descriptor is named %q: see Enarx.toml", name)
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	return net.FileConn(file)
}
