// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/live"
	"enarx.dev/enarx/internal/steward/authority"
)

// openCA finds the CA: files, as upstream before anything else; a folder that
// keeps one; or one for this process alone.
func (d *daemon) openCA(cmd *cobra.Command) (err error) {
	switch {
	case (d.key == "") != (d.crt == ""):
		return cli.Usage(cmd, errors.New("--key and --crt go together"))
	case d.key != "" && d.stateDir != "":
		return cli.Usage(cmd, errors.New("--state-dir makes a CA of its own: leave out --key and --crt"))
	case d.key != "":
		if info, err := os.Stat(authority.KeyFile(d.key)); err == nil && info.Mode().Perm()&0o044 != 0 {
			d.warn("--key %s: others on this machine can read it (mode %#o): chmod 600", d.key, info.Mode().Perm())
		}
		return d.followCA(d.key, d.crt)
	case d.stateDir == "" && d.host == "":
		return cli.Usage(cmd, diag.Hint(errors.New("there is no CA"),
			"give --key and --crt, or let --state-dir DIR make and keep one; for a trial, --host NAME makes one that is forgotten"))
	}
	curve, err := authority.Curve(d.keyType)
	if err != nil {
		return cli.Usage(cmd, fmt.Errorf("--key-type: %w", err))
	}
	name := d.host
	if name == "" {
		name = "Enarx Steward CA"
	}
	if d.stateDir != "" {
		if _, err := authority.Keep(d.stateDir, name, curve, time.Now()); err != nil {
			return err
		}
		return d.followCA(filepath.Join(d.stateDir, authority.KeyName), filepath.Join(d.stateDir, authority.CertName))
	}
	ca, err := authority.Generate(name, curve, time.Now(), authority.EphemeralLife)
	if err != nil {
		return err
	}
	d.warn("--host without --state-dir: this CA is forgotten when the Steward ends, and nobody will trust the next one")
	d.cfg.CA = live.Fixed(ca)
	return nil
}

// followCA loads the CA, and again when its files change. One that could not
// issue anything now is no good.
func (d *daemon) followCA(key, crt string) (err error) {
	paths := []string{crt}
	if file := authority.KeyFile(key); file != "" {
		paths = append(paths, file)
	}
	d.cfg.CA, err = live.New("CA", func() (*authority.CA, error) {
		ca, err := authority.Load(key, crt)
		if err != nil {
			return nil, err
		}
		return ca, ca.Check(time.Now())
	}, paths...)
	d.follow = append(d.follow, d.cfg.CA)
	return err
}

// developmentRoots replaces the vendors as whom to believe.
func (d *daemon) developmentRoots() error {
	text, err := os.ReadFile(d.options.roots)
	if err != nil {
		return err
	}
	certs, err := authority.ParseCertificates(text)
	if err != nil {
		return fmt.Errorf("%s: %w", d.options.roots, err)
	}
	set := &roots.Set{}
	for _, c := range certs {
		set.Add(c)
	}
	if len(set.AMD)+len(set.Intel) == 0 {
		return fmt.Errorf("%s: no self-signed certificate in it", d.options.roots)
	}
	const memo = 32 << 20
	d.cfg.Roots = &attest.Roots{Set: set, Memo: pki.NewMemo(memo)}
	d.cfg.Development = true
	d.warn("--roots %s: hardware is NOT verified against AMD and Intel, but against %d development roots", d.options.roots, len(set.AMD)+len(set.Intel))
	return nil
}
