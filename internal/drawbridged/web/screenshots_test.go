// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/need"
)

var update = flag.Bool("update", false, "make docs/screenshots anew")

// maxScreenshot keeps the repository small.
const maxScreenshot = 80_000

// screenshots are the pages in docs/screenshots. Width 390 is a telephone's.
var screenshots = []struct {
	name, path, scheme string
	width              int64
}{
	{"home-light", "/", "light", 1100},
	{"home-dark", "/", "dark", 1100},
	{"repository-light", "/alice/telemetry-gateway", "light", 1100},
	{"repository-dark", "/alice/telemetry-gateway", "dark", 1100},
	{"package-light", "/alice/telemetry-gateway/1.4.2", "light", 1100},
	{"package-dark", "/alice/telemetry-gateway/1.4.2", "dark", 1100},
	{"tokens-light", "/-/tokens", "light", 1100},
	{"telephone-dark", "/alice/telemetry-gateway", "dark", 390},
}

const gateway = `# What the gateway may open, and what leaves the Keep.
steward = "https://steward.example.org"

[[files]]
kind = "stderr"

[[files]]
kind = "listen"
name = "sensors"
port = 8443
ca = "steward"
client_auth = "require"

[[files]]
kind = "connect"
name = "db"
host = "db.greenhouse.example"
port = 5432

[[files]]
kind = "dir"
path = "/etc/gateway"
from = "settings"

[log]
mode = "none"

[limits]
memory = "256MiB"
`

// exhibit fills a rig with what the screenshots show.
func exhibit(t *testing.T, r *rig) {
	t.Helper()
	day := func(text string) {
		at, err := time.Parse(time.DateOnly+" 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		r.clock = func() time.Time { return at }
	}
	day("2026-09-01 08:00")
	mine, public := newKey(t)
	rules, err := json.Marshal(drawbridge.Policy{
		Signers: []string{string(public.JWK())}, TEE: []string{"snp", "tdx"}, Steward: "https://steward.example.org", CertificateLife: 86400,
	})
	if err != nil {
		t.Fatal(err)
	}
	for user, repos := range map[string][]string{
		"alice": {"telemetry-gateway"}, "examples": {"chat", "fibonacci", "hello-https"}, "greenhouse": {"irrigation-planner"}, "bob": {"wasm-cron"},
	} {
		r.user(user, "test|"+user)
		for _, repo := range repos {
			r.repo(user, repo, repo != "telemetry-gateway")
			if user != "alice" {
				r.publish(user, repo, "0.3.0", map[string]string{"main.wasm": wasm})
			}
		}
	}
	if err := r.store.PutPolicy(t.Context(), "alice", "telemetry-gateway", rules); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []struct{ at, name string }{
		{"2026-09-14 10:12", "1.3.0"}, {"2026-10-02 16:40", "1.4.0-rc.1"}, {"2026-10-12 09:31", "1.4.0"}, {"2026-11-03 11:05", "1.4.1"}, {"2026-11-20 14:22", "1.4.2"},
	} {
		day(tag.at)
		module := wasm + strings.Repeat(tag.name, 300_000)
		r.publish("alice", "telemetry-gateway", tag.name, map[string]string{
			"main.wasm": module, "Enarx.toml": gateway, "settings/sensors.json": `{"sensors":[]}`,
		}, mine)
	}
	if err := r.store.Yank(t.Context(), "alice", "telemetry-gateway", "1.4.1", drawbridge.Yank{Reason: "drops readings after midnight; use 1.4.2", Time: r.clock()}); err != nil {
		t.Fatal(err)
	}
	// What upstream's clients forget to list: behind the last folder.
	m := drawbridge.MetaOf([]byte("notes"), drawbridge.TypeBinary)
	if _, err := r.store.PutNode(t.Context(), "alice", "telemetry-gateway", "1.4.2", drawbridge.Path{"zones.txt"}, m, strings.NewReader("notes")); err != nil {
		t.Fatal(err)
	}
	r.clock = time.Now
}

// The screenshots of the documents are there and small. They are looked at by
// people: -update makes them anew.
func TestScreenshots(t *testing.T) {
	dir := filepath.Join(need.Root(t), "docs", "screenshots")
	if *update {
		takeScreenshots(t, dir)
	}
	for _, s := range screenshots {
		file := filepath.Join(dir, s.name+".png")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		config, err := png.DecodeConfig(bytes.NewReader(data))
		if err != nil || config.Width != int(s.width) || len(data) > maxScreenshot {
			t.Errorf("%s: %d pixels wide, %d bytes, %v", s.name, config.Width, len(data), err)
		}
	}
}

func takeScreenshots(t *testing.T, dir string) {
	r := newRigAt(t, browserHost, nil)
	exhibit(t, r)
	b := newTab(t, r)
	b.open("/")
	b.shot(t, dir, "home-")
	b.signIn("test|alice")
	b.open("/-/tokens")
	for _, name := range []string{"CI of the gateway", "laptop"} {
		b.fill("#robot-name", name)
		b.click("form:has(#robot-name) button")
	}
	b.fill("#deployment-name", "edge host 7")
	b.fill("#deployment-package", "1.4.2")
	b.fill("#deployment-uses", "20")
	b.click("form:has(#deployment-name) button")
	b.open("/-/tokens")
	b.shot(t, dir, "")
}

// shot takes those screenshots whose names begin so, or all but the first page's.
func (b *tab) shot(t *testing.T, dir, prefix string) {
	t.Helper()
	for _, s := range screenshots {
		if strings.HasPrefix(s.name, "home-") != (prefix == "home-") {
			continue
		}
		b.scheme(s.scheme)
		b.viewport(s.width, 800)
		b.open(s.path)
		b.viewport(s.width, min(eval[int64](b, "document.documentElement.scrollHeight"), 1600))
		data, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		small, err := reduce(data, 128)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, s.name+".png"), small, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// reduce writes a picture with so many colours, the most frequent ones: the
// pages have few, and the edges of letters can do with fewer.
func reduce(data []byte, colours int) ([]byte, error) {
	in, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	counts, bounds := map[color.RGBA]int{}, in.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(in.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[at(x, y)]++
		}
	}
	// The most frequent colour stands for those like it, so that the rare ones
	// are not lost to shades of grey.
	var byCount, common []color.RGBA
	for c := range counts {
		byCount = append(byCount, c)
	}
	slices.SortFunc(byCount, func(a, b color.RGBA) int { return cmp.Compare(counts[b], counts[a]) })
	groups := map[[3]uint8]bool{}
	for _, c := range byCount {
		if like := [3]uint8{c.R >> 4, c.G >> 4, c.B >> 4}; !groups[like] {
			groups[like] = true
			common = append(common, c)
		}
	}
	var palette color.Palette
	for _, c := range common[:min(len(common), colours)] {
		palette = append(palette, c)
	}
	nearest := map[color.RGBA]uint8{}
	for _, c := range byCount {
		nearest[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			out.SetColorIndex(x, y, nearest[at(x, y)])
		}
	}
	var b bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, out)
	return b.Bytes(), err
}
