// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/drawbridge"
)

// columns are the actions of each column of testdata/matrix.txt.
var columns = map[string][]Action{
	"open":        {Describe},
	"search":      {Search, ListRepos, WhoAmI},
	"read-user":   {ReadUser},
	"create-user": {CreateUser},
	"config":      {ReadRepo, ReadPolicy},
	"create-repo": {CreateRepo},
	"list":        {ListTags},
	"content":     {ReadTag, ReadTree},
	"deployment":  {ReadDeployment},
	"digest":      {ReadDigest},
	"publish":     {Publish},
	"yank":        {YankTag},
	"manage":      {WritePolicy, ListTokens, MintToken, RevokeToken},
}

var outcomes = map[byte]int{'+': 0, '-': http.StatusUnauthorized, 'x': http.StatusForbidden, '0': http.StatusNotFound}

// readMatrix returns the names of the columns, and the cells of each row.
func readMatrix(t *testing.T, path string) (names []string, order []string, rows map[string][]string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows = map[string][]string{}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, _ := strings.Cut(line, "|")
		name = strings.TrimSpace(name)
		cells := strings.Fields(rest)
		if names == nil {
			names = cells
			continue
		}
		if len(cells) != len(names) || rows[name] != nil {
			t.Fatalf("row %q: %d cells, or there twice", name, len(cells))
		}
		for i, cell := range cells {
			if len(cell) == 1 {
				cells[i] = strings.Repeat(cell, 3)
			}
		}
		order, rows[name] = append(order, name), cells
	}
	return names, order, rows
}

const (
	all      = "manage:drawbridge_users manage:drawbridge_repositories manage:drawbridge_tags"
	testHost = "store.example:8443"
)

var (
	root  = [32]byte{1}
	other = [32]byte{2}
)

// loggedIn returns somebody with a JWT.
func loggedIn(subject, scopes string) Principal {
	return Principal{Kind: OIDC, Subject: subject, Scopes: strings.Fields(scopes)}
}

func robotFor(user, repo string, actions ...string) Principal {
	return Principal{Kind: Robot, Token: &Token{Token: drawbridge.Token{ID: "id", Kind: "robot", User: user, Repository: repo, Actions: actions}}}
}

func deploymentFor(repo, tag, digest string) Principal {
	return Principal{Kind: Deployment, Token: &Token{Token: drawbridge.Token{
		ID: "id", Kind: "deployment", User: "alice", Repository: repo, Tag: tag, Digest: digest,
	}}}
}

// keep returns the reader of a good certificate that says uris, after change.
func keep(change func(*Reader), uris ...string) Principal {
	names, err := attest.ParseURIs(uris)
	if err != nil {
		panic(err)
	}
	r := &Reader{Authority: "steward", Serial: "1", Names: names, TEE: "snp", Roots: "vendor", Status: Affirming}
	if change != nil {
		change(r)
	}
	return Principal{Kind: Attested, Reader: r}
}

func noHardware(r *Reader)  { r.NoHardware, r.TEE, r.Roots, r.Status = true, "none", "none", "none" }
func development(r *Reader) { r.Development, r.Roots, r.Status = true, "development", Warning }
func warning(r *Reader)     { r.Status = Warning }

// rowPrincipals are who the rows of the matrix are about, for a repository.
// Those that are stopped before any decision are not here.
func rowPrincipals(repo string) map[string]Principal {
	digest, slug := attest.WorkloadURI(root), attest.SlugURI(testHost+"/alice/"+repo+":1.0.0")
	otherDigest, otherSlug := attest.WorkloadURI(other), attest.SlugURI(testHost+"/alice/"+repo+":2.0.0")
	return map[string]Principal{
		"anonymous":                              {Kind: Anonymous},
		"another user":                           loggedIn("m", all),
		"owner":                                  loggedIn("a", all),
		"owner, read scopes":                     loggedIn("a", strings.ReplaceAll(all, "manage", "read")),
		"owner, write scopes":                    loggedIn("a", strings.ReplaceAll(all, "manage", "write")),
		"owner, no scopes":                       loggedIn("a", "openid"),
		"owner by userinfo":                      {Kind: UserInfo, Subject: "a", User: "alice"},
		"another user by userinfo":               {Kind: UserInfo, Subject: "m", User: "mallory"},
		"unknown subject by userinfo":            {Kind: UserInfo, Subject: "u"},
		"robot: read":                            robotFor("alice", repo, "read"),
		"robot: publish":                         robotFor("alice", repo, "publish"),
		"robot: yank":                            robotFor("alice", repo, "yank"),
		"robot of all repositories: publish":     robotFor("alice", "", "publish"),
		"robot of another repository":            robotFor("alice", repo+"x", "read", "publish", "yank"),
		"robot of another user":                  robotFor("mallory", "", "read", "publish", "yank"),
		"deployment token for the tag":           deploymentFor(repo, "1.0.0", ""),
		"deployment token for the digest":        deploymentFor(repo, "", drawbridge.Pin(root)),
		"deployment token for another tag":       deploymentFor(repo, "2.0.0", ""),
		"certificate: the digest":                keep(nil, digest),
		"certificate: the slug":                  keep(nil, slug),
		"certificate: digest and slug":           keep(nil, digest, slug),
		"certificate: digest, another slug":      keep(nil, digest, attest.SlugURI(testHost+"/alice/other:1.0.0")),
		"certificate: slug, another digest":      keep(nil, slug, otherDigest),
		"certificate: another digest":            keep(nil, otherDigest),
		"certificate: another slug":              keep(nil, otherSlug),
		"certificate: slug of another host":      keep(nil, attest.SlugURI("evil.example/alice/"+repo+":1.0.0")),
		"certificate: names nothing":             keep(nil),
		"certificate: no hardware":               keep(noHardware, digest),
		"certificate: no hardware, allowed":      keep(noHardware, digest),
		"certificate: development":               keep(development, digest),
		"certificate: development, allowed":      keep(development, digest),
		"certificate: warning":                   keep(warning, digest),
		"certificate: warning, allowed":          keep(warning, digest),
		"certificate: TEE not in the policy":     keep(nil, digest),
		"certificate: Steward not in the policy": keep(nil, digest),
		"certificate: no attestation result":     keep(func(r *Reader) { r.Status, r.TEE, r.Roots = "", "", "" }, digest),
	}
}

// rowPolicies are the policies that rows need; the others have none.
var rowPolicies = map[string]string{
	"certificate: no hardware, allowed":      `{"allow_no_hardware": true}`,
	"certificate: development, allowed":      `{"allow_development": true, "tee": ["snp"]}`,
	"certificate: warning, allowed":          `{"minimum_tier": "warning"}`,
	"certificate: TEE not in the policy":     `{"tee": ["sgx", "tdx"], "allow_no_hardware": true, "allow_development": true}`,
	"certificate: Steward not in the policy": `{"cas": ["another"], "allow_no_hardware": true}`,
}

func policyOf(t *testing.T, row string) *Policy {
	t.Helper()
	text, ok := rowPolicies[row]
	if !ok {
		return nil
	}
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stoppedBefore are the rows that authentication ends, by TestCaller's proof.
var stoppedBefore = []string{
	"malformed token", "JWT: expired", "JWT: other audience", "JWT: other issuer", "JWT: altered signature",
	"token that userinfo refuses", "robot: expired", "robot: revoked", "robot: wrong secret",
	"deployment token: used up", "deployment token: expired", "certificate: foreign CA",
}

func TestMatrix(t *testing.T) {
	names, order, rows := readMatrix(t, "testdata/matrix.txt")
	if len(names) != len(columns) {
		t.Errorf("the matrix has %d columns, there are %d", len(names), len(columns))
	}
	var covered []Action
	for _, actions := range columns {
		covered = append(covered, actions...)
	}
	for _, a := range Actions() {
		if !slices.Contains(covered, a) {
			t.Errorf("action %s is in no column", a)
		}
	}
	states := []struct {
		repo string
		Resource
	}{
		{"public", Resource{Exists: true, Public: true, Root: root}},
		{"private", Resource{Exists: true, Root: root}},
		{"missing", Resource{}},
	}
	decided := map[string]bool{}
	for _, row := range order {
		if slices.Contains(stoppedBefore, row) {
			continue
		}
		for state, s := range states {
			p, ok := rowPrincipals(s.repo)[row]
			if !ok {
				t.Fatalf("row %q is about nobody", row)
			}
			decided[row] = true
			res := s.Resource
			res.User, res.Repo, res.Tag, res.Owner, res.Hosts = "alice", s.repo, "1.0.0", "a", []string{testHost}
			if res.Exists {
				res.Policy = policyOf(t, row)
			}
			for i, column := range names {
				for _, a := range columns[column] {
					status, about := 0, res
					if a == ReadDigest {
						about.Tag = "3.0.0" // another of the same content
					}
					if d := Decide(p, a, about); d != nil {
						status = d.Status
					}
					if want := outcomes[rows[row][i][state]]; status != want {
						t.Errorf("%s, %s, %s: got %d, want %d", row, a, s.repo, status, want)
					}
				}
			}
		}
	}
	if len(decided) != len(rowPrincipals("any")) {
		t.Errorf("%d rows for %d principals", len(decided), len(rowPrincipals("any")))
	}
}

// Nothing may be allowed because nobody thought of it.
func TestRulesAreExplicit(t *testing.T) {
	for a, rule := range rules {
		for _, k := range Kinds() {
			if rule.needs[k] == "" {
				t.Errorf("there is no rule for %s and %s", k, a)
			}
		}
		if len(rule.needs) != len(Kinds()) {
			t.Errorf("%s has rules for unknown kinds", a)
		}
		if (rule.needs[OIDC] == own || rule.needs[OIDC] == self) != (rule.level != "" && rule.context != "") {
			t.Errorf("%s: no scope, or one for nobody", a)
		}
		if (rule.needs[Robot] != never) != (rule.robot != "") {
			t.Errorf("%s: no robot action, or one for nobody", a)
		}
	}
	for _, a := range []Action{"", "read-everything"} {
		for _, k := range Kinds() {
			p := Principal{Kind: k, Subject: "a", All: true, Token: &Token{}, Reader: &Reader{}}
			if Decide(p, a, Resource{Owner: "a", Exists: true, Public: true}) == nil {
				t.Errorf("%s may do %q", k, a)
			}
		}
	}
	for a := range rules {
		if d := Decide(Principal{Kind: "invented", Subject: "a", All: true}, a, Resource{Owner: "a", Exists: true}); d == nil && !rules[a].anyone {
			t.Errorf("an unknown kind of principal may %s", a)
		}
	}
}

// Whether a private repository is there must make no difference to the answer
// for those who may not know.
func TestNoExistenceLeak(t *testing.T) {
	for name, p := range rowPrincipals("repo") {
		for a, rule := range rules {
			about := Resource{User: "alice", Repo: "repo", Tag: "1.0.0", Owner: "a", Hosts: []string{testHost}}
			there := about
			there.Exists, there.Root, there.Yanked, there.Reason = true, root, true, "a reason"
			got, want := Decide(p, a, there), Decide(p, a, about)
			if want == nil || want.Status == http.StatusNotFound {
				continue // may know
			}
			if got == nil || got.Kind == "yanked" {
				if k := rule.needs[p.Kind]; k != bound && k != named {
					t.Errorf("%s, %s: opened, but refused when missing", name, a)
				}
				continue // it is theirs
			}
			if got.Status != want.Status || got.Text != want.Text || got.Kind != want.Kind {
				t.Errorf("%s, %s: %d %q when it is there, %d %q when not", name, a, got.Status, got.Text, want.Status, want.Text)
			}
		}
	}
}

func TestTexts(t *testing.T) {
	private := Resource{User: "alice", Repo: "private", Tag: "1.0.0", Owner: "a", Exists: true, Root: root}
	nobody := private
	nobody.Owner, nobody.Exists = "", false
	gone := private
	gone.Yanked, gone.Reason = true, "it leaks"
	tests := []struct {
		name   string
		p      Principal
		a      Action
		r      Resource
		status int
		text   string
	}{
		{"anonymous", Principal{Kind: Anonymous}, ReadTree, private, 401, "Bearer token header missing"},
		{"certificate writes", keep(nil), Publish, private, 401, "Bearer token header missing"},
		{"certificate of another", keep(nil, attest.WorkloadURI(other)), ReadTree, private, 401, "The client certificate does not open this package"},
		{"no such user", loggedIn("m", all), ReadUser, nobody, 401, "User `alice` not found"},
		{"other user", loggedIn("m", all), ReadTree, private, 401, "You are logged in as `m`, and not authorized for user `alice`"},
		{"scope", loggedIn("a", "openid"), Publish, private, 401, "Token is missing a scope for level write, context drawbridge_tags"},
		{"scope of readers", loggedIn("a", "write:drawbridge_repositories"), ReadTag, private, 401, "Token is missing a scope for level read, context drawbridge_repositories"},
		{"scope before subject", loggedIn("m", "openid"), CreateUser, private, 401, "Token is missing a scope for level write, context drawbridge_users"},
		{"subject", loggedIn("m", all), CreateUser, private, 401, "OpenID Connect subject mismatch"},
		{"no subject", loggedIn("", all), CreateUser, nobody, 401, "OpenID Connect subject mismatch"},
		{"no subject, no owner", loggedIn("", all), ReadUser, nobody, 401, "User `alice` not found"},
		{"userinfo unknown", Principal{Kind: UserInfo, Subject: "u"}, ReadUser, private, 401, "User with OpenID Connect subject `u` not found"},
		{"userinfo other", Principal{Kind: UserInfo, Subject: "m", User: "mallory"}, ReadUser, private, 401, "You are logged in as `mallory`, please relogin as `alice` to access the resource"},
		{"owner, no repo", loggedIn("a", all), ReadRepo, Resource{User: "alice", Owner: "a", Repo: "x"}, 404, "Repository does not exist"},
		{"owner, no repo to read", loggedIn("a", all), ReadTag, Resource{User: "alice", Owner: "a", Repo: "x"}, 404, "Not found"},
		{"owner, no repo to write", loggedIn("a", all), Publish, Resource{User: "alice", Owner: "a", Repo: "x"}, 404, "Repository does not exist"},
		{"yanked", loggedIn("a", all), ReadTree, gone, 410, "tag 1.0.0 was yanked: it leaks"},
		{"yanked, attested", keep(nil, attest.WorkloadURI(root)), ReadTree, gone, 410, "tag 1.0.0 was yanked: it leaks"},
		{"yanked, deployment", deploymentFor("private", "1.0.0", ""), ReadDeployment, gone, 410, "tag 1.0.0 was yanked: it leaks"},
		{"robot", robotFor("alice", "private", "read"), Publish, private, 403, "The robot token is not for publish of `alice/private`"},
		{"robot of people's things", robotFor("alice", "", "read"), WritePolicy, private, 403, "A robot token may not write-policy"},
		{"deployment of another tag with the digest", deploymentFor("private", "2.0.0", drawbridge.Pin(root)), ReadDeployment, private, 403, "The deployment token is not for this package"},
		{"deployment of the tag with another digest", deploymentFor("private", "1.0.0", drawbridge.Pin(other)), ReadDeployment, private, 403, "The deployment token is not for this package"},
		{"deployment", deploymentFor("private", "2.0.0", ""), ReadDeployment, private, 403, "The deployment token is not for this package"},
		{"deployment, content", deploymentFor("private", "1.0.0", ""), ReadTree, private, 403, "A deployment token may not read-tree"},
	}
	for _, tt := range tests {
		d := Decide(tt.p, tt.a, tt.r)
		if d == nil || d.Status != tt.status || d.Text != tt.text {
			t.Errorf("%s: %+v", tt.name, d)
		}
	}
}

func TestYanked(t *testing.T) {
	gone := Resource{User: "alice", Repo: "r", Owner: "a", Exists: true, Public: true, Root: root, Yanked: true}
	tests := []struct {
		name   string
		p      Principal
		reveal bool
		open   bool
	}{
		{"anonymous", Principal{Kind: Anonymous}, true, false},
		{"owner", loggedIn("a", all), false, false},
		{"owner who asks", loggedIn("a", all), true, true},
		{"owner without the scope", loggedIn("a", "read:drawbridge_repositories"), true, false},
		{"another user", loggedIn("m", all), true, false},
		{"robot that yanks", robotFor("alice", "r", "yank"), true, true},
		{"robot that reads", robotFor("alice", "r", "read"), true, false},
		{"deployment", deploymentFor("r", "", drawbridge.Pin(root)), true, false},
		{"certificate", keep(nil, attest.WorkloadURI(root)), true, false},
	}
	for _, tt := range tests {
		for _, a := range []Action{ReadTag, ReadTree, ReadDeployment, ReadDigest} {
			r := gone
			r.Reveal = tt.reveal
			d := Decide(tt.p, a, r)
			if (d == nil) != tt.open || d != nil && (d.Status != http.StatusGone || d.Text != "the package was yanked") {
				t.Errorf("%s, %s: %+v", tt.name, a, d)
			}
		}
		if d := Decide(tt.p, ListTags, gone); d != nil {
			t.Errorf("%s may not list a public repository: %+v", tt.name, d)
		}
	}
}

// Orphans are not what the digest is of, so whoever was let in by the digest
// does not get them.
func TestOrphans(t *testing.T) {
	r := Resource{User: "alice", Repo: "r", Tag: "1.0.0", Owner: "a", Exists: true, Root: root, Orphan: true}
	for name, tt := range map[string]struct {
		p    Principal
		open bool
	}{
		"owner":       {loggedIn("a", all), true},
		"robot":       {robotFor("alice", "r", "read"), true},
		"deployment":  {deploymentFor("r", "1.0.0", ""), false},
		"certificate": {keep(nil, attest.WorkloadURI(root)), false},
	} {
		if d := Decide(tt.p, ReadTree, r); (d == nil) != tt.open {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
