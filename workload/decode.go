// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"enarx.dev/enarx/internal/diag"
)

var rootKeys = []string{"args", "env", "files", "limits", "log", "steward"}

func (d *decoder) config(root *table) (*Config, error) {
	if err := d.checkKeys(root, "", rootKeys); err != nil {
		return nil, err
	}
	c := &Config{}
	for _, name := range root.names {
		n := root.nodes[name]
		var err error
		switch name {
		case "args":
			c.Args, err = d.args(n)
		case "env":
			c.Env, err = d.env(n)
		case "files":
			c.FilesDeclared = true
			c.Files, err = d.files(n)
		case "limits":
			c.Limits, err = d.limits(n)
		case "log":
			c.Log, err = d.log(n)
		case "steward":
			c.Steward, err = d.steward(n)
		}
		if err != nil {
			return nil, err
		}
	}
	if !c.FilesDeclared {
		d.warnAt(0, "no files: the program reads nothing and its output is discarded; add [[files]] entries for stdin, stdout and stderr, or files = [] if that is meant")
	}
	return c, nil
}

// checkKeys refuses keys of t outside known. where says what t is.
func (d *decoder) checkKeys(t *table, where string, known []string) error {
	for _, name := range t.names {
		if !slices.Contains(known, name) {
			return d.errorAt(t.nodes[name].key, name, diag.Suggest(name, "known keys", known), "unknown key %.64q%s", name, where)
		}
	}
	return nil
}

func (d *decoder) args(n *node) ([]string, error) {
	args, err := d.stringArray(n, "args")
	if err != nil {
		return nil, err
	}
	for i, arg := range args {
		if strings.ContainsRune(arg, 0) {
			return nil, d.errorAt(n.items[i].pos, "args", "", "an argument must not contain NUL")
		}
	}
	return args, nil
}

func (d *decoder) env(n *node) (map[string]string, error) {
	if err := d.want(n, "env", unstable.Table); err != nil {
		return nil, err
	}
	var env map[string]string
	for _, name := range n.table.names {
		v := n.table.nodes[name]
		if err := d.want(v, fmt.Sprintf("env.%.64s", name), unstable.String); err != nil {
			return nil, err
		}
		if err := CheckEnv(name, v.text); err != nil {
			return nil, d.errorAt(v.key, name, "", "%s", err)
		}
		if env == nil {
			env = make(map[string]string)
		}
		env[name] = v.text
	}
	return env, nil
}

func (d *decoder) steward(n *node) (string, error) {
	const key = "steward"
	if err := d.want(n, key, unstable.String); err != nil {
		return "", err
	}
	u, err := url.Parse(n.text)
	switch {
	case err != nil || u.Hostname() == "":
		return "", d.errorAt(n.pos, key, `write it like "https://steward.example.org"`, "steward is not a URL with a host name")
	case u.Scheme != "https":
		return "", d.errorAt(n.pos, key, "", "steward must be an https URL")
	case u.User != nil || u.Fragment != "":
		return "", d.errorAt(n.pos, key, "", "steward must not have a user, a password or a fragment")
	}
	return n.text, nil
}

func (d *decoder) log(n *node) (Log, error) {
	var l Log
	if err := d.want(n, "log", unstable.Table); err != nil {
		return l, err
	}
	if err := d.checkKeys(n.table, " in log", []string{"mode", "recipients"}); err != nil {
		return l, err
	}
	mode, recipients := n.table.nodes["mode"], n.table.nodes["recipients"]
	if mode != nil {
		word, err := d.word(mode, "mode", "log mode", []string{string(LogEncrypted), string(LogHost), string(LogNone)})
		if err != nil {
			return l, err
		}
		l.Mode = LogMode(word)
	}
	if recipients != nil {
		var err error
		if l.Recipients, err = d.stringArray(recipients, "recipients"); err != nil {
			return l, err
		}
		for i, r := range l.Recipients {
			if err := checkRecipient(r); err != nil {
				return l, d.errorAt(recipients.items[i].pos, "recipients", "", "%s", err)
			}
		}
		if l.Mode != LogEncrypted {
			return l, d.errorAt(recipients.key, "recipients", `set mode = "encrypted"`, "recipients without encrypted logs")
		}
	}
	if l.Mode == LogEncrypted && len(l.Recipients) == 0 {
		return l, d.errorAt(mode.pos, "mode", `add recipients = ["age1…"]; age-keygen makes one`, "encrypted logs need recipients")
	}
	return l, nil
}

func (d *decoder) limits(n *node) (Limits, error) {
	var l Limits
	if err := d.want(n, "limits", unstable.Table); err != nil {
		return l, err
	}
	if err := d.checkKeys(n.table, " in limits", []string{"memory", "sockets", "wall"}); err != nil {
		return l, err
	}
	var err error
	if v := n.table.nodes["memory"]; v != nil {
		if l.Memory, err = d.memory(v); err != nil {
			return l, err
		}
	}
	if v := n.table.nodes["sockets"]; v != nil {
		count, err := d.integer(v, "sockets", 1, maxSockets)
		if err != nil {
			return l, err
		}
		l.Sockets = int(count)
	}
	if v := n.table.nodes["wall"]; v != nil {
		if l.Wall, err = d.wall(v); err != nil {
			return l, err
		}
	}
	return l, nil
}

// want refuses a value of another type than kind.
func (d *decoder) want(n *node, key string, kind unstable.Kind) error {
	if n.kind == kind {
		return nil
	}
	return d.errorAt(n.pos, key, "", "%s must be %s, not %s", key, describe(kind), describe(n.kind))
}

func describe(kind unstable.Kind) string {
	switch kind {
	case unstable.String:
		return "a string"
	case unstable.Integer:
		return "an integer"
	case unstable.Float:
		return "a float"
	case unstable.Bool:
		return "a boolean"
	case unstable.Array:
		return "an array"
	case unstable.ArrayTable:
		return "an array of tables"
	case unstable.Table:
		return "a table"
	}
	return "a date or time"
}

// word reads a string that must be one of known.
func (d *decoder) word(n *node, key, what string, known []string) (string, error) {
	if err := d.want(n, key, unstable.String); err != nil {
		return "", err
	}
	if !slices.Contains(known, n.text) {
		return "", d.errorAt(n.pos, key, diag.Suggest(n.text, "known", known), "unknown %s %.64q", what, n.text)
	}
	return n.text, nil
}

func (d *decoder) integer(n *node, key string, low, high int64) (int64, error) {
	if err := d.want(n, key, unstable.Integer); err != nil {
		return 0, err
	}
	// TOML's underscores and radix prefixes, and its checks, by its decoder.
	var doc struct{ V int64 }
	if err := toml.Unmarshal([]byte("V = "+n.text), &doc); err != nil || doc.V < low || doc.V > high {
		return 0, d.errorAt(n.pos, key, "", "%s must be between %d and %d", key, low, high)
	}
	return doc.V, nil
}

func (d *decoder) stringArray(n *node, key string) ([]string, error) {
	if err := d.want(n, key, unstable.Array); err != nil {
		return nil, err
	}
	var all []string
	for i, item := range n.items {
		if err := d.want(item, fmt.Sprintf("%s[%d]", key, i), unstable.String); err != nil {
			return nil, err
		}
		all = append(all, item.text)
	}
	return all, nil
}
