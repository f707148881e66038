// SPDX-License-Identifier: Apache-2.0

// Command files-go reads a folder of its package and works in an in-memory /tmp.
package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("files-go: ")
	if err := readPackage("/data"); err != nil {
		log.Fatal(err)
	}
	if err := workInMemory(); err != nil {
		log.Fatal(err)
	}
}

func readPackage(root string) error {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d bytes\n", path, info.Size())
		return nil
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "new.txt"), nil, 0o600); err == nil {
		return fmt.Errorf("%s is writable", root)
	}
	fmt.Printf("%s is read-only\n", root)
	return nil
}

// workInMemory sorts a package file into a temporary file and gives it a name
// in a new folder, the way careful programs replace a file.
func workInMemory() error {
	text, err := os.ReadFile("/data/colours.txt")
	if err != nil {
		return err
	}
	words := strings.Fields(string(text))
	slices.Sort(words)

	temp, err := os.CreateTemp("", "sorted-*")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(temp, strings.Join(words, " ")); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll("/tmp/a/b", 0o700); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), "/tmp/a/b/sorted"); err != nil {
		return err
	}
	result, err := os.ReadFile("/tmp/a/b/sorted")
	if err != nil {
		return err
	}
	fmt.Printf("/tmp/a/b/sorted: %s\n", bytes.TrimSpace(result))

	entries, err := os.ReadDir("/tmp")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fmt.Printf("left in /tmp: %s\n", entry.Name())
	}
	return os.RemoveAll("/tmp/a")
}
