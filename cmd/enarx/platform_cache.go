// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/collateral"
	"enarx.dev/enarx/internal/collateral/cachefile"
	"enarx.dev/enarx/internal/diag"
)

// vendorCache is the flags that the commands share which keep the vendors'
// collateral on this machine for its Keeps.
type vendorCache struct {
	dir       string
	kds, pcs  string
	rootsFile string
}

func (o *vendorCache) flags(cmd *cobra.Command, dir string) {
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", dir, "the `folder` of the cache")
	f.StringVar(&o.rootsFile, "roots", "", "verify against the certificates in `FILE`, not the vendors': for development")
	if dir == cachefile.AMDDir {
		f.StringVar(&o.kds, "kds-url", "", "ask the mirror of AMD's service at `URL` (env ENARX_KDS_URL)")
	} else {
		f.StringVar(&o.pcs, "pcs-url", "", "ask the mirror of Intel's service at `URL` (env ENARX_PCS_URL)")
	}
}

// fetch calls do with a fetcher that keeps nothing of its own. An interrupt
// ends it.
func (o *vendorCache) fetch(cmd *cobra.Command, do func(context.Context, *collateral.Fetcher) error) error {
	cfg := collateral.Config{KDS: orEnv(o.kds, "ENARX_KDS_URL"), PCS: orEnv(o.pcs, "ENARX_PCS_URL")}
	if o.rootsFile != "" {
		set, err := developmentRoots(cmd, o.rootsFile)
		if err != nil {
			return err
		}
		cfg.Roots = set
	}
	f, err := collateral.New(cfg)
	if err != nil {
		return cli.Usage(cmd, err)
	}
	defer f.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return do(ctx, f)
}

func orEnv(value, name string) string {
	if value == "" {
		value = os.Getenv(name)
	}
	return value
}

// get is Fetcher.Get, with what to do about a failure.
func get(ctx context.Context, f *collateral.Fetcher, i collateral.Item) (*collateral.Document, error) {
	d, err := f.Get(ctx, i)
	switch {
	case err == nil:
		return d, nil
	case errors.Is(err, collateral.ErrNoSuch):
		return nil, err
	}
	return nil, diag.Hint(err, "check the way to the internet, or give a mirror; a service that refuses may answer again in a while")
}

// writeCRLs fetches revocation lists into crls.der.
func (o *vendorCache) writeCRLs(ctx context.Context, f *collateral.Fetcher, items ...collateral.Item) (string, error) {
	var list []attest.CRLEntry
	for _, i := range items {
		d, err := get(ctx, f, i)
		if err != nil {
			return "", err
		}
		// The vendor's own address, mirror or not: released Stewards find a
		// list by it.
		list = append(list, attest.CRLEntry{URL: attest.CRLURL(d.Collateral.CRLs[0].Issuer.CommonName), DER: d.Body})
	}
	return o.write(ctx, cachefile.CRLs, attest.MarshalCRLList(list))
}

// write replaces one file of the cache and returns its path.
func (o *vendorCache) write(ctx context.Context, name string, data []byte) (string, error) {
	path := filepath.Join(o.dir, name)
	if err := cachefile.Write(ctx, path, data); err != nil {
		return "", fmt.Errorf("writing the cache: %w", err)
	}
	return path, nil
}

// developmentRoots reads roots that are not the vendors', and says so.
func developmentRoots(cmd *cobra.Command, path string) (*roots.Set, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the roots: %w", err)
	}
	b, err := attest.Recognise([]attest.File{{Name: path, Data: data}}, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the roots: %w", err)
	}
	set := &roots.Set{}
	for _, c := range b.Collateral.Certificates {
		set.Add(c)
	}
	if len(set.AMD)+len(set.Intel) == 0 {
		return nil, diag.Hint(fmt.Errorf("no root certificate in %s", path), "a root certificate is self-issued; AMD's are named ARK-something")
	}
	diag.Warnf(cmd.ErrOrStderr(), "DEVELOPMENT ROOTS from %s in place of the vendors': what they vouch for is not real hardware", path)
	return set, nil
}
