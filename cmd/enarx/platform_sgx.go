// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/collateral"
	"enarx.dev/enarx/internal/collateral/cachefile"
	"enarx.dev/enarx/internal/diag"
)

func sgxCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "sgx",
		Short: "Keep what Intel says of this machine, for evidence of its Keeps",
		Example: "  enarx platform sgx cache-crl\n" +
			"  enarx platform sgx cache-pck && enarx platform sgx cache-tcb",
	})
	cmd.AddCommand(sgxRegisterCommand(), sgxCRLCommand(), sgxPCKCommand(), sgxTCBCommand())
	return cmd
}

func sgxCRLCommand() *cobra.Command {
	var cache vendorCache
	cmd := &cobra.Command{
		Use:     "cache-crl",
		Short:   "Get Intel's revocation lists",
		Example: "  enarx platform sgx cache-crl",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cache.fetch(cmd, func(ctx context.Context, f *collateral.Fetcher) error {
				path, err := cache.writeCRLs(ctx, f, collateral.RootCRL(), collateral.PCKCRL("processor"), collateral.PCKCRL("platform"))
				return cached(cmd, path, err)
			})
		},
	}
	cache.flags(cmd, cachefile.IntelDir)
	return cmd
}

// cached prints the file that was written.
func cached(cmd *cobra.Command, path string, err error) error {
	if err == nil {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
	}
	return err
}

// fmspcHint is for machines that cannot be asked.
const fmspcHint = "run `enarx platform sgx cache-pck` first, or name the platform family with --fmspc"

func sgxTCBCommand() *cobra.Command {
	var cache vendorCache
	var family string
	cmd := &cobra.Command{
		Use:   "cache-tcb",
		Short: "Get the TCB levels of this platform family from Intel",
		Example: "  enarx platform sgx cache-tcb\n" +
			"  enarx platform sgx cache-tcb --fmspc 00606A000000 --dir certs",
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var fmspc [6]byte
			var err error
			if family != "" {
				if fmspc, err = cachefile.ParseFMSPC(family); err != nil {
					return cli.Usage(cmd, fmt.Errorf("--fmspc: %w", err))
				}
			} else if fmspc, err = cachefile.ReadFMSPC(filepath.Join(cache.dir, cachefile.FMSPC)); err != nil {
				return diag.Hint(fmt.Errorf("the platform family of this machine: %w", err), fmspcHint)
			}
			return cache.fetch(cmd, func(ctx context.Context, f *collateral.Fetcher) error {
				d, err := get(ctx, f, collateral.TCBInfo(fmspc, false))
				if err != nil {
					return err
				}
				data, err := cachefile.EncodeTCB(d.Chain, d.Body)
				if err != nil {
					return err
				}
				path, err := cache.write(ctx, cachefile.TCB, data)
				return cached(cmd, path, err)
			})
		},
	}
	cache.flags(cmd, cachefile.IntelDir)
	cmd.Flags().StringVar(&family, "fmspc", "", "platform family, 12 `hex` digits (default this machine's, as cache-pck found it)")
	return cmd
}

func sgxPCKCommand() *cobra.Command {
	var cache vendorCache
	var family string
	cmd := &cobra.Command{
		Use:   "cache-pck",
		Short: "Find out the platform family (FMSPC) of this machine",
		Long: "Find out the platform family (FMSPC) of this machine: Intel's\n" +
			"PCKIDRetrievalTool names the platform, and Intel's service its certificate,\n" +
			"which holds the family.",
		Example: "  enarx platform sgx cache-pck\n" +
			"  enarx platform sgx cache-pck --fmspc 00606A000000",
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if family != "" {
				fmspc, err := cachefile.ParseFMSPC(family)
				if err != nil {
					return cli.Usage(cmd, fmt.Errorf("--fmspc: %w", err))
				}
				path, err := cache.write(context.Background(), cachefile.FMSPC, fmt.Appendf(nil, "%X", fmspc))
				return cached(cmd, path, err)
			}
			return cache.fetch(cmd, func(ctx context.Context, f *collateral.Fetcher) error {
				id, err := platformID(ctx, filepath.Join(cache.dir, cachefile.PCKID))
				if err != nil {
					return err
				}
				d, err := get(ctx, f, collateral.PCK(id.encryptedPPID, id.cpusvn, id.pcesvn, id.pceid))
				if err != nil {
					return err
				}
				pck, err := dcap.ParsePCK(d.Collateral.Certificates[0])
				if err != nil {
					return err
				}
				path, err := cache.write(ctx, cachefile.FMSPC, fmt.Appendf(nil, "%X", pck.FMSPC))
				return cached(cmd, path, err)
			})
		},
	}
	cache.flags(cmd, cachefile.IntelDir)
	cmd.Flags().StringVar(&family, "fmspc", "", "take this platform family, 12 `hex` digits, without asking anyone")
	return cmd
}

// pckID is what names a platform to Intel, in hexadecimal.
type pckID struct{ encryptedPPID, pceid, cpusvn, pcesvn string }

// retrievalTool is Intel's program that reads a machine's pckID.
const retrievalTool = "PCKIDRetrievalTool"

// platformID reads the file that Intel's tool writes, and has it written if
// there is none.
func platformID(ctx context.Context, path string) (pckID, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return pckID{}, diag.Hint(err, "write it as root, or give another folder with --dir")
		}
		out, err := exec.CommandContext(ctx, retrievalTool, "-f", path).CombinedOutput()
		switch {
		case errors.Is(err, exec.ErrNotFound):
			return pckID{}, diag.Hint(fmt.Errorf("%s is not installed, and there is no %s", retrievalTool, path),
				"install Intel's SGX DCAP packages, or name the platform family with --fmspc")
		case err != nil:
			return pckID{}, fmt.Errorf("%s: %w: %.200s", retrievalTool, err, out)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return pckID{}, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	fields, err := r.Read()
	if err != nil {
		return pckID{}, fmt.Errorf("%s: %w", path, err)
	}
	return parsePCKID(path, fields)
}

// parsePCKID checks the fields of the tool's file, of which there are more.
func parsePCKID(path string, fields []string) (id pckID, err error) {
	const encryptedPPIDSize, idSize, svnSize = 384, 2, 16
	for i, want := range []struct {
		to   *string
		name string
		size int
	}{{&id.encryptedPPID, "encrypted PPID", encryptedPPIDSize}, {&id.pceid, "PCE id", idSize}, {&id.cpusvn, "CPUSVN", svnSize}, {&id.pcesvn, "PCESVN", idSize}} {
		if i >= len(fields) {
			return pckID{}, fmt.Errorf("%s: no %s in it", path, want.name)
		}
		value := strings.TrimSpace(fields[i])
		if raw, err := hex.DecodeString(value); err != nil || len(raw) != want.size {
			return pckID{}, fmt.Errorf("%s: its %s is not %d bytes in hexadecimal", path, want.name, want.size)
		}
		*want.to = value
	}
	return id, nil
}
