// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/snp"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/collateral"
	"enarx.dev/enarx/internal/collateral/cachefile"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/platform"
)

func snpCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "snp",
		Short: "Keep what AMD says of this machine, for evidence of its Keeps",
		Example: "  enarx platform snp update\n" +
			"  enarx platform snp cache-crl",
	})
	cmd.AddCommand(snpUpdateCommand(), snpVCEKCommand(), snpCRLCommand())
	return cmd
}

// chipOptions names a chip where the machine is another.
type chipOptions struct {
	product, id, tcb, report string
}

func (o *chipOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.report, "report", "", "for the chip that the attestation report in `FILE` is of, not this machine's")
	f.StringVar(&o.product, "product", "", "AMD product `line`: Milan, Genoa or Turin")
	f.StringVar(&o.id, "chip-id", "", "for the chip with this id, in `hex`; with --product and --tcb")
	f.StringVar(&o.tcb, "tcb", "", "its reported TCB, as `levels` like bootloader=4,tee=0,snp=24,microcode=219")
}

// chips returns the chip that is meant: in several products if its report does
// not say which it is of.
func (o *chipOptions) chips(cmd *cobra.Command) ([]platform.Chip, error) {
	product, err := productLine(o.product)
	switch {
	case err != nil:
		return nil, cli.Usage(cmd, err)
	case o.report != "" && o.id != "":
		return nil, cli.Usage(cmd, errors.New("--report and --chip-id both name the chip"))
	case o.report != "":
		return o.reported(product)
	case o.id != "":
		return o.named(cmd, product)
	}
	chip, err := platform.Host().Chip()
	if err != nil {
		return nil, diag.Hint(err, "name the chip with --report FILE, or with --chip-id, --product and --tcb")
	}
	return []platform.Chip{*chip}, nil
}

// productLine returns AMD's name for what was typed.
func productLine(s string) (string, error) {
	for _, line := range []string{"", snp.Milan, snp.Genoa, snp.Turin} {
		if strings.EqualFold(s, line) {
			return line, nil
		}
	}
	return "", fmt.Errorf("unknown product line %q: there are Milan, Genoa and Turin", s)
}

// reported reads the chip from evidence.
func (o *chipOptions) reported(product string) ([]platform.Chip, error) {
	b, err := readFiles([]string{o.report}, nil)
	if err != nil {
		return nil, err
	}
	if b.Evidence == nil || b.Evidence.Technology != attest.SNP {
		return nil, fmt.Errorf("%s is not evidence of an SEV-SNP guest", o.report)
	}
	r, err := snp.ParseReport(b.Evidence.Report)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.report, err)
	}
	if r.ChipID == [64]byte{} {
		return nil, fmt.Errorf("%s: the report masks its chip id", o.report)
	}
	lines := r.ProductLines()
	if product != "" {
		lines = []string{product}
	}
	var chips []platform.Chip
	for _, line := range lines {
		chips = append(chips, platform.Chip{Product: line, ID: r.ChipID, TCB: r.ReportedTCB})
	}
	if len(chips) == 0 {
		return nil, diag.Hint(fmt.Errorf("%s: the report is of an unknown product line", o.report), "name it with --product")
	}
	return chips, nil
}

func (o *chipOptions) named(cmd *cobra.Command, product string) ([]platform.Chip, error) {
	if product == "" || o.tcb == "" {
		return nil, cli.Usage(cmd, errors.New("--chip-id needs --product and --tcb"))
	}
	c := platform.Chip{Product: product}
	id, err := hex.DecodeString(o.id)
	if err != nil || len(id) != 64 && !(product == snp.Turin && len(id) == 8) {
		return nil, cli.Usage(cmd, fmt.Errorf("--chip-id %q is not a chip id: that is 128 hexadecimal digits, 16 of a Turin", o.id))
	}
	copy(c.ID[:], id)
	if c.TCB, err = parseTCB(product, o.tcb); err != nil {
		return nil, cli.Usage(cmd, err)
	}
	return []platform.Chip{c}, nil
}

// parseTCB reads levels like bootloader=4,tee=0,snp=24,microcode=219.
func parseTCB(product, s string) (tcb snp.TCBVersion, err error) {
	at := map[string]int{"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7} // see snp.TCBVersion.Decode
	if product == snp.Turin {
		at = map[string]int{"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7}
	}
	for part := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		i, ok := at[name]
		n, err := strconv.ParseUint(value, 10, 8)
		if !ok || err != nil {
			return tcb, fmt.Errorf("--tcb: %q is not the level of one more part of %s, like snp=24", part, product)
		}
		tcb[i] = byte(n)
		delete(at, name)
	}
	for _, name := range snp.Components {
		if _, missing := at[name]; missing {
			return tcb, fmt.Errorf("--tcb: the level of %s is missing", name)
		}
	}
	return tcb, nil
}

func snpUpdateCommand() *cobra.Command {
	var cache vendorCache
	var chip chipOptions
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Get the certificate of this machine's chip (VCEK) from AMD",
		Long: "Get the certificate of this machine's chip at its reported TCB (its VCEK) from\n" +
			"AMD's key distribution service, for the evidence of Keeps. Run it again after\n" +
			"an update of the firmware.",
		Example: "  enarx platform snp update\n" +
			"  enarx platform snp update --dir certs --report report.bin",
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			chips, err := chip.chips(cmd)
			if err != nil {
				return err
			}
			return cache.fetch(cmd, func(ctx context.Context, f *collateral.Fetcher) error {
				var d *collateral.Document
				for _, c := range chips {
					if d, err = get(ctx, f, collateral.VCEK(c.Product, c.ID, c.TCB)); err == nil {
						path, err := cache.write(ctx, c.VCEKName(), d.Body)
						return cached(cmd, path, err)
					}
				}
				return err
			})
		},
	}
	cache.flags(cmd, cachefile.AMDDir)
	chip.flags(cmd)
	return cmd
}

func snpVCEKCommand() *cobra.Command {
	var cache vendorCache
	var chip chipOptions
	var file, asPEM bool
	cmd := &cobra.Command{
		Use:   "vcek",
		Short: "Print the certificate of this machine's chip that is in the cache",
		Long: "Print the certificate of this machine's chip at its reported TCB (its VCEK) that\n" +
			"is in the cache, in DER.",
		Example: "  enarx platform snp vcek --pem\n" +
			"  enarx platform snp vcek --file",
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := cachedVCEK(cmd, cache.dir, &chip)
			if err != nil {
				return err
			}
			if file {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%q\n", path)
				return err
			}
			c, err := cachefile.ReadVCEK(path)
			if err != nil {
				return diag.Hint(err, "run `enarx platform snp update` to get it anew")
			}
			out := c.Raw
			switch {
			case asPEM:
				out = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: out})
			case cmd.OutOrStdout() == os.Stdout && isTerminal(os.Stdout):
				return diag.Hint(errors.New("a certificate in DER is not for a terminal"), "add --pem, or write it to a file")
			}
			_, err = cmd.OutOrStdout().Write(out)
			return err
		},
	}
	cmd.Flags().BoolVar(&file, "file", false, "print the name of its file instead")
	cmd.Flags().BoolVar(&asPEM, "pem", false, "print PEM")
	cmd.Flags().StringVar(&cache.dir, "dir", cachefile.AMDDir, "the `folder` of the cache")
	chip.flags(cmd)
	return cmd
}

// cachedVCEK returns the file for the chip. If nobody says which chip, the
// only file there is will do.
func cachedVCEK(cmd *cobra.Command, dir string, o *chipOptions) (string, error) {
	none := diag.Hint(fmt.Errorf("no cache file found in %s", dir), "run `enarx platform snp update`")
	chips, err := o.chips(cmd)
	if errors.Is(err, platform.ErrNoChip) {
		switch files := cachefile.VCEKs(dir); len(files) {
		case 0:
			return "", none
		case 1:
			return files[0], nil
		}
	}
	if err != nil {
		return "", err
	}
	for _, c := range chips {
		path := filepath.Join(dir, c.VCEKName())
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", none
}

func snpCRLCommand() *cobra.Command {
	var cache vendorCache
	var product string
	cmd := &cobra.Command{
		Use:   "cache-crl",
		Short: "Get AMD's revocation lists",
		Long: "Get AMD's revocation lists for the evidence of Keeps: of Genoa and Milan, as\n" +
			"every Steward knows them, and on a Turin machine of Turin.",
		Example: "  enarx platform snp cache-crl\n" +
			"  enarx platform snp cache-crl --product Turin --dir certs",
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			line, err := productLine(product)
			if err != nil {
				return cli.Usage(cmd, err)
			}
			if line == "" {
				line = platform.Host().ProductLine()
			}
			// The order is that of every release, whose Keeps also have no room
			// for a third list beside these two.
			items := []collateral.Item{collateral.AMDCRL(snp.Genoa, false), collateral.AMDCRL(snp.Milan, false)}
			if line == snp.Turin {
				items = []collateral.Item{collateral.AMDCRL(snp.Turin, false)}
			}
			return cache.fetch(cmd, func(ctx context.Context, f *collateral.Fetcher) error {
				path, err := cache.writeCRLs(ctx, f, items...)
				return cached(cmd, path, err)
			})
		},
	}
	cache.flags(cmd, cachefile.AMDDir)
	cmd.Flags().StringVar(&product, "product", "", "AMD product `line`: Milan, Genoa or Turin (default this machine's)")
	return cmd
}
