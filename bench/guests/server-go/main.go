// SPDX-License-Identifier: Apache-2.0

// Command server-go answers every HTTP request with the same short text. In a Keep
// it serves on the listener it inherits as descriptor 3, and the Keep ends TLS;
// natively it opens the address it is given, and `-tls` makes it end TLS itself.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	listener, err := listen(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "server-go:", err)
		os.Exit(1)
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(answer),
		ReadHeaderTimeout: 30 * time.Second,
	}
	fmt.Fprintln(os.Stderr, "server-go:", server.Serve(listener))
	os.Exit(1)
}

func answer(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "Hello from the server of the benchmark\n")
}
