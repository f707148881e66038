// SPDX-License-Identifier: Apache-2.0

package enarx_test

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The import policy of this module. It is a statement of policy: it is not
// edited to make a build pass. TestImportPolicy reads the source itself, every
// file whatever its build tags, because `go list` in a subprocess is invisible
// to go's test cache and would leave a stale pass.

const module = "enarx.dev/enarx"

// layers is the order of our packages. A package may import packages on lines
// below its own, and its own children. A package that is not here is an error:
// decide where it belongs first. Some are planned and do not exist yet.
const layers = `
	.
	cmd/enarx  cmd/enarx-exec  cmd/enarx-keepd  cmd/enarx-steward  cmd/enarx-drawbridge  examples
	internal/keepd  internal/lanes
	internal/loader
	internal/platform
	internal/images  internal/runner
	internal/keep  internal/wasm
	internal/wasi
	internal/handover  internal/memfs  internal/socket  internal/confine
	internal/identity  internal/steward  internal/collateral  internal/drawbridged  internal/login
	internal/measure  internal/kvm  internal/enclave  internal/shim
	attest  drawbridge  oidctest  internal/credentials
	workload  internal/snp  internal/sgx  internal/sallyport
	internal/cli  internal/serve  internal/live  internal/ledger
	internal/diag  internal/version  internal/need
`

// tcbRoots are the programs that run inside a Keep. Whatever they import of
// ours, directly or not, is the Keep's trusted computing base (TCB).
var tcbRoots = []string{"cmd/enarx-exec"}

// tcbModules is all that the TCB may import from outside, besides the standard
// library. A trailing slash takes in the packages below.
var tcbModules = []string{
	"golang.org/x/sys/",
	"golang.org/x/crypto/",
	"github.com/tetratelabs/wazero/",
	"github.com/pelletier/go-toml/v2/",
}

// A rule restricts who may import what. Patterns name one package, or with a
// trailing slash a package and all below it; ours are relative to the module.
type rule struct {
	who     []string // importers the rule is for; nil: every package; "tcb": those reachable from tcbRoots
	deny    []string // what they may not import
	except  []string // importers that may
	testsOK bool     // test files may
	why     string
}

var rules = []rule{
	{
		who: []string{"tcb"},
		deny: []string{
			"C", "plugin", "os/exec", "os/user", "net/http/", "net/rpc/", "net/smtp", "net/mail", "net/textproto", "log", "log/syslog",
			"expvar", "runtime/pprof", "runtime/trace", "runtime/coverage", "html/", "text/template/", "database/", "testing/",
		},
		testsOK: true,
		why:     "a Keep starts no programs, speaks no HTTP, loads no code, and never stops the world for a profile",
	},
	{
		deny: []string{"C"},
		why:  "every program is one static file that the stock Go toolchain links",
	},
	{
		deny:   []string{"github.com/spf13/"},
		except: []string{"cmd/enarx", "cmd/enarx-steward", "cmd/enarx-drawbridge", "internal/cli"},
		why:    "command lines are parsed in the command",
	},
	{
		deny:    []string{"github.com/tetratelabs/wazero/"},
		except:  []string{"internal/wasm/"},
		testsOK: true,
		why:     "the engine stays behind internal/wasm, so that a second one can take its place",
	},
	{
		deny:    []string{module + "/internal/need", "testing/", "github.com/google/go-cmp/", "github.com/rogpeppe/go-internal/"},
		except:  []string{"internal/need"},
		testsOK: true,
		why:     "test support is for tests",
	},
	{
		deny:    []string{"github.com/google/go-sev-guest/", "github.com/google/go-tdx-guest/"},
		except:  []string{"internal/lanes/attestbench"},
		testsOK: true,
		why:     "our verifier is compared with others, not made of them",
	},
	{
		deny:    []string{module + "/attest/attesttest/"},
		except:  []string{"attest/attesttest/", "internal/collateral/fakevendor", "internal/lanes/attestbench"},
		testsOK: true,
		why:     "what makes evidence is linked into nothing that accepts it",
	},
	{
		who: []string{"drawbridge"},
		deny: []string{
			"os/", "net/", "log/", "C", "plugin", "html/", "text/template/", "github.com/", "gocloud.dev/", "golang.org/x/oauth2/",
		},
		testsOK: true,
		why:     "the Keep links it: names, digests, listings and signatures are pure, and need the standard library alone",
	},
	{
		deny:    []string{module + "/oidctest"},
		except:  []string{"oidctest/", "internal/lanes/drawbridgebench"},
		testsOK: true,
		why:     "a provider that says yes to everybody is linked into nothing that believes it",
	},
	{
		deny:   []string{"gocloud.dev/", "github.com/aws/"},
		except: []string{"internal/drawbridged/", "cmd/enarx-drawbridge"},
		why:    "blobs are stored by the Drawbridge alone",
	},
	{
		deny:   []string{module + "/internal/shim/"},
		except: []string{"internal/shim/"},
		why:    "the shim is embedded as bytes, never linked into a host program",
	},
	{
		who:     []string{"examples/"},
		deny:    []string{module + "/cmd/", module + "/internal/", module + "/workload/", module + "/attest/", module + "/drawbridge/"},
		testsOK: true,
		why:     "examples are ordinary programs: they use what any guest or client has",
	},
	{
		who: []string{"internal/shim/"},
		deny: []string{
			module + "/attest/", module + "/drawbridge/", module + "/workload/", module + "/internal/diag", module + "/internal/version",
		},
		why: "of our packages, the shim may import only snp, sgx and sallyport: it has no heap and no runtime",
	},
	{
		who:     []string{"internal/snp/", "internal/sgx/", "internal/sallyport/", "internal/measure/", "attest/"},
		deny:    []string{"os/", "net/", "log/"},
		except:  []string{"attest/attesttest/silicon", "attest/attesttest/conformance"}, // programs
		testsOK: true,
		why:     "layouts and verification are pure: every input is an argument",
	},
	{
		who:     []string{"internal/memfs"},
		deny:    []string{"os/", "net/", "path/filepath"},
		testsOK: true,
		why:     "the guest's file system lives in memory and knows no host path",
	},
	{
		who:     []string{"tcb"},
		deny:    []string{module + "/internal/memfs/packdir"},
		testsOK: true,
		why:     "packdir reads the host's directories, on the host",
	},
}

// matches reports whether name is one of the patterns, as described at rule.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return name == strings.TrimSuffix(p, "/") || strings.HasSuffix(p, "/") && strings.HasPrefix(name, p)
	})
}

// ours returns the folder of an import path of this module.
func ours(imported string) (string, bool) {
	return strings.CutPrefix(imported, module+"/")
}

// isStd uses that only paths outside the standard library start with a domain.
func isStd(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// rank returns the line of pkg in layers, of its longest listed parent if it
// is not listed itself, and that name.
func rank(pkg string) (line int, name string, ok bool) {
	for name = pkg; ; name = path.Dir(name) {
		for i, l := range strings.Split(layers, "\n") {
			if slices.Contains(strings.Fields(l), name) {
				return i, name, name != "." || pkg == "."
			}
		}
		if name == "." {
			return 0, "", false
		}
	}
}

// reachable returns the packages of ours that the roots import, directly or
// not, in files that are not tests.
func reachable(all []source, roots []string) map[string]bool {
	edges := map[string][]string{}
	for _, s := range all {
		for _, imp := range s.imports {
			if pkg, ok := ours(imp); ok && !s.test {
				edges[s.pkg] = append(edges[s.pkg], pkg)
			}
		}
	}
	seen := map[string]bool{}
	for todo := slices.Clone(roots); len(todo) > 0; {
		pkg := todo[0]
		todo = todo[1:]
		if !seen[pkg] {
			seen[pkg] = true
			todo = append(todo, edges[pkg]...)
		}
	}
	return seen
}

// checkLayer returns what is wrong with s importing imp, a package of ours.
// Tests may look up: an import cycle is impossible there anyway.
func checkLayer(s source, imp string) string {
	pkg, _ := ours(imp)
	to, toName, ok := rank(pkg)
	from, fromName, ok2 := rank(s.pkg)
	switch {
	case !ok || !ok2, s.test:
		return "" // an unlisted package is reported once, by checkImports
	case toName == fromName || to > from:
		return ""
	}
	return fmt.Sprintf("%s imports %s: %s is not below %s in the layers", s.file, imp, toName, fromName)
}

// checkImports returns every violation of the policy, each naming the file,
// the import and the rule.
func checkImports(all []source) []string {
	var bad []string
	tcb := reachable(all, tcbRoots)
	unlisted := map[string]bool{}
	for _, s := range all {
		if _, _, ok := rank(s.pkg); !ok {
			unlisted[s.pkg] = true
		}
		for _, imp := range s.imports {
			if imp == "unsafe" && !s.test && !strings.HasSuffix(s.file, "_unsafe.go") {
				bad = append(bad, fmt.Sprintf("%s imports unsafe: only files named *_unsafe.go may", s.file))
			}
			_, own := ours(imp)
			if own {
				if problem := checkLayer(s, imp); problem != "" {
					bad = append(bad, problem)
				}
			}
			if tcb[s.pkg] && !s.test && !own && !isStd(imp) && !matches(tcbModules, imp) {
				bad = append(bad, fmt.Sprintf("%s imports %s: not among the modules a Keep's program may link (tcbModules)", s.file, imp))
			}
			for _, r := range rules {
				if r.denies(s, imp, tcb[s.pkg]) {
					bad = append(bad, fmt.Sprintf("%s imports %s: %s", s.file, imp, r.why))
				}
			}
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(unlisted)) {
		bad = append(bad, fmt.Sprintf("package %s is in no line of the layers", pkg))
	}
	return bad
}

func (r rule) denies(s source, imp string, inTCB bool) bool {
	concerned := r.who == nil || matches(r.who, s.pkg) || inTCB && slices.Contains(r.who, "tcb")
	return concerned && matches(r.deny, imp) && !matches(r.except, s.pkg) && !(s.test && r.testsOK)
}

func TestImportPolicy(t *testing.T) {
	all, err := readSources(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range tcbRoots {
		if !slices.ContainsFunc(all, func(s source) bool { return s.pkg == root }) {
			t.Errorf("%s does not exist, so nothing of its TCB was checked", root)
		}
	}
	for _, problem := range checkImports(all) {
		t.Error(problem)
	}
}

// goodTree obeys the policy. Each case of TestImportPolicyCatches changes or
// adds one file.
var goodTree = map[string]string{
	"cmd/enarx/main.go":           `import ("os/exec"; "github.com/spf13/cobra"; "enarx.dev/enarx/internal/loader")`,
	"examples/client/main.go":     `import "enarx.dev/enarx/examples/internal/peer"`,
	"examples/internal/peer/p.go": ``,
	"cmd/enarx-exec/main.go":      `import "enarx.dev/enarx/internal/wasm"`,
	"internal/loader/nil.go":      `import ("os/exec"; "enarx.dev/enarx/internal/handover")`,
	"internal/wasm/wazero.go":     `import ("github.com/tetratelabs/wazero"; "enarx.dev/enarx/internal/wasi")`,
	"internal/wasm/mem_unsafe.go": `import "unsafe"`,
	"internal/wasi/wasi.go":       `import ("os"; "enarx.dev/enarx/internal/memfs")`,
	"internal/wasi/wasi_test.go":  `import ("net/http"; "enarx.dev/enarx/internal/wasm"; "enarx.dev/enarx/internal/need")`,
	"internal/memfs/memfs.go":     `import "syscall"`,
	"internal/handover/fd.go":     `import ("github.com/pelletier/go-toml/v2"; "enarx.dev/enarx/workload")`,
	"internal/need/need.go":       `import "testing"`,
	"workload/workload.go":        `import "enarx.dev/enarx/internal/diag"`,
	"internal/diag/diag.go":       ``,
	"internal/snp/report.go":      ``,
	"bench/go.mod":                "module enarx.dev/enarx/bench\n",
	"bench/main.go":               `import "example.com/anything"`,
}

func checkTree(t *testing.T, file, imports string) []string {
	t.Helper()
	tree := maps.Clone(goodTree)
	if file != "" {
		tree[file] = imports
	}
	root := t.TempDir()
	for name, text := range tree {
		name = filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(name) == ".go" {
			text = "package p\n" + text + "\n"
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := readSources(root)
	if err != nil {
		t.Fatal(err)
	}
	return checkImports(all)
}

// A check that cannot fail is worth nothing, so each rule is broken once.
func TestImportPolicyCatches(t *testing.T) {
	if bad := checkTree(t, "", ""); len(bad) != 0 {
		t.Fatalf("the good tree is refused: %q", bad)
	}
	tests := []struct{ name, file, imports, want string }{
		{"foreign module in a Keep", "internal/memfs/tar.go", `import "github.com/google/uuid"`, "internal/memfs/tar.go imports github.com/google/uuid: not among the modules"},
		{"look-alike module", "internal/wasi/x.go", `import "golang.org/x/sysinfo"`, "imports golang.org/x/sysinfo: not among"},
		{"HTTP in a Keep", "internal/wasi/x.go", `import "net/http/httptrace"`, "imports net/http/httptrace: a Keep starts no"},
		{"programs in a Keep", "internal/memfs/x.go", `import "os/exec"`, "internal/memfs/x.go imports os/exec: a Keep starts no"},
		{"example of ours only", "examples/hello/x.go", `import "enarx.dev/enarx/workload"`, "examples are ordinary programs"},
		{"profile in a Keep", "cmd/enarx-exec/x.go", `import _ "runtime/pprof"`, "imports runtime/pprof: a Keep starts no"},
		{"behind a build tag", "internal/wasi/x_windows.go", `import "os/exec"`, "internal/wasi/x_windows.go imports os/exec"},
		{"upwards", "internal/memfs/x.go", `import "enarx.dev/enarx/internal/wasi"`, "internal/wasi is not below internal/memfs"},
		{"sideways", "internal/handover/x.go", `import "enarx.dev/enarx/internal/memfs"`, "internal/memfs is not below internal/handover"},
		{"unlisted package", "internal/util/x.go", ``, "package internal/util is in no line"},
		{"cgo", "internal/loader/x.go", `import "C"`, "imports C: every program is one static file"},
		{"cobra outside the command", "internal/loader/x.go", `import "github.com/spf13/pflag"`, "imports github.com/spf13/pflag: command lines"},
		{"engine outside wasm", "internal/wasi/x.go", `import "github.com/tetratelabs/wazero/api"`, "the engine stays behind"},
		{"need outside tests", "internal/loader/x.go", `import "enarx.dev/enarx/internal/need"`, "test support is for tests"},
		{"foreign verifier", "attest/snp/x.go", `import "github.com/google/go-sev-guest/verify"`, "compared with others, not made of them"},
		{"evidence made where it is judged", "internal/steward/x.go", `import "enarx.dev/enarx/attest/attesttest"`, "linked into nothing that accepts it"},
		{"a clock on the network", "attest/x.go", `import "net/http"`, "every input is an argument"},
		{"shim linked", "internal/loader/x.go", `import "enarx.dev/enarx/internal/shim/kvm"`, "the shim is embedded as bytes"},
		{"shim with a heap", "internal/shim/kvm/x.go", `import "enarx.dev/enarx/internal/diag"`, "the shim may import only"},
		{"impure layout", "internal/snp/x.go", `import "log/slog"`, "layouts and verification are pure"},
		{"host path in memfs", "internal/memfs/x.go", `import "os"`, "knows no host path"},
		{"host reader in a Keep", "internal/wasi/x.go", `import "enarx.dev/enarx/internal/memfs/packdir"`, "packdir reads the host's"},
		{"unsafe in a plain file", "internal/wasm/x.go", `import "unsafe"`, "internal/wasm/x.go imports unsafe: only files named"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bad := checkTree(t, tt.file, tt.imports)
			if !slices.ContainsFunc(bad, func(b string) bool { return strings.Contains(b, tt.want) }) {
				t.Errorf("got %q, want one with %q", bad, tt.want)
			}
		})
	}
}
