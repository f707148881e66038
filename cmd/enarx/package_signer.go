// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/diag"
)

// signerOptions is the flags of commands that read a tag and may want it signed.
type signerOptions struct {
	signers  []string // files with public keys
	remember bool
}

func (o *signerOptions) flags(cmd *cobra.Command) *cobra.Command {
	f := cmd.Flags()
	f.StringArrayVar(&o.signers, "signer", nil, "`file` with a public key (PEM or JWK): the tag must be signed by it, or by another that is given")
	f.BoolVar(&o.remember, "remember-signer", false, "if no key is known for this repository, take the one that signed this tag, and want it from now on")
	return cmd
}

// signedBy is what is known of who signed a tag.
type signedBy struct {
	Signed   bool     `json:"signed"`
	Verified bool     `json:"verified"`          // by a key that was wanted
	Keys     []string `json:"keys,omitempty"`    // thumbprints: the key that was wanted, or those that the tag brings along
	Source   string   `json:"trusted,omitempty"` // who wants the key
}

// check holds a tag against the keys that are wanted: those of flags, or else
// those that are remembered for the repository. Where none are, an unsigned tag
// is as good as one that somebody signed.
func (o *signerOptions) check(slug drawbridge.Slug, tag drawbridge.Tag) (signedBy, error) {
	got := signedBy{Signed: tag.Signed()}
	for _, key := range tag.SelfSigned() {
		got.Keys = append(got.Keys, key.Thumbprint())
	}
	repository := slug
	repository.Tag, repository.Pinned = "", false
	wanted, source, err := o.wanted(repository.String())
	if err != nil {
		return got, err
	}
	if wanted == nil && o.remember {
		return o.takeOnFirstUse(slug, repository.String(), tag, got)
	}
	if wanted == nil {
		return got, nil
	}
	if slug.Tag == "" {
		return got, diag.Hint(fmt.Errorf("%s: a signature is on a tag, and this names none", slug), "name the tag as well: USER/REPO:TAG@sha256:…")
	}
	key, err := wanted.Verify(tag, slug.Name())
	if err != nil {
		return got, signerError(slug, source, err)
	}
	return signedBy{Signed: true, Verified: true, Keys: []string{key.Thumbprint()}, Source: source}, nil
}

// wanted returns the keys of which one must have signed, or nil, and who says
// so.
func (o *signerOptions) wanted(repository string) (drawbridge.Signers, string, error) {
	if len(o.signers) == 0 {
		known, err := signersOf(repository)
		return known, signersName, err
	}
	var all []drawbridge.PublicKey
	for _, path := range o.signers {
		text, err := readInput(path)
		if err != nil {
			return nil, "", fmt.Errorf("reading the signer's key: %w", err)
		}
		keys, err := drawbridge.ParsePublicKeys(text)
		if err != nil {
			return nil, "", diag.Hint(fmt.Errorf("%s: %w", path, err), "of a private key, `openssl pkey -in KEY -pubout` prints the public one")
		}
		all = append(all, keys...)
	}
	return drawbridge.NewSigners(all...), strings.Join(o.signers, ", "), nil
}

// signerError says which of the ways it is in which a signature is not the one
// that was wanted.
func signerError(slug drawbridge.Slug, source string, err error) error {
	switch {
	case errors.Is(err, drawbridge.ErrUnsigned):
		return diag.Hint(fmt.Errorf("%s: %w, and %s wants it signed", slug, err, source),
			"do not use it before its publisher has told you why")
	case errors.Is(err, drawbridge.ErrUnknownSigner):
		return diag.Hint(fmt.Errorf("%s: %w, and not by one that %s names", slug, err, source),
			"if the publisher has a new key, have it told by other means than the store, and put it into %s", source)
	}
	return diag.Hint(fmt.Errorf("%s: %w", slug, err), "do not use it: it was altered, or is given out as something it is not")
}

// takeOnFirstUse remembers who signed, on the user's word that this is how it
// should be.
func (o *signerOptions) takeOnFirstUse(slug drawbridge.Slug, repository string, tag drawbridge.Tag, got signedBy) (signedBy, error) {
	keys := tag.SelfSigned()
	if len(keys) == 0 {
		return got, fmt.Errorf("%s: no signer to remember: %w", slug, drawbridge.ErrUnsigned)
	}
	// Also what was signed has to be this tag.
	if _, err := drawbridge.NewSigners(keys...).Verify(tag, slug.Name()); err != nil {
		return got, signerError(slug, "--remember-signer", err)
	}
	if err := rememberSigners(repository, keys); err != nil {
		return got, err
	}
	diag.Warnf(os.Stderr, "the key of %s is from now on: %s; nobody but the store has vouched for it", repository, strings.Join(got.Keys, ", "))
	got.Verified, got.Source = true, "first use"
	return got, nil
}
