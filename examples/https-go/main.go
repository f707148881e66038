// SPDX-License-Identifier: Apache-2.0

// Command https-go serves HTTP with net/http on the listener that the Keep opened
// for it. The Keep speaks TLS to the clients; the program never holds the key.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// maxEcho bounds what one request can make the server hold in memory.
const maxEcho = 1 << 20

func main() {
	log.SetFlags(0)
	log.SetPrefix("https-go: ")
	listener, err := listen("web")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Handler:           routes(),
		ReadHeaderTimeout: 30 * time.Second,
	}
	fmt.Println("serving on descriptor web")
	log.Fatal(server.Serve(listener))
}

// listen returns the listener that Enarx.toml names: entry i of `files` is
// descriptor i, and FD_NAMES holds the names in that order.
func listen(name string) (net.Listener, error) {
	fd := slices.Index(strings.Split(os.Getenv("FD_NAMES"), ":"), name)
	if fd < 0 {
		return nil, fmt.Errorf("no descriptor is named %q: see Enarx.toml", name)
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	return net.FileListener(file)
}

func routes() http.Handler {
	var served atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		fmt.Fprintln(w, "Hello from a Keep")
	})
	mux.HandleFunc("GET /served", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, served.Load())
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEcho))
		if err != nil {
			http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
			return
		}
		w.Write(body)
	})
	return mux
}
