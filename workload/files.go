// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"enarx.dev/enarx/internal/diag"
)

// fileKeys is what an entry of each kind may say, besides kind and name. The
// host of a listen entry means nothing: upstream's chat-client example has
// one, so it is accepted with a warning.
var fileKeys = map[Kind][]string{
	KindNull:    {},
	KindStdin:   {},
	KindStdout:  {},
	KindStderr:  {},
	KindListen:  {"prot", "addr", "port", "ca", "client_auth", "host"},
	KindConnect: {"prot", "host", "port", "ca"},
	KindDir:     {"path", "from"},
}

// kinds in the order of the documentation, for messages.
var kinds = []Kind{KindNull, KindStdin, KindStdout, KindStderr, KindListen, KindConnect, KindDir}

func (d *decoder) files(n *node) ([]File, error) {
	if n.kind == unstable.Table {
		return nil, d.errorAt(n.pos, "files", "write [[files]]", "files must be an array of tables, not a table")
	}
	if n.kind != unstable.ArrayTable {
		if err := d.want(n, "files", unstable.Array); err != nil {
			return nil, err
		}
	}
	if len(n.items) > MaxFiles {
		return nil, d.errorAt(n.items[MaxFiles].pos, "files", "", "more than %d entries of files", MaxFiles)
	}
	var files []File
	seen := make(map[string]bool)
	for i, item := range n.items {
		if err := d.want(item, fmt.Sprintf("files[%d]", i), unstable.Table); err != nil {
			return nil, err
		}
		e := &entry{decoder: d, at: item.pos, table: item.table}
		f, err := e.file()
		if err != nil {
			return nil, err
		}
		if f.Kind == KindDir {
			if seen[f.Path] {
				return nil, d.errorAt(e.nodes["path"].pos, "path", "", "two dir entries have the path %.64q", f.Path)
			}
			seen[f.Path] = true
		}
		files = append(files, f)
	}
	return files, nil
}

// entry decodes one entry of files.
type entry struct {
	*decoder
	*table
	at   int // offset of the entry
	kind Kind
}

func (e *entry) file() (File, error) {
	if err := e.readKind(); err != nil {
		return File{}, err
	}
	for _, name := range e.names {
		if err := e.checkKey(name); err != nil {
			return File{}, err
		}
	}
	f := File{Kind: e.kind, Name: string(e.kind)}
	var err error
	switch e.kind {
	case KindListen:
		err = e.listen(&f)
	case KindConnect:
		err = e.connect(&f)
	case KindDir:
		err = e.dir(&f)
	}
	if err != nil {
		return File{}, err
	}
	return f, e.name(&f)
}

func (e *entry) readKind() error {
	n := e.nodes["kind"]
	if n == nil {
		at, hint := e.at, `add kind = "…": `+strings.Join(kindNames(), ", ")
		if old := e.nodes["type"]; old != nil { // the schema before 0.4
			at, hint = old.key, "the key is called kind"
		} else {
			for _, name := range e.names {
				if _, ok := diag.Closest(name, "kind"); ok {
					at, hint = e.nodes[name].key, `did you mean "kind"?`
				}
			}
		}
		return e.errorAt(at, "kind", hint, "an entry of files without a kind")
	}
	word, err := e.word(n, "kind", "kind", kindNames())
	e.kind = Kind(word)
	return err
}

func kindNames() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return names
}

// checkKey refuses what an entry of this kind cannot say.
func (e *entry) checkKey(name string) error {
	known := append([]string{"kind", "name"}, fileKeys[e.kind]...)
	if slices.Contains(known, name) {
		return nil
	}
	at := e.nodes[name].key
	if e.kind == KindListen { // its host is tolerated, not offered
		known = slices.DeleteFunc(known, func(k string) bool { return k == "host" })
	}
	var owners []string
	for _, k := range kinds {
		if slices.Contains(fileKeys[k], name) && (name != "host" || k == KindConnect) {
			owners = append(owners, string(k))
		}
	}
	if owners != nil {
		return e.errorAt(at, name, name+" belongs to the kinds: "+strings.Join(owners, ", "), "a %s entry has no %q", e.kind, name)
	}
	hint := diag.Suggest(name, "known keys", known)
	if slices.Contains(rootKeys, name) {
		hint = name + " belongs at the top of the file, before the first [table] or [[table]]"
	}
	return e.errorAt(at, name, hint, "unknown key %.64q in a %s entry", name, e.kind)
}

// text reads an optional string; present tells an empty one from none.
func (e *entry) text(key string) (text string, present bool, err error) {
	n := e.nodes[key]
	if n == nil {
		return "", false, nil
	}
	return n.text, true, e.want(n, key, unstable.String)
}

func (e *entry) required(key, hint string) (string, error) {
	text, present, err := e.text(key)
	if err == nil && !present {
		err = e.errorAt(e.at, key, hint, "a %s entry needs %q", e.kind, key)
	}
	return text, err
}

func (e *entry) name(f *File) error {
	text, present, err := e.text("name")
	if err != nil {
		return err
	}
	at, hint := e.at, ""
	switch {
	case present:
		f.Name, at = text, e.nodes["name"].pos
	case f.Kind == KindConnect:
		f.Name, at = f.Host, e.nodes["host"].pos
		hint = "add a name; it defaults to the host"
	}
	switch {
	case strings.ContainsRune(f.Name, ':'):
		return e.errorAt(at, "name", hint, "file name must not contain ':'") // FD_NAMES is joined with it
	case strings.ContainsRune(f.Name, 0):
		return e.errorAt(at, "name", "", "file name must not contain NUL")
	}
	return nil
}

// socket reads what listen and connect entries share.
func (e *entry) socket(f *File, lowPort int64) error {
	f.Prot, f.Port = ProtTLS, 443
	if n := e.nodes["prot"]; n != nil {
		word, err := e.word(n, "prot", "prot", []string{string(ProtTCP), string(ProtTLS)})
		if err != nil {
			return err
		}
		f.Prot = Prot(word)
	}
	if f.Prot == ProtTCP {
		f.Port = 80
		for _, key := range []string{"ca", "client_auth"} {
			if n := e.nodes[key]; n != nil {
				return e.errorAt(n.key, key, `set prot = "tls"`, "%s needs TLS", key)
			}
		}
	}
	if n := e.nodes["port"]; n != nil {
		port, err := e.integer(n, "port", lowPort, 65535)
		if err != nil {
			return err
		}
		f.Port = uint16(port)
	}
	ca, present, err := e.text("ca")
	if err != nil || !present {
		return err
	}
	f.CA = ca
	if f.Kind == KindListen && ca == CASteward {
		return nil
	}
	if _, err := ParseCA(ca); err != nil {
		hint := "put the PEM certificates themselves between triple quotes"
		if f.Kind == KindListen {
			hint += `, or write "steward"`
		}
		return e.errorAt(e.nodes["ca"].pos, "ca", hint, "%s", err)
	}
	return nil
}

func (e *entry) listen(f *File) error {
	if err := e.socket(f, 0); err != nil {
		return err
	}
	if n := e.nodes["host"]; n != nil {
		e.warnAt(n.key, "host means nothing in a listen entry; addr is the address to listen on")
	}
	f.Addr = "::"
	if addr, present, err := e.text("addr"); err != nil {
		return err
	} else if present {
		if err := checkHost(addr); err != nil {
			return e.errorAt(e.nodes["addr"].pos, "addr", hostHint(addr), "%s", err)
		}
		f.Addr = addr
	}
	if f.Prot == ProtTCP {
		return nil
	}
	f.ClientAuth = ClientAuthNone
	if n := e.nodes["client_auth"]; n != nil {
		word, err := e.word(n, "client_auth", "client_auth", []string{string(ClientAuthNone), string(ClientAuthRequest), string(ClientAuthRequire)})
		if err != nil {
			return err
		}
		f.ClientAuth = ClientAuth(word)
	}
	if f.ClientAuth == ClientAuthNone && f.CA != "" {
		return e.errorAt(e.nodes["ca"].key, "ca", `add client_auth = "require"`, "ca on a listen entry without client_auth")
	}
	if f.ClientAuth != ClientAuthNone && f.CA == "" {
		return e.errorAt(e.nodes["client_auth"].pos, "client_auth", `add ca with PEM certificates, or ca = "steward"`, "client_auth = %q needs a ca", string(f.ClientAuth))
	}
	return nil
}

func (e *entry) connect(f *File) error {
	host, err := e.required("host", `add host = "…", the name or address to connect to`)
	if err != nil {
		return err
	}
	if err := checkHost(host); err != nil {
		return e.errorAt(e.nodes["host"].pos, "host", hostHint(host), "%s", err)
	}
	f.Host = host
	return e.socket(f, 1)
}

func (e *entry) dir(f *File) error {
	guest, err := e.required("path", `add path = "/…", where the program sees the directory`)
	if err != nil {
		return err
	}
	if err := CheckGuestPath(guest); err != nil {
		return e.errorAt(e.nodes["path"].pos, "path", "", "%s", err)
	}
	f.Path = guest
	from, present, err := e.text("from")
	if err != nil || !present {
		return err
	}
	if !fs.ValidPath(from) || strings.ContainsRune(from, 0) || len(from) >= maxPath {
		return e.errorAt(e.nodes["from"].pos, "from", `name a folder of the package, like "assets/img"`, "from must be a clean relative path without \"..\": %.64q", from)
	}
	f.From = from
	return nil
}
