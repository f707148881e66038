// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// everyPage returns what the site shows, by a name for it.
func everyPage(t *testing.T) map[string]page {
	t.Helper()
	r := newRig(t, nil)
	furnish(t, r)
	anybody, alice, novice := r.visitor(), r.visitor(), r.visitor()
	pages := map[string]page{}
	for _, path := range []string{
		"/", "/-/search", "/-/search?q=nothing", "/alice", "/alice/hello", "/alice/module", "/alice/hello/1.0.0", "/alice/hello/1.1.0", "/alice/hello/0.9.0",
		"/alice/module/1.0.0", "/alice/hello/1.0.0/tree", "/alice/hello/1.0.0/tree/assets", "/alice/hello/1.0.0/tree/Enarx.toml", "/none", "/-/tokens", "/-/callback",
	} {
		pages[path] = anybody.get(path)
	}
	alice.signIn(aliceSub, "/")
	alice.post("/-/tokens", url.Values{"kind": {"robot"}, "for": {"alice/"}, "action": {"read"}, "days": {"1"}})
	for _, path := range []string{"/", "/alice", "/alice/hello", "/alice/secret", "/alice/hello/1.0.0", "/alice/hello/0.9.0", "/-/tokens"} {
		pages["alice "+path] = alice.want(200, path)
	}
	pages["alice made a token"] = alice.post("/-/tokens", url.Values{"kind": {"robot"}, "for": {"alice/"}, "action": {"read"}, "days": {"1"}})
	pages["alice made none"] = alice.post("/-/tokens", url.Values{"kind": {"deployment"}, "for": {"alice/secret"}, "days": {"1"}})
	pages["alice made no repository"] = alice.post("/-/new", url.Values{"user": {"alice"}, "name": {"a/b"}})
	alice.post("/-/new", url.Values{"user": {"alice"}, "name": {"empty"}})
	pages["alice empty repository"] = alice.want(200, "/alice/empty")
	pages["novice"] = novice.signIn("test|novice", "/")
	pages["novice chose badly"] = novice.post("/-/register", url.Values{"name": {"a b"}})
	return pages
}

// TestAccessible checks what can be checked of WCAG 2.2 without eyes.
func TestAccessible(t *testing.T) {
	titles := map[string]string{}
	for name, p := range everyPage(t) {
		doc, err := html.Parse(strings.NewReader(p.text))
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range problems(doc) {
			t.Errorf("%s: %s", name, problem)
		}
		title := words(all(doc, "title")[0])
		if before, _, ok := strings.Cut(name, " "); ok || before == "novice" {
			continue // the same page for somebody else
		}
		if titles[title] != "" && p.StatusCode == 200 {
			t.Errorf("%s and %s have the same title %q", name, titles[title], title)
		}
		titles[title] = name
	}
}

// problems returns what is wrong with a page for those who use it by keyboard
// or ear, or forbidden by the policy.
func problems(doc *html.Node) (bad []string) {
	note := func(n *html.Node, what string) {
		var b strings.Builder
		_ = html.Render(&b, n)
		bad = append(bad, what+": "+b.String()[:min(b.Len(), 160)])
	}
	ids, labels := map[string]*html.Node{}, map[string]bool{}
	for _, n := range all(doc, "*") {
		if id := attr(n, "id"); id != "" {
			if ids[id] != nil {
				note(n, "the id is there twice")
			}
			ids[id] = n
		}
		if n.Data == "label" && has(n, "for") {
			labels[attr(n, "for")] = true
		}
	}
	for _, name := range []string{"main", "header", "footer", "h1", "title"} {
		if n := len(all(doc, name)); n != 1 {
			bad = append(bad, "there is not one "+name)
		}
	}
	if root := all(doc, "html")[0]; attr(root, "lang") != "en" {
		note(root, "no language")
	}
	if first := all(all(doc, "body")[0], "a")[0]; attr(first, "href") != "#main" || ids["main"] == nil || ids["main"].Data != "main" {
		note(first, "no skip link")
	}
	level := 0
	for _, n := range all(doc, "*") {
		if len(n.Data) == 2 && n.Data[0] == 'h' && n.Data[1] >= '1' && n.Data[1] <= '6' {
			if now := int(n.Data[1] - '0'); now > level+1 {
				note(n, "a level of headings is left out")
			} else {
				level = now
			}
		}
		if what := element(n, ids, labels); what != "" {
			note(n, what)
		}
	}
	return bad
}

var remote = regexp.MustCompile(`^(?i)(https?:)?//|^(data|javascript|vbscript):`)

// element returns what is wrong with one element.
func element(n *html.Node, ids map[string]*html.Node, labels map[string]bool) string {
	for _, a := range n.Attr {
		switch {
		case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
			return "inline style or script"
		case a.Key == "tabindex" && a.Val != "0" && a.Val != "-1":
			return "an order of its own"
		case a.Key == "aria-describedby" || a.Key == "aria-labelledby":
			for id := range strings.FieldsSeq(a.Val) {
				if ids[id] == nil || words(ids[id]) == "" {
					return a.Key + " leads nowhere"
				}
			}
		case (a.Key == "src" || a.Key == "href" && n.Data == "link" || a.Key == "action") && remote.MatchString(a.Val):
			return "something from elsewhere"
		}
	}
	if what := field(n, labels); what != "" {
		return what
	}
	switch n.Data {
	case "script", "style", "iframe", "object", "embed", "base":
		return "an element that the policy forbids"
	case "a", "button", "label", "legend", "summary", "h1", "h2", "th", "caption":
		if words(n) == "" && attr(n, "aria-label") == "" {
			return "nothing to read"
		}
		if n.Data == "th" && attr(n, "scope") == "" {
			return "a header of nothing"
		}
	case "table":
		if len(all(n, "caption")) != 1 || len(all(n, "th")) == 0 || len(all(n, "thead")) != 1 {
			return "a table without caption or headers"
		}
	case "nav":
		if attr(n, "aria-label") == "" {
			return "a landmark without a name"
		}
	case "section":
		if attr(n, "aria-labelledby") == "" {
			return "a section without a name"
		}
	case "svg":
		if attr(n, "aria-hidden") != "true" {
			return "a picture without words"
		}
	case "time":
		if attr(n, "datetime") == "" {
			return "a time for people only"
		}
	}
	return ""
}

// field returns what is wrong with a form or what is in one.
func field(n *html.Node, labels map[string]bool) string {
	switch n.Data {
	case "input", "select", "textarea":
		if attr(n, "type") != "hidden" && !labels[attr(n, "id")] && attr(n, "aria-label") == "" && !inside(n, "label") {
			return "a field without a label"
		}
		if kind := attr(n, "type"); (kind == "radio" || kind == "checkbox") && !inside(n, "fieldset") {
			return "choices without a group"
		}
	case "fieldset":
		if len(all(n, "legend")) != 1 {
			return "a group without a name"
		}
	case "form":
		if attr(n, "method") == "post" && !strings.Contains(render(n), `name="csrf" value="`) {
			return "a form that anybody can forge"
		}
	}
	return ""
}

func inside(n *html.Node, name string) bool {
	for p := n.Parent; p != nil; p = p.Parent {
		if p.Data == name {
			return true
		}
	}
	return false
}

func render(n *html.Node) string {
	var b strings.Builder
	_ = html.Render(&b, n)
	return b.String()
}

// A check that cannot fail is worth nothing, so each is broken once.
func TestAccessibleCatches(t *testing.T) {
	good := `<!doctype html><html lang="en"><head><title>t</title></head><body><a href="#main">skip</a><header>x</header>
		<main id="main"><h1>a</h1>%</main><footer>f</footer></body></html>`
	for body, want := range map[string]string{
		"":                                     "",
		`<h3>x</h3>`:                           "a level of headings is left out",
		`<h1>again</h1>`:                       "not one h1",
		`<input name="x">`:                     "without a label",
		`<label>x <input name="x"></label>`:    "",
		`<label><input type="radio">x</label>`: "choices without a group",
		`<p style="color:red">x</p>`:           "inline style",
		`<p onclick="x()">x</p>`:               "inline style or script",
		`<script>x</script>`:                   "policy forbids",
		`<p id="a">x</p><p id="a">y</p>`:       "twice",
		`<input aria-label="x" aria-describedby="none">`:         "leads nowhere",
		`<table><caption>c</caption><tr><td>x</td></tr></table>`: "without caption or headers",
		`<a href="/x"></a>`: "nothing to read",
		`<nav>x</nav>`:      "landmark",
		`<form method="post"><button>x</button></form>`: "forge",
		`<form action="//evil.example"></form>`:         "elsewhere",
		`<button tabindex="3">x</button>`:               "order of its own",
		`<svg></svg>`:                                   "picture",
	} {
		doc, err := html.Parse(strings.NewReader(strings.Replace(good, "%", body, 1)))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(problems(doc), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}
