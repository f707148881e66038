// SPDX-License-Identifier: Apache-2.0

package web

import (
	"encoding/hex"
	"io/fs"
	"math"
	"regexp"
	"strings"
	"testing"
)

var custom = regexp.MustCompile(`--([a-z]+): (#[0-9a-f]{6});`)

// schemes reads the colours of both schemes from the style sheet.
func schemes(t *testing.T) map[string]map[string]string {
	t.Helper()
	light, rest, ok := strings.Cut(string(style), "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("the style sheet has no dark scheme")
	}
	dark, _, _ := strings.Cut(rest, "\n}")
	all := map[string]map[string]string{"light": {}, "dark": {}}
	for name, text := range map[string]string{"light": light, "dark": dark} {
		for _, m := range custom.FindAllStringSubmatch(text, -1) {
			all[name][m[1]] = m[2]
		}
	}
	if len(all["light"]) < 10 || len(all["light"]) != len(all["dark"]) {
		t.Fatalf("%d colours of the light scheme, %d of the dark one", len(all["light"]), len(all["dark"]))
	}
	return all
}

// luminance is WCAG 2.2's relative luminance.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	rgb, err := hex.DecodeString(strings.TrimPrefix(colour, "#"))
	if err != nil || len(rgb) != 3 {
		t.Fatalf("%q is no colour", colour)
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		c := float64(rgb[i]) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	la, lb := luminance(t, a), luminance(t, b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// Text must be readable on everything it is put on (WCAG 1.4.3), and the edges
// of what can be operated must be seen (1.4.11).
func TestContrast(t *testing.T) {
	if got := contrast(t, "#000000", "#ffffff"); math.Abs(got-21) > 1e-9 {
		t.Fatalf("black on white is %g", got)
	}
	for name, c := range schemes(t) {
		for _, ground := range []string{"paper", "tint", "field"} {
			for _, text := range []string{"ink", "soft", "link", "good", "warn", "bad"} {
				if got := contrast(t, c[text], c[ground]); got < 4.5 {
					t.Errorf("%s: %s on %s is %.2f, less than 4.5", name, text, ground, got)
				}
			}
			if got := contrast(t, c["edge"], c[ground]); got < 3 {
				t.Errorf("%s: edge on %s is %.2f, less than 3", name, ground, got)
			}
		}
	}
}

// What the policy forbids must not be in the sources either: a browser would
// drop it without a word.
func TestSourcesKeepToThePolicy(t *testing.T) {
	bad := regexp.MustCompile(`(?i)<script|<style|<iframe|<object|<base|\sstyle=|\son[a-z]+=|javascript:|template\.HTML|safe(html|url)`)
	files, err := fs.Glob(templates, "templates/*.html")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := fs.ReadFile(templates, name)
		if err != nil {
			t.Fatal(err)
		}
		if m := bad.Find(text); m != nil {
			t.Errorf("%s has %q", name, m)
		}
	}
	if m := regexp.MustCompile(`(?i)url\(|@import|expression\(`).Find(style); m != nil {
		t.Errorf("the style sheet has %q", m)
	}
	if !bad.MatchString(`<a onclick=x>`) || !bad.MatchString(`<p style="x">`) {
		t.Error("the check finds nothing")
	}
}

func TestColoursAreNamed(t *testing.T) {
	_, rest, _ := strings.Cut(string(style), "\n*, ::before")
	if m := regexp.MustCompile(`#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(`).FindString(rest); m != "" {
		t.Errorf("%s is a colour that TestContrast does not see", m)
	}
}
