// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/store"
)

const documentPath = "../../docs/drawbridge-api.yml"

// A tree is JSON or YAML as it was decoded.
type tree = map[string]any

// readDocument reads the description of the interface, references resolved.
func readDocument(t *testing.T) tree {
	t.Helper()
	raw, err := os.ReadFile(documentPath)
	if err != nil {
		t.Fatal(err)
	}
	var doc tree
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return resolve(t, doc, doc, 0).(tree)
}

// resolve replaces every {$ref: "#/…"} by what it refers to.
func resolve(t *testing.T, doc tree, node any, depth int) any {
	t.Helper()
	if depth > 50 {
		t.Fatal("references go round")
	}
	switch node := node.(type) {
	case tree:
		if ref, ok := node["$ref"].(string); ok {
			var at any = doc
			for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
				if at = at.(tree)[name]; at == nil {
					t.Fatalf("%s is not there", ref)
				}
			}
			return resolve(t, doc, at, depth+1)
		}
		out := tree{}
		for name, value := range node {
			out[name] = resolve(t, doc, value, depth+1)
		}
		return out
	case []any:
		out := make([]any, len(node))
		for i, value := range node {
			out[i] = resolve(t, doc, value, depth+1)
		}
		return out
	}
	return node
}

// An operation is a method of a path, as documented and as seen.
type operation struct {
	id, method, path string
	responses        tree
	request          tree // schemas by media type, nil: no body
	seen             map[int]bool
}

func operations(t *testing.T, doc tree) []*operation {
	t.Helper()
	var all []*operation
	for path, item := range doc["paths"].(tree) {
		for method, op := range item.(tree) {
			if method == "parameters" {
				continue
			}
			o := &operation{id: op.(tree)["operationId"].(string), method: strings.ToUpper(method), path: path, responses: op.(tree)["responses"].(tree), seen: map[int]bool{}}
			if body, ok := op.(tree)["requestBody"].(tree); ok {
				o.request = body["content"].(tree)
			}
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b *operation) int { return strings.Compare(a.id, b.id) })
	return all
}

// A sample is a request to an operation: what stands in the path's braces,
// header lines, and a body.
type sample struct {
	params map[string]string
	header []string
	body   string
}

func (s sample) with(name, value string) sample {
	s.params = maps.Clone(s.params)
	s.params[name] = value
	return s
}

// header replaces header lines by name; an empty value removes.
func (s sample) headed(lines ...string) sample {
	s.header = slices.Clone(s.header)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		s.header = slices.DeleteFunc(s.header, func(l string) bool { return strings.HasPrefix(l, name+": ") })
		if value != "" {
			s.header = append(s.header, line)
		}
	}
	return s
}

// sent has a body with what it needs in the header.
func (s sample) sent(mediaType, body string) sample {
	s.body = body
	return s.headed("Content-Type: "+mediaType, "Content-Digest: "+drawbridge.MetaOf([]byte(body), "").Digests.Header())
}

var brace = regexp.MustCompile(`\{[a-z0-9]+\}`)

func (s sample) path(t *testing.T, template string) string {
	t.Helper()
	return brace.ReplaceAllStringFunc(template, func(name string) string {
		value, ok := s.params[name[1:len(name)-1]]
		if !ok {
			t.Fatalf("%s: no sample for %s", template, name)
		}
		return value
	})
}

// A walk is a server with something of everything, and how to ask for it.
type walk struct {
	*rig
	owner, stranger string // header lines
	tree            *rustTree
	base            sample
}

func newWalk(t *testing.T) *walk {
	limits := func(string) store.Limits { return store.Limits{Bytes: 300_000, Repos: 30, Tags: 30} }
	r, token, tree := published(t, rigOptions{store: store.Options{Limits: limits}, config: func(c *Config) { c.Limits.Body, c.Limits.Tokens = 400_000, 50 }})
	w := &walk{rig: r, owner: bearer(token), tree: tree}
	for _, user := range []string{"full", "heavy", "laden"} { // who use up their quota
		r.rust(generations[3], token).register(user, "repo", true)
	}
	made := into[drawbridge.Token](t, r.want(201, "POST", v1+"/user/private/_token",
		`{"kind":"deployment","tag":"9.9.9","expires":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`, w.owner, asJSON))
	w.stranger = bearer(made.Secret) // a token that is good, for nothing that the walk asks for
	root, _ := tree.nodes[""].Digests.SHA256()
	w.base = sample{params: map[string]string{
		"version": "0.1.0", "user": "user", "repository": "repo", "tag": "1.0.0", "path": "main.wasm", "sha256": hex.EncodeToString(root[:]), "id": "none",
	}, header: []string{w.owner}}
	return w
}

// good is a request that succeeds, for each operation that needs more than the
// base.
func (w *walk) good(id string) sample {
	s := w.base
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	main := w.tree.nodes["main.wasm"]
	switch id {
	case "putUser":
		return s.with("user", "new").sent(drawbridge.TypeJSON, `{"subject":"test|subject"}`)
	case "putRepo":
		return s.with("repository", "new").sent(drawbridge.TypeJSON, `{"public":true}`)
	case "putTag":
		return s.with("tag", "2.0.0").sent(drawbridge.TypeEntry, string(drawbridge.Entry{Meta: drawbridge.MetaOf([]byte("root"), "x/x")}.Canonical()))
	case "putRoot":
		return s.with("tag", "2.0.0").sent("x/x", "root")
	case "putNode":
		return s.with("tag", "2.1.0").sent(main.Type, string(main.body))
	case "putLooseNode":
		return s.sent("x/x", "loose")
	case "postNodes":
		return s.sent(drawbridge.TypeJSON, "["+string(main.Meta.Canonical())+"]")
	case "putYank":
		return s.with("tag", "3.0.0").sent(drawbridge.TypeJSON, `{"reason":"walked over"}`)
	case "getYank", "deleteYank":
		return s.with("tag", "3.0.0")
	case "putPolicy":
		return s.sent(drawbridge.TypeJSON, `{"tee":["snp"],"minimum_tier":"warning"}`)
	case "postToken":
		return s.sent(drawbridge.TypeJSON, `{"kind":"deployment","tag":"1.0.0","uses":3,"expires":"`+expires+`"}`)
	case "postUserToken":
		return s.sent(drawbridge.TypeJSON, `{"kind":"robot","actions":["read"],"expires":"`+expires+`"}`)
	case "deleteToken":
		made := into[drawbridge.Token](w.t, w.want(201, "POST", v1+"/user/repo/_token", w.good("postToken").body, w.owner, asJSON))
		return s.with("id", made.ID)
	case "deleteUserToken":
		made := into[drawbridge.Token](w.t, w.want(201, "POST", v1+"/user/_token", w.good("postUserToken").body, w.owner, asJSON))
		return s.with("id", made.ID)
	case "getUpload", "deleteUpload":
		return s.with("id", w.upload())
	case "patchUpload":
		s = s.with("id", w.upload()).headed("Upload-Offset: 0", "Content-Type: application/octet-stream")
		s.body = "piece"
		return s
	case "finishUpload":
		s = s.with("id", w.uploaded("user", "piece")).sent("x/x", "piece").headed("Upload-Length: 5")
		s.body = ""
		return s
	}
	return s
}

func (w *walk) upload() string {
	return into[drawbridge.Upload](w.t, w.want(201, "POST", v1+"/user/repo/_upload", "", w.owner)).ID
}

// uploaded is an upload that has a content, and is not finished.
func (w *walk) uploaded(user, content string) string {
	at := v1 + "/" + user + "/repo/_upload"
	id := into[drawbridge.Upload](w.t, w.want(201, "POST", at, "", w.owner)).ID
	w.want(200, "PATCH", at+"/"+id, content, w.owner, "Upload-Offset: 0")
	return id
}

// ready makes what the operation needs to be there, or not to be.
func (w *walk) ready(id string) {
	root := w.tree.nodes[""]
	tag := func(name string) {
		raw := root.Canonical()
		w.ask("PUT", v1+"/user/repo/_tag/"+name, string(raw), w.owner, "Content-Type: "+drawbridge.TypeEntry, "Content-Digest: "+drawbridge.MetaOf(raw, "").Digests.Header())
	}
	switch id {
	case "putNode":
		tag("2.1.0")
	case "putRoot":
		s := w.good("putTag")
		w.ask("PUT", s.path(w.t, v1+"/{user}/{repository}/_tag/{tag}"), s.body, s.header...)
	case "getYank", "putYank", "deleteYank":
		tag("3.0.0")
		if id != "putYank" {
			w.ask("PUT", v1+"/user/repo/_tag/3.0.0/yank", `{"reason":"walked over"}`, w.owner, asJSON)
		}
	}
}

// bad are requests that are refused, or answered otherwise than with all there
// is. Which of them an operation refuses, and how, its documentation says.
func (w *walk) bad(o *operation, good sample) []sample {
	missing := strings.Repeat("0", 64)
	all := []sample{
		good.headed("Authorization: "), good.headed("Authorization: Basic x"), good.headed("Authorization: Bearer bad"), good.headed(w.stranger),
		good.with("version", "9.9.9"), good.with("version", "9"), good.with("user", "u.u"), good.with("repository", "none"), good.with("tag", "7.7.7"),
		good.with("path", "none"), good.with("sha256", missing), good.with("id", "none"),
		good.with("tag", "4.0.0"), good.with("repository", "yanked"), // both are yanked
		good.headed("Range: bytes=0-0"), good.headed("Range: bytes=99999-"), good.headed("If-None-Match: *"),
	}
	private := good.with("repository", "private")
	all = append(all, private.headed("Authorization: "), private.headed(w.stranger))
	switch o.id {
	case "search":
		all = append(all, good.with("query", "?limit=x"))
	case "postUpload":
		w.uploaded("full", strings.Repeat("x", 310_000))
		all = append(all, good.with("user", "full"))
	case "putRepo": // makes what is missing
		all = slices.DeleteFunc(all, func(s sample) bool { return s.params["repository"] == "none" })
	}
	if o.request == nil && o.id != "finishUpload" {
		return all
	}
	large := strings.Repeat(" ", maxJSON+1)
	other := good.sent(drawbridge.TypeEntry, string(drawbridge.Entry{Meta: drawbridge.MetaOf([]byte("other"), "x/x")}.Canonical()))
	all = append(all,
		good.headed("Content-Type: "), good.headed("Content-Type: text/plain"), good.headed("Content-Digest: x"), good.headed("Upload-Offset: x"), good.headed("Upload-Offset: 4"),
		good.sent(drawbridge.TypeJSON, "{"), good.sent(drawbridge.TypeJSON, `"text"`), good.sent(drawbridge.TypeJSON, large), good.sent(drawbridge.TypeBinary, "otherwise"), other,
		good.sent(drawbridge.TypeBinary, strings.Repeat("x", 310_000)), good.sent(drawbridge.TypeBinary, strings.Repeat("x", 410_000)),
		good.headed("Upload-Length: 410000"),
	)
	switch o.id {
	case "putUser":
		all = append(all, good.with("user", "user").sent(drawbridge.TypeJSON, `{"subject": "test|subject"}`))
	case "putRepo":
		all = append(all, good.sent(drawbridge.TypeJSON, `{"public":false}`))
	case "putRoot":
		all = append(all, good.with("tag", w.announced("")).sent(drawbridge.TypeBinary, strings.Repeat("x", 310_000)))
	case "putNode":
		all = append(all, good.with("tag", w.announced("large")).with("path", "large").sent(drawbridge.TypeBinary, strings.Repeat("x", 310_000)))
	case "putLooseNode":
		all = append(all, good.sent(drawbridge.TypeDirectory, large))
	case "patchUpload":
		all = append(all, good.with("user", "heavy").with("id", w.uploaded("heavy", strings.Repeat("x", 310_000))).headed("Upload-Offset: 310000"))
	case "finishUpload":
		large := strings.Repeat("x", 310_000)
		s := good.with("user", "laden").with("id", w.uploaded("laden", large)).sent("x/x", large).headed("Upload-Length: 310000")
		s.body = ""
		all = append(all, s)
	}
	return all
}

// announced makes a tag that waits for a large file, at the root or below it.
func (w *walk) announced(name string) string {
	entry, tag := drawbridge.Entry{Meta: drawbridge.MetaOf([]byte(strings.Repeat("x", 310_000)), drawbridge.TypeBinary)}, "5.0.0"
	put := func(path, mediaType string, body []byte) {
		w.want(201, "PUT", v1+"/user/repo/_tag/"+path, string(body), w.owner, "Content-Type: "+mediaType, "Content-Digest: "+drawbridge.MetaOf(body, "").Digests.Header())
	}
	var listing []byte
	if name != "" {
		listing, tag = drawbridge.Directory{name: entry}.Canonical(), "5.1.0"
		entry = drawbridge.Entry{Meta: drawbridge.MetaOf(listing, drawbridge.TypeDirectory)}
	}
	put(tag, drawbridge.TypeEntry, entry.Canonical())
	if name != "" {
		put(tag+"/tree", drawbridge.TypeDirectory, listing)
	}
	return tag
}

// yanked makes a tag that is yanked, and a repository whose only tag is.
func (w *walk) yanked() {
	root := w.tree.nodes[""].Canonical()
	header := []string{w.owner, "Content-Type: " + drawbridge.TypeEntry, "Content-Digest: " + drawbridge.MetaOf(root, "").Digests.Header()}
	w.want(201, "PUT", v1+"/user/repo/_tag/4.0.0", string(root), header...)
	w.want(201, "PUT", v1+"/user/yanked", `{"public":true}`, w.owner, asJSON)
	c := w.rust(generations[3], strings.TrimPrefix(w.owner, "Authorization: Bearer "))
	if _, _, err := c.publish("/user/yanked/_tag/1.0.0", w.tree); err != nil {
		w.t.Fatal(err)
	}
	for _, path := range []string{"/user/repo/_tag/4.0.0", "/user/yanked/_tag/1.0.0"} {
		w.want(200, "PUT", v1+path+"/yank", `{"reason":"x"}`, w.owner, asJSON)
	}
}

// try makes one request and holds the answer against the document.
func (w *walk) try(o *operation, s sample) {
	w.t.Helper()
	path := s.path(w.t, o.path) + s.params["query"]
	resp, body := w.ask(o.method, path, s.body, s.header...)
	complain := func(format string, args ...any) {
		w.t.Helper()
		w.t.Errorf("%s: %s %s %.60q: %d: %s", o.id, o.method, path, s.body, resp.StatusCode, fmt.Sprintf(format, args...))
	}
	documented, ok := o.responses[strconv.Itoa(resp.StatusCode)].(tree)
	if !ok {
		documented, ok = o.responses["default"].(tree)
		if !ok || !slices.Contains([]int{408, 429, 500, 503}, resp.StatusCode) {
			complain("not documented: %s", body)
			return
		}
	}
	o.seen[resp.StatusCode] = true
	if headers, ok := documented["headers"].(tree); ok {
		for name := range headers {
			if resp.Header.Get(name) == "" {
				complain("no %s in %v", name, resp.Header)
			}
		}
	}
	content, ok := documented["content"].(tree)
	mediaType := resp.Header.Get("Content-Type")
	if !ok {
		if body != "" || mediaType != "" {
			complain("a body that is not documented: %s %q", mediaType, body)
		}
		return
	}
	form, ok := content[mediaType].(tree)
	if !ok {
		if form, ok = content["*/*"].(tree); !ok {
			complain("the media type %q is not documented", mediaType)
			return
		}
	}
	if schema, ok := form["schema"].(tree); ok && o.method != http.MethodHead && strings.Contains(mediaType, "json") {
		if err := conforms(schema, body); err != nil {
			complain("%v in %s", err, body)
		}
	}
}

// Every path and method of the document answers as the document says, with
// every status that it says; and everything that the router serves is in it.
func TestDocument(t *testing.T) {
	w := newWalk(t)
	w.yanked()
	ops := operations(t, readDocument(t))
	served := map[endpoint][]string{}
	for _, o := range ops {
		w.ready(o.id)
		good := w.good(o.id)
		rt, no := parseRoute(good.path(t, o.path))
		if no != nil {
			t.Errorf("%s: %v", o.id, no)
			continue
		}
		served[rt.endpoint] = append(served[rt.endpoint], o.method)
		checkRequest(t, o, good)
		for _, s := range w.bad(o, good) {
			w.try(o, s)
		}
		w.ready(o.id)
		w.try(o, good)
		w.try(o, good)
		for status := range o.responses {
			if n, err := strconv.Atoi(status); err == nil && !o.seen[n] {
				t.Errorf("%s: %s is documented, but nothing is answered with it", o.id, status)
			}
		}
	}
	for ep, methods := range table {
		for method := range methods {
			if !slices.Contains(served[ep], method) {
				t.Errorf("%s of %s is served, but not documented", method, ep)
			}
		}
	}
	for _, ep := range []endpoint{epHealth, epSlash} {
		if len(served[ep]) == 0 {
			t.Errorf("%s is not documented", ep)
		}
	}
}

// checkRequest holds a body that succeeds against the document.
func checkRequest(t *testing.T, o *operation, s sample) {
	t.Helper()
	if o.request == nil {
		return
	}
	var mediaType string
	for _, line := range s.header {
		if value, ok := strings.CutPrefix(line, "Content-Type: "); ok {
			mediaType = value
		}
	}
	form, ok := o.request[mediaType].(tree)
	if !ok {
		if _, any := o.request["*/*"]; !any {
			t.Errorf("%s: a body of type %q is not documented", o.id, mediaType)
		}
		return
	}
	if err := conforms(form["schema"].(tree), s.body); err != nil {
		t.Errorf("%s: %v", o.id, err)
	}
}

// conforms reports what in the JSON text is not as the schema says.
func conforms(schema tree, text string) error {
	in := json.NewDecoder(bytes.NewReader([]byte(text)))
	in.UseNumber()
	var value any
	if err := in.Decode(&value); err != nil {
		return err
	}
	return fits(schema, value, "")
}

// keywords are those of JSON Schema that fits knows. The document must do
// with them, or it would say things that nobody checks.
var keywords = []string{
	"type", "properties", "required", "additionalProperties", "items", "enum", "minProperties", "maxItems", "maxLength", "minimum", "format", "description",
}

func fits(schema tree, value any, at string) error {
	for word := range schema {
		if !slices.Contains(keywords, word) {
			return fmt.Errorf("%s: the keyword %s is not checked", at, word)
		}
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, value) {
		return fmt.Errorf("%s: %v is not one of %v", at, value, enum)
	}
	switch schema["type"] {
	case "object":
		return fitsObject(schema, value, at)
	case "array":
		list, ok := value.([]any)
		if !ok {
			return fmt.Errorf("%s: %v is no array", at, value)
		}
		for i, element := range list {
			if err := fits(schema["items"].(tree), element, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	case "string":
		s, ok := value.(string)
		if ok && schema["format"] == "date-time" {
			_, err := time.Parse(time.RFC3339Nano, s)
			return err
		}
		if !ok {
			return fmt.Errorf("%s: %v is no string", at, value)
		}
		return nil
	case "integer":
		n, ok := value.(json.Number)
		if _, err := strconv.ParseInt(string(n), 10, 64); !ok || err != nil {
			return fmt.Errorf("%s: %v is no integer", at, value)
		}
		return nil
	case "boolean":
		if _, ok := value.(bool); !ok {
			return fmt.Errorf("%s: %v is no boolean", at, value)
		}
		return nil
	}
	return fmt.Errorf("%s: the schema has no type that is known", at)
}

func fitsObject(schema tree, value any, at string) error {
	object, ok := value.(tree)
	if !ok {
		return fmt.Errorf("%s: %v is no object", at, value)
	}
	if required, ok := schema["required"].([]any); ok {
		for _, name := range required {
			if _, ok := object[name.(string)]; !ok {
				return fmt.Errorf("%s: %s is missing", at, name)
			}
		}
	}
	if least, ok := schema["minProperties"].(int); ok && len(object) < least {
		return fmt.Errorf("%s: %d names", at, len(object))
	}
	properties, _ := schema["properties"].(tree)
	for name, member := range object {
		inner, ok := properties[name].(tree)
		if !ok {
			switch more := schema["additionalProperties"].(type) {
			case bool:
				if !more {
					return fmt.Errorf("%s: %s is not documented", at, name)
				}
				continue
			case tree:
				inner = more
			default:
				continue
			}
		}
		if err := fits(inner, member, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}
