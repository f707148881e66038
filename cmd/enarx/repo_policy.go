// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
)

func policyCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "policy",
		Short: "Say which Keeps may read a repository, and who must have signed it",
		Long: "The policy of a repository is a TOML or JSON file with any of these keys:\n\n" +
			"  tee = [\"snp\", \"sgx\", \"tdx\"]   # what Keeps must run in (default any TEE)\n" +
			"  minimum_tier = \"affirming\"      # how good their appraisal must be, or \"warning\"\n" +
			"  allow_no_hardware = false       # also Keeps without a TEE\n" +
			"  allow_development = false       # also certificates with a development root\n" +
			"  cas = [\"steward\"]               # CAs of Stewards, by name (default all of the store's)\n" +
			"  signers = [\"\"\"-----BEGIN PUBLIC KEY-----…\"\"\"]   # one of them signs each tag\n" +
			"  steward = \"https://attest.example.org\"\n" +
			"  certificate_life_seconds = 3600",
		Example: "  enarx repo policy get alice/app > policy.toml\n" +
			"  enarx repo policy set alice/app policy.toml",
	})
	cmd.AddCommand(getPolicyCommand(), setPolicyCommand())
	return cmd
}

func getPolicyCommand() *cobra.Command {
	var o storeOptions
	return o.flags(&cobra.Command{
		Use:     "get [flags] [HOST/]USER/REPO",
		Short:   "Print the policy of a repository, as TOML",
		Example: "  enarx repo policy get alice/app",
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: o.withRepo(func(ctx context.Context, s *store, slug drawbridge.Slug) error {
			policy, err := s.Policy(ctx, slug)
			if err != nil {
				return fmt.Errorf("failed to retrieve policy: %w", err)
			}
			if o.asJSON {
				return writeJSON(s.cmd.OutOrStdout(), policy)
			}
			text, err := policyTOML(policy)
			if err != nil {
				return err
			}
			_, err = io.WriteString(s.cmd.OutOrStdout(), text)
			return err
		}),
	})
}

func setPolicyCommand() *cobra.Command {
	var o storeOptions
	var dry bool
	cmd := o.flags(&cobra.Command{
		Use:   "set [flags] [HOST/]USER/REPO FILE",
		Short: "Replace the policy of a repository, and say what that changes",
		Example: "  enarx repo policy set --dry-run alice/app policy.toml\n" +
			"  enarx repo policy set alice/app policy.toml\n" +
			"  echo 'minimum_tier = \"warning\"' | enarx repo policy set alice/app -",
		Args: cli.Args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readInput(args[1])
			if err != nil {
				return fmt.Errorf("reading the policy: %w", err)
			}
			policy, err := parsePolicy(text)
			if err != nil {
				return fmt.Errorf("%s: %w", args[1], err)
			}
			return o.withRepo(func(ctx context.Context, s *store, slug drawbridge.Slug) error {
				return s.setPolicy(ctx, slug, policy, dry)
			})(cmd, args)
		},
		ValidArgsFunction: completeFileAt(1),
	})
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would change")
	return cmd
}

func (s *store) setPolicy(ctx context.Context, slug drawbridge.Slug, policy drawbridge.Policy, dry bool) error {
	old, err := s.Policy(ctx, slug)
	if err != nil {
		return fmt.Errorf("failed to retrieve policy: %w", err)
	}
	changes := policyChanges(old, policy)
	if !dry {
		if err := s.PutPolicy(ctx, slug, policy); err != nil {
			return fmt.Errorf("failed to set policy: %w", err)
		}
	}
	out := s.cmd.OutOrStdout()
	if s.options.asJSON {
		return writeJSON(out, struct {
			Policy  drawbridge.Policy `json:"policy"`
			Changes []string          `json:"changes"`
			Set     bool              `json:"set"`
		}{policy, changes, !dry})
	}
	if len(changes) == 0 {
		_, err := fmt.Fprintln(out, "Nothing changes.")
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n  %s\n", yesNo(dry, "This would change:", "This has changed:"), strings.Join(changes, "\n  "))
	return err
}

// parsePolicy reads TOML or JSON. The store checks the values, too.
func parsePolicy(text []byte) (p drawbridge.Policy, err error) {
	// One reader for both: the names and the types are those of the JSON.
	if t := bytes.TrimSpace(text); !bytes.HasPrefix(t, []byte("{")) {
		var values map[string]any
		if err := toml.Unmarshal(text, &values); err != nil {
			return p, tomlError(err)
		}
		if values == nil {
			values = map[string]any{}
		}
		if text, err = json.Marshal(values); err != nil {
			return p, err
		}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, policyError(err)
	}
	if d.More() {
		return p, errors.New("more than one policy")
	}
	for _, tee := range p.TEE {
		if known := []string{"snp", "sgx", "tdx"}; !slices.Contains(known, tee) {
			return p, diag.Hint(fmt.Errorf("%q is no TEE", tee), "%s", diag.Suggest(tee, "the TEEs", known))
		}
	}
	if known := []string{"", "affirming", "warning"}; !slices.Contains(known, p.MinimumTier) {
		return p, diag.Hint(fmt.Errorf("%q is no tier", p.MinimumTier), "%s", diag.Suggest(p.MinimumTier, "the tiers", known[1:]))
	}
	for _, text := range p.Signers {
		if _, err := drawbridge.ParsePublicKeys([]byte(text)); err != nil {
			return p, fmt.Errorf("signers: %w", err)
		}
	}
	return p, nil
}

// policyKeys are the keys of a policy, for whoever mistyped one.
var policyKeys = []string{"tee", "minimum_tier", "allow_no_hardware", "allow_development", "cas", "signers", "steward", "certificate_life_seconds"}

func policyError(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s is not a %s", wrong.Field, wrong.Type)
	}
	if _, field, ok := strings.Cut(err.Error(), "unknown field "); ok {
		field = strings.Trim(field, `"`)
		return diag.Hint(fmt.Errorf("unknown key %q", field), "%s", diag.Suggest(field, "the keys", policyKeys))
	}
	return err
}

// policyTOML is what parsePolicy reads, with the keys in the order of the
// manual and those that say nothing left out.
func policyTOML(p drawbridge.Policy) (string, error) {
	text, err := toml.Marshal(struct {
		TEE              []string `toml:"tee,omitempty"`
		MinimumTier      string   `toml:"minimum_tier,omitempty"`
		AllowNoHardware  bool     `toml:"allow_no_hardware"`
		AllowDevelopment bool     `toml:"allow_development"`
		CAs              []string `toml:"cas,omitempty"`
		Signers          []string `toml:"signers,omitempty"`
		Steward          string   `toml:"steward,omitempty"`
		CertificateLife  int64    `toml:"certificate_life_seconds,omitempty"`
	}(p))
	return string(text), err
}

// policyChanges says in words what is different for whom.
func policyChanges(old, p drawbridge.Policy) (changes []string) {
	say := func(format string, args ...any) { changes = append(changes, oneLine(fmt.Sprintf(format, args...))) }
	list := func(all []string, none string) string {
		if len(all) == 0 {
			return none
		}
		return strings.Join(all, ", ")
	}
	if !sameSet(old.TEE, p.TEE) {
		say("Keeps may read it that run in: %s (before: %s)", list(p.TEE, "any TEE"), list(old.TEE, "any TEE"))
	}
	if before, after := tier(old), tier(p); before != after {
		if after == "warning" {
			say("Keeps may read it whose appraisal has warnings, like firmware that is out of date")
		} else {
			say("only Keeps may read it whose appraisal has no warnings")
		}
	}
	if old.AllowNoHardware != p.AllowNoHardware {
		say("%s", yesNo(p.AllowNoHardware, "Keeps WITHOUT A TEE may read it: their hosts see all of it", "Keeps without a TEE may not read it any more"))
	}
	if old.AllowDevelopment != p.AllowDevelopment {
		say("%s", yesNo(p.AllowDevelopment, "certificates with a DEVELOPMENT root are believed: they prove nothing", "certificates with a development root are not believed any more"))
	}
	if !sameSet(old.CAs, p.CAs) {
		say("Stewards are believed whose CA is: %s (before: %s)", list(p.CAs, "any of the store's"), list(old.CAs, "any of the store's"))
	}
	before, after := thumbprints(old.Signers), thumbprints(p.Signers)
	for _, key := range after {
		if !slices.Contains(before, key) {
			say("tags may be signed by the key %s", key)
		}
	}
	for _, key := range before {
		if !slices.Contains(after, key) {
			say("the key %s signs no new tags any more", key)
		}
	}
	switch {
	case len(before) == 0 && len(after) > 0:
		say("new tags must be signed")
	case len(before) > 0 && len(after) == 0:
		say("new tags need no signature")
	}
	if old.Steward != p.Steward {
		say("Keeps are sent to the Steward: %s (before: %s)", list(strings.Fields(p.Steward), "the store's"), list(strings.Fields(old.Steward), "the store's"))
	}
	if old.CertificateLife != p.CertificateLife {
		life := func(s int64) string {
			if s == 0 {
				return "the Steward's choice"
			}
			return (time.Duration(s) * time.Second).String()
		}
		say("certificates of Keeps are to live: %s (before: %s)", life(p.CertificateLife), life(old.CertificateLife))
	}
	return changes
}

func tier(p drawbridge.Policy) string {
	if p.MinimumTier == "" {
		return "affirming"
	}
	return p.MinimumTier
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}

// thumbprints names keys. What is no key, from a store that lets that pass, is
// named as it is.
func thumbprints(texts []string) (all []string) {
	for _, text := range texts {
		keys, err := drawbridge.ParsePublicKeys([]byte(text))
		if err != nil {
			all = append(all, text)
		}
		for _, k := range keys {
			all = append(all, k.Thumbprint())
		}
	}
	return all
}
