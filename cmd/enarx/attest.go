// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/collateral"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/version"
)

func attestCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "attest",
		Short:   "Look at evidence of trusted execution environments",
		Example: "  enarx attest explain keep.csr collateral/*",
	})
	cmd.AddCommand(explainCommand())
	return cmd
}

// explainOptions is the flags of `enarx attest explain`.
type explainOptions struct {
	time, policy, roots, reportData string
	asJSON, asEAR, verbose, fetch   bool
}

func explainCommand() *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain [flags] FILE…",
		Short: "Say why evidence is accepted or refused, and what would change that",
		Long: "Verify evidence and hold it against a policy, and say of every rule what was\n" +
			"expected, what was found and what to change. The files are one piece of\n" +
			"evidence (a certificate request, an SNP report, an SGX or TDX quote) or a\n" +
			"certificate that a Steward issued, and beside it any certificates, revocation\n" +
			"lists, TCB infos, QE identities and bundles of these, in DER, PEM, JSON, CBOR\n" +
			"or hexadecimal. - is standard input. Each is known by what is in it.\n\n" +
			"The exit code is 0 if the evidence is accepted, 1 if it is refused, and 2 if\n" +
			"it cannot be read.",
		Example: "  enarx attest explain keep.csr\n" +
			"  enarx attest explain --time 2023-01-27 --policy policy.toml keep.csr crls.der\n" +
			"  enarx attest explain --report-data 0001020304 report.bin vcek.pem --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Usage(cmd, errors.New("which files? `enarx attest explain` needs one with evidence"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.time, "time", "", "judge as of `T`: like 2023-01-27, 2023-01-27T12:00:00Z or seconds since 1970 (default now)")
	f.StringVar(&o.policy, "policy", "", "the policy in `FILE`, as a Steward takes it (default any program on current, genuine hardware)")
	f.StringVar(&o.roots, "roots", "", "trust the certificates in `FILE`, not the vendors': for development")
	f.StringVar(&o.reportData, "report-data", "", "the report data must begin with `hex`, and end in zeros: for evidence without a certificate request")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	f.BoolVar(&o.asEAR, "ear", false, "print an attestation result of the IETF (EAR), without a signature")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show the checks that passed too")
	f.BoolVar(&o.fetch, "fetch", false, "ask AMD or Intel for what is missing (env ENARX_KDS_URL, ENARX_PCS_URL: ask mirrors)")
	return cmd
}

// An explanation is evidence, and all that it is judged by.
type explanation struct {
	files      *attest.Bundle
	collateral *attest.Collateral
	policy     *attest.Policy
	roots      *attest.Roots
	now        time.Time
	missing    error // what could not be fetched
}

// unreadable is an error that says nothing about the evidence.
func unreadable(err error) error {
	if err == nil {
		return nil
	}
	return endedError{err, 2}
}

func (o *explainOptions) run(cmd *cobra.Command, files []string) error {
	if o.asJSON && o.asEAR {
		return cli.Usage(cmd, errors.New("--json and --ear are two forms of the same"))
	}
	e, err := o.read(cmd, files)
	if err != nil {
		return err
	}
	w := &explainer{out: cmd.OutOrStdout(), verbose: o.verbose}
	w.color = w.out == os.Stdout && isTerminal(os.Stdout)
	if e.files.Evidence == nil && e.files.Refused == nil {
		if e.files.Issued != nil {
			return w.issued(o, e)
		}
		return unreadable(diag.Hint(errors.New("no evidence in these files: "+found(e.files)),
			"evidence is a certificate request of a Keep, an SNP report, or an SGX or TDX quote"))
	}
	if o.fetch && e.files.Evidence != nil {
		if err := o.ask(e); err != nil {
			return cli.Usage(cmd, err)
		}
	}
	r := e.judge(e.now)
	r.By = attest.Verifier{Build: "enarx " + version.Version}
	collateral.Record(r.Verification, e.missing)
	switch {
	case o.asEAR:
		_, err = fmt.Fprintf(w.out, "%s\n", r.EAR(e.now, r.By))
	case o.asJSON:
		err = w.json(e, r)
	default:
		err = w.text(e, r)
	}
	if err == nil && !r.Accepted() {
		err = exitCode(1)
	}
	return err
}

// read reads everything that is named on the command line.
func (o *explainOptions) read(cmd *cobra.Command, files []string) (*explanation, error) {
	e := &explanation{now: time.Now(), roots: attest.VendorRoots(), policy: attest.DefaultPolicy()}
	var err error
	if o.time != "" {
		if e.now, err = parseTime(o.time); err != nil {
			return nil, cli.Usage(cmd, err)
		}
	}
	data, err := hex.DecodeString(o.reportData)
	if err != nil || len(data) > 64 {
		return nil, cli.Usage(cmd, fmt.Errorf("--report-data %.20q is not up to 64 bytes in hexadecimal", o.reportData))
	}
	if o.policy != "" {
		if e.policy, err = readPolicy(cmd, o.policy); err != nil {
			return nil, unreadable(err)
		}
	}
	if o.roots != "" {
		if e.roots.Set, err = developmentRoots(cmd, o.roots); err != nil {
			return nil, unreadable(err)
		}
	}
	if e.files, err = readFiles(files, e.roots.Memo); err != nil {
		return nil, unreadable(err)
	}
	e.collateral = &e.files.Collateral
	if ev := e.files.Evidence; ev != nil && o.reportData != "" {
		if ev.Key != nil {
			return nil, cli.Usage(cmd, errors.New("--report-data is for evidence that is in no certificate request"))
		}
		ev.Data = data
	}
	return e, nil
}

// judge says what would be the verdict at that time.
func (e *explanation) judge(now time.Time) *attest.Result {
	if e.files.Refused != nil {
		return attest.RefusedRequest(e.files.Refused, e.policy)
	}
	return attest.Appraise(attest.Verify(e.files.Evidence, e.roots, e.collateral, now), e.policy)
}

// fetchTimeout bounds what the vendors are waited for.
const fetchTimeout = time.Minute

// ask gets what the vendors have for the evidence.
func (o *explainOptions) ask(e *explanation) error {
	f, err := collateral.New(collateral.Config{
		KDS: os.Getenv("ENARX_KDS_URL"), PCS: os.Getenv("ENARX_PCS_URL"), Roots: e.roots.Set, Memo: e.roots.Memo,
	})
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	more, err := f.For(ctx, e.files.Evidence)
	e.collateral, e.missing = e.collateral.Merge(more), err
	if o.time == "" {
		e.now = time.Now() // Intel issues some of it when it is asked
	}
	return nil
}

// parseTime reads an instant in one of the forms that people have them in.
func parseTime(s string) (time.Time, error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 && n < 1<<35 {
		return time.Unix(n, 0), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time: write it like 2023-01-27, 2023-01-27T12:00:00Z, or in seconds since 1970", s)
}

func readPolicy(cmd *cobra.Command, path string) (*attest.Policy, error) {
	text, err := readInput(path)
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	p, err := attest.ParsePolicy(path, text)
	if bad, ok := errors.AsType[*attest.PolicyError](err); ok && bad.Hint != "" {
		err = diag.Hint(err, "%s", bad.Hint)
	}
	if err != nil {
		return nil, err
	}
	for _, w := range p.Warnings {
		diag.Warnf(cmd.ErrOrStderr(), "%s", w)
	}
	return p, nil
}

// maxInput is more than evidence or collateral ever has.
const maxInput = 4 << 20

// readInput reads a file, or standard input if it is named -.
func readInput(path string) ([]byte, error) {
	in := os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err == nil && len(data) > maxInput {
		err = fmt.Errorf("%s: over %d bytes", path, maxInput)
	}
	return data, err
}

// readFiles recognises files by what is in them.
func readFiles(paths []string, memo *pki.Memo) (*attest.Bundle, error) {
	b := attest.NewBundle(memo)
	for _, path := range paths {
		data, err := readInput(path)
		if err == nil {
			err = b.Add(attest.File{Name: path, Data: data})
		}
		if errors.Is(err, attest.ErrTwoEvidences) {
			err = diag.Hint(err, "explain one piece of evidence at a time, beside its collateral")
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// found lists what the files were taken for.
func found(b *attest.Bundle) string {
	var all []string
	for _, f := range b.Found {
		all = append(all, f.Name+": "+f.What)
	}
	return strings.Join(all, "; ")
}
