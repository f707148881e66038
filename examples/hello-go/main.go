// SPDX-License-Identifier: Apache-2.0

// Command hello-go greets: the stock Go toolchain makes it with GOOS=wasip1.
package main

import (
	"fmt"
	"runtime"
)

func main() {
	fmt.Printf("Hello from Go on %s/%s\n", runtime.GOOS, runtime.GOARCH)
}
