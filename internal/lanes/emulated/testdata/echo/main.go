// SPDX-License-Identifier: Apache-2.0

// Command echo does what TestMachine asks it to, in the machine.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

func main() {
	switch os.Args[1] {
	case "cat":
		io.Copy(os.Stdout, os.Stdin)
	case "where":
		dir, _ := os.Getwd()
		fmt.Println(dir, os.Getenv("A"))
		fmt.Fprintln(os.Stderr, "to stderr")
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "abort":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Hour)
	case "sleep": // with a child, which must be killed, too
		exec.Command("/proc/self/exe", "child").Start()
		fmt.Println("asleep")
		time.Sleep(time.Hour)
	case "child":
		time.Sleep(time.Hour)
	case "processes":
		self, _ := os.Executable()
		links, _ := filepath.Glob("/proc/[0-9]*/exe")
		n := 0
		for _, link := range links {
			if exe, err := os.Readlink(link); err == nil && exe == self {
				n++
			}
		}
		fmt.Println(n)
	case "read":
		text, err := os.ReadFile(os.Args[2])
		fmt.Print(string(text), err)
	case "devices":
		_, kvm := os.Stat("/dev/kvm")
		l4, err4 := net.Listen("tcp", "127.0.0.1:0")
		_, err6 := net.Listen("tcp", "[::1]:0")
		fmt.Println(kvm, err4, err6)
		if err4 == nil {
			conn, err := net.Dial("tcp", l4.Addr().String())
			fmt.Println(conn != nil, err)
		}
	}
}
