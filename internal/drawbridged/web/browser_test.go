// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/drawbridge/client"
	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/oidctest"
)

// browserHost is what the site is called in the browser, and in the screenshots.
const browserHost = "store.example.org"

// A tab is a headless Chromium that looks at a rig, and notes what a person
// with its developer tools open would be warned of.
type tab struct {
	*rig
	ctx context.Context

	mu        sync.Mutex
	bad       []string
	downloads []string
}

func newTab(t *testing.T, r *rig) *tab {
	t.Helper()
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(need.Tool(t, "chromium")), chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless,
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
	}
	for _, flag := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-extensions", "disable-default-apps",
		"disable-dev-shm-usage", "hide-scrollbars", "mute-audio", "metrics-recording-only",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	options = append(options,
		chromedp.Flag("disable-features", "Translate,OptimizationHints,MediaRouter"),
		chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("lang", "en-GB"),
		chromedp.Flag("ignore-certificate-errors-spki-list", r.spki),
		chromedp.Flag("host-resolver-rules", "MAP "+browserHost+":443 "+r.address+", MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, stopTab := chromedp.NewContext(allocator)
	t.Cleanup(stopTab)
	ctx, cancel := context.WithTimeout(ctx, need.Scale(time.Minute))
	t.Cleanup(cancel)
	b := &tab{rig: r, ctx: ctx}
	if err := chromedp.Listen(ctx, b.event); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.ListenBrowser(ctx, b.event); err != nil {
		t.Fatal(err)
	}
	run(b, audits.Enable, cdp.Empty{})
	run(b, log.Enable, cdp.Empty{})
	yes := true
	if _, err := chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorDeny, EventsEnabled: &yes,
	}); err != nil {
		t.Fatal(err)
	}
	b.viewport(1100, 900)
	return b
}

// run calls one method of the protocol.
func run[P, R any](b *tab, method cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, method, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// event notes whatever should not happen.
func (b *tab) event(ev any) {
	note := func(format string, args ...any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.bad = append(b.bad, fmt.Sprintf(format, args...))
	}
	switch e := ev.(type) {
	case *audits.EventIssueAdded:
		details, _ := json.Marshal(e.Issue.Details)
		note("issue %s: %s", e.Issue.Code, details)
	case *log.EventEntryAdded:
		if !strings.HasPrefix(e.Entry.URL, b.idp.Issuer()) { // which has no icon
			note("log: %s %s: %s", e.Entry.Level, e.Entry.Source, e.Entry.Text)
		}
	case *runtime.EventConsoleAPICalled:
		note("console: %v", e.Type)
	case *runtime.EventExceptionThrown:
		note("exception: %s", e.ExceptionDetails.Text)
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || u.Host != b.host && !strings.HasPrefix(e.Request.URL, b.idp.Issuer()) && u.Scheme != "about" {
			note("a request to %s", e.Request.URL)
		}
	case *browser.EventDownloadWillBegin:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.downloads = append(b.downloads, e.SuggestedFilename)
	}
}

// complaints returns what was noted since it was asked last.
func (b *tab) complaints() []string {
	eval[bool](b, "true") // what the page caused has arrived
	b.mu.Lock()
	defer b.mu.Unlock()
	bad := b.bad
	b.bad = nil
	return bad
}

// eval evaluates JavaScript as the developer tools do, which no policy forbids.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// load does what leads to another page, and waits until it is there.
func (b *tab) load(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) open(path string) { b.t.Helper(); b.load(chromedp.Navigate("https://" + b.host + path)) }

func (b *tab) click(css string) { b.t.Helper(); b.load(chromedp.Click(chromedp.CSS(css))) }

// do does what stays on the page.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) fill(css, text string) {
	b.t.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS(css), text))
}

func (b *tab) viewport(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

// scheme makes the browser prefer light or dark.
func (b *tab) scheme(name string) {
	b.t.Helper()
	run(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	})
}

// shows fails unless the page has these words, and is at the path.
func (b *tab) shows(path string, parts ...string) {
	b.t.Helper()
	if at := eval[string](b, "location.pathname"); at != path {
		b.t.Errorf("the browser is at %s, not %s", at, path)
	}
	text := strings.Join(strings.Fields(eval[string](b, "document.body.innerText")), " ")
	contains(b.t.(*testing.T), text, parts...)
}

// tabTo presses Tab until css has the focus, as people without a mouse do.
func (b *tab) tabTo(css string) {
	b.t.Helper()
	for range 60 {
		b.do(chromedp.KeyEvent(kb.Tab))
		if eval[bool](b, fmt.Sprintf("document.activeElement.matches(%q)", css)) {
			if !eval[bool](b, "getComputedStyle(document.activeElement.closest('.copy') ?? document.activeElement).outlineStyle != 'none'") {
				b.t.Errorf("%s: the focus is not seen", css)
			}
			return
		}
	}
	b.t.Fatalf("%s cannot be reached by Tab", css)
}

// noticed waits until the focus is on what came of a form, so that a screen
// reader tells it.
func (b *tab) noticed() {
	b.t.Helper()
	focused := chromedp.Poll[bool]("document.activeElement.classList.contains('notice')", chromedp.WithPollingTimeout(need.Scale(5*time.Second)))
	if _, err := chromedp.Run(b.ctx, focused); err != nil {
		b.t.Errorf("after a form the focus is not on what came of it: %v", err)
	}
}

func (b *tab) press(keys string) { b.t.Helper(); b.load(chromedp.KeyEvent(keys)) }

// selected is the text of the field that has the focus, as far as it is selected.
func (b *tab) selected() string {
	b.t.Helper()
	return eval[string](b, "(e => e.value.slice(e.selectionStart, e.selectionEnd))(document.activeElement)")
}

// signIn signs in with the provider's form.
func (b *tab) signIn(subject string) {
	b.t.Helper()
	b.click("nav a[href^='/-/login']")
	b.do(chromedp.SetValue(chromedp.ID("subject"), subject))
	b.click("#allow")
}

// publish does what `enarx package publish` does.
func (b *tab) publish(subject, slug string, files map[string]string) {
	b.t.Helper()
	dir := b.t.(*testing.T).TempDir()
	for name, text := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: b.pool},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", b.address)
		},
	}
	defer transport.CloseIdleConnections()
	c, err := client.New(client.Config{
		Host: b.host, Transport: transport,
		Token: func(context.Context) (string, error) { return b.idp.Mint(oidctest.Claims{"sub": subject}), nil },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	tree, err := client.BuildTree(b.ctx, dir, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := drawbridge.ParseSlug(slug)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := c.Publish(b.ctx, s, tree, client.PublishOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// quiet fails if the browser complained about anything.
func (b *tab) quiet(where string) {
	b.t.Helper()
	for _, what := range b.complaints() {
		b.t.Errorf("%s: %s", where, what)
	}
}

func TestBrowser(t *testing.T) {
	r := newRigAt(t, browserHost, nil)
	b := newTab(t, r)
	b.open("/")
	b.signIn("test|carol")
	b.shows("/-/register", "Choose your user name")
	b.fill("#name", "carol")
	b.click("main button")
	b.shows("/carol", "You are carol here.", "None yet.")
	b.noticed()
	b.fill("#name", "hello")
	b.click("main button")
	b.shows("/carol/hello", "The repository is there.", "No tag yet")
	b.noticed()
	b.publish("test|carol", browserHost+"/carol/hello:1.0.0", map[string]string{
		"main.wasm": wasm, "Enarx.toml": simple, "www/index.html": "<script>document.title='run'</script>",
	})
	b.open("/carol")
	b.click("main a[href='/carol/hello']")
	b.shows("/carol/hello", "1 tag", "unsigned", "port 8443 on every address, TLS; any client")
	b.click("main a[href='/carol/hello/1.0.0']")
	b.shows("/carol/hello/1.0.0", "3 files", "main.wasm", "www/")
	b.click("main a[href$='/tree/www']")
	b.shows("/carol/hello/1.0.0/tree/www", "index.html")
	b.quiet("browsing")
	b.downloadsOnly()
	b.tokens()
	b.keyboard()
	b.quiet("in all")
	b.looks()
	b.catches()
}

// downloadsOnly clicks on a page in a package, which must not open.
func (b *tab) downloadsOnly() {
	b.t.Helper()
	begin := chromedp.BrowserEvents(b.ctx, browser.DownloadWillBegin)
	b.do(chromedp.Click(chromedp.CSS("main a[href$='/file/www/index.html']")))
	for ev, err := range begin {
		if err != nil || ev.SuggestedFilename != "index.html" {
			b.t.Errorf("the download is %+v, %v", ev, err)
		}
		break
	}
	b.shows("/carol/hello/1.0.0/tree/www", "index.html")
	if title := eval[string](b, "document.title"); strings.Contains(title, "run") {
		b.t.Error("a package's script has run")
	}
}

// tokens makes a token, sees it once, and revokes it.
func (b *tab) tokens() {
	b.t.Helper()
	b.click("nav a[href='/-/tokens']")
	b.fill("#robot-name", "CI")
	b.click("form:has(#robot-name) button")
	b.shows("/-/tokens", "Copy it now", "CI", "all of carol", "publish")
	if token := eval[string](b, "document.getElementById('token').value"); !strings.HasPrefix(token, "edb_") {
		b.t.Errorf("the token is %q", token)
	}
	b.noticed()
	b.do(chromedp.Click(chromedp.CSS(".notice .copy code")))
	if copied, token := eval[string](b, "getSelection().toString()"), eval[string](b, "document.getElementById('token').value"); copied != token {
		b.t.Errorf("a click selects %q of the token %q", copied, token)
	}
	b.load(chromedp.Reload())
	if eval[bool](b, "document.getElementById('token') != null") {
		b.t.Error("the token is shown twice")
	}
	b.click("form[action='/-/revoke'] button")
	b.shows("/-/tokens", "The token is revoked.", "None yet.")
	b.noticed()
}

// keyboard goes from the first page to a yanked tag and out without a mouse.
func (b *tab) keyboard() {
	b.t.Helper()
	b.open("/")
	b.do(chromedp.KeyEvent(kb.Tab))
	if !eval[bool](b, "document.activeElement.className == 'skip' && document.activeElement.getBoundingClientRect().top >= 0") {
		b.t.Error("the first Tab does not show the way past the header")
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.do(chromedp.KeyEvent(kb.Tab))
	if !eval[bool](b, "document.querySelector('main').contains(document.activeElement)") {
		b.t.Error("the way past the header leads elsewhere")
	}
	b.tabTo("#find")
	b.do(chromedp.KeyEvent("hello"))
	b.press(kb.Enter)
	b.shows("/-/search", "carol/hello")
	b.tabTo("main a[href='/carol/hello']")
	b.press(kb.Enter)
	b.tabTo("#deploy-digest")
	if got := b.selected(); !strings.HasPrefix(got, "enarx deploy "+browserHost+"/carol/hello:1.0.0@sha256:") || len(got) < 110 {
		b.t.Errorf("what one would copy is %q", got)
	}
	b.tabTo("main a[href='/carol/hello/1.0.0']")
	b.press(kb.Enter)
	b.tabTo("summary")
	b.do(chromedp.KeyEvent(kb.Enter))
	if !eval[bool](b, "document.querySelector('details').open") {
		b.t.Error("Enter does not open the source")
	}
	b.tabTo("#reason")
	b.do(chromedp.KeyEvent("it is only a test"))
	b.press(kb.Enter)
	b.shows("/carol/hello/1.0.0", "The tag is yanked.", "Withdrawn by its publisher: it is only a test")
	b.noticed()
	b.tabTo("button:not(.plain)")
	b.press(kb.Enter)
	b.shows("/carol/hello/1.0.0", "The tag is served again.")
	b.noticed()
	b.tabTo("nav button")
	b.press(kb.Enter)
	b.shows("/", "You are signed out", "Sign in")
	b.noticed()
}

// looks checks both colour schemes, and that nothing is wider than a telephone.
func (b *tab) looks() {
	b.t.Helper()
	colours := schemes(b.t.(*testing.T))
	for _, name := range []string{"light", "dark"} {
		b.scheme(name)
		var red, green, blue int
		if _, err := fmt.Sscanf(colours[name]["paper"], "#%02x%02x%02x", &red, &green, &blue); err != nil {
			b.t.Fatal(err)
		}
		want := fmt.Sprintf("rgb(%d, %d, %d)", red, green, blue)
		if got := eval[string](b, "getComputedStyle(document.documentElement).backgroundColor"); got != want {
			b.t.Errorf("%s: the paper is %s, not %s", name, got, want)
		}
	}
	b.viewport(320, 640)
	for _, path := range []string{"/", "/carol", "/carol/hello", "/carol/hello/1.0.0", "/carol/hello/1.0.0/tree/Enarx.toml", "/-/search"} {
		b.open(path)
		if wide := eval[int](b, "document.documentElement.scrollWidth"); wide > 320 {
			b.t.Errorf("%s is %d pixels wide on a telephone", path, wide)
		}
	}
	b.quiet("on a telephone")
}

// catches makes sure that quiet is not merely deaf.
func (b *tab) catches() {
	b.t.Helper()
	for what, script := range map[string]string{
		"ContentSecurityPolicyIssue": "document.head.appendChild(document.createElement('style')).textContent = 'p { color: red }'; true",
		"connect-src":                "fetch('https://elsewhere.example/').catch(() => true).then(() => true)",
		"console":                    "console.error('x'); true",
	} {
		if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](script, chromedp.EvalAwaitPromise)); err != nil {
			b.t.Fatal(err)
		}
		if got := strings.Join(b.complaints(), "\n"); !strings.Contains(got, what) {
			b.t.Errorf("%s was not noticed, but %q", what, got)
		}
	}
	if err := chromedp.Do(b.ctx, chromedp.Navigate("https://elsewhere.example/")); err == nil {
		b.t.Error("the browser reaches elsewhere.example")
	}
	if got := strings.Join(b.complaints(), "\n"); !strings.Contains(got, "a request to https://elsewhere.example/") {
		b.t.Errorf("a request to elsewhere was not noticed, but %q", got)
	}
}
