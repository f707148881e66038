// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/serve"
	"enarx.dev/enarx/internal/steward"
	"enarx.dev/enarx/internal/version"
)

// options are the flags of the server.
type options struct {
	key, crt, host, stateDir, keyType string

	addr, listen, admin string
	port                uint16
	tlsKey, tlsCrt      string
	proxies             []string

	policy, roots, collateral, cache string
	fetch                            bool
	kds, pcs, intelCerts             string
	insecure                         bool
	challengeKey                     string
	challenges                       steward.Challenges

	profile  steward.Profile
	ledger   string
	limits   steward.Limits
	conns    serve.Limits
	timeouts serve.Timeouts
	drain    time.Duration
	grace    time.Duration

	logging cli.Logging
}

// environment names the flags that a variable may set instead: upstream's names.
var environment = map[string]string{
	"key": "STEWARD_KEY", "crt": "STEWARD_CRT", "port": "ROCKET_PORT", "addr": "ROCKET_ADDRESS",
	"host": "RENDER_EXTERNAL_HOSTNAME", "san": "STEWARD_SAN",
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "enarx-steward [flags] [@FILE]",
		Short: "Issue certificates to Keeps that prove themselves",
		Long: "The attestation CA of Enarx: a certificate request with evidence of a trusted\n" +
			"execution environment comes in, and a certificate goes out if the evidence is\n" +
			"genuine and meets the policy. @FILE is a TOML file of flags.",
		Example: "  enarx-steward --key ca.key --crt ca.crt --policy policy.toml\n" +
			"  enarx-steward --state-dir /var/lib/enarx-steward --host steward.example --fetch\n" +
			"  enarx-steward @/etc/enarx-steward/steward.toml",
		Version:           version.Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cli.NoArguments,
		RunE:              func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	root.SetVersionTemplate("enarx-steward {{.Version}}\n")
	root.Flags().BoolP("version", "V", false, "print the version")
	root.SetFlagErrorFunc(cli.Usage)
	root.SuggestionsMinimumDistance = 2
	o.define(root.Flags())
	root.AddCommand(checkPolicyCommand(), auditCommand(), versionCommand(), cli.Completion("enarx-steward"))
	return root
}

func (o *options) define(f *pflag.FlagSet) {
	f.SortFlags = false
	o.defineCA(f)
	o.defineNetwork(f)
	o.defineDecision(f)
	o.defineLimits(f)
	cli.Once(f)
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "config" { // upstream's name
			name = "policy"
		}
		return pflag.NormalizedName(name)
	})
}

func (o *options) defineCA(f *pflag.FlagSet) {
	f.StringVarP(&o.key, "key", "k", "", "CA private key: a PEM file, or ssh-agent:SOCKET (env STEWARD_KEY)")
	f.StringVarP(&o.crt, "crt", "c", "", "CA certificate, PEM, and those above it after it (env STEWARD_CRT)")
	f.StringVar(&o.stateDir, "state-dir", "", "make a CA here and keep it, instead of --key and --crt")
	f.StringVar(&o.host, "host", "", "common name of a CA that is made; without --state-dir it is forgotten at the end (env RENDER_EXTERNAL_HOSTNAME)")
	f.StringVar(&o.keyType, "key-type", "p256", "key of a CA that is made: p256 or p384")
	f.StringArrayVar(&o.profile.DNSNames, "san", nil, "DNS name for every certificate; may be repeated (env STEWARD_SAN)")
	f.BoolVar(&o.profile.CopySubject, "copy-subject", false, "copy the request's subject into the certificate, unchecked")
	f.BoolVar(&o.profile.CompatSAN, "compat-san", false, "put upstream's placeholder foo.bar.hub.profian.com into every certificate")
	f.BoolVar(&o.profile.Compat, "compat", false, "issue exactly upstream's certificates: 28 days, the request's subject, no attestation result")
	f.StringVar(&o.ledger, "issuance-log", "", "append a line for each certificate to this file; see the command audit")
}

func (o *options) defineNetwork(f *pflag.FlagSet) {
	f.StringVarP(&o.addr, "addr", "a", "::", "IP address to listen on (env ROCKET_ADDRESS)")
	f.Uint16VarP(&o.port, "port", "p", 3000, "port to listen on (env ROCKET_PORT)")
	f.StringVar(&o.listen, "listen", "", "HOST:PORT or unix:PATH to listen on, instead of --addr and --port")
	f.StringVar(&o.admin, "admin", "", "HOST:PORT or unix:PATH for /healthz, /readyz and /metrics")
	f.StringVar(&o.tlsCrt, "tls-crt", "", "serve HTTPS with this PEM certificate chain")
	f.StringVar(&o.tlsKey, "tls-key", "", "its private key")
	f.StringArrayVar(&o.proxies, "proxy", nil, "address or network of a proxy whose X-Forwarded-For is believed, or unix for who comes by a Unix socket; may be repeated")
	o.logging.Define(f)
}

func (o *options) defineDecision(f *pflag.FlagSet) {
	f.StringVar(&o.policy, "policy", "", "what evidence must satisfy, TOML; also called --config")
	f.StringVar(&o.collateral, "collateral", "", "folder of CRLs, TCB infos, QE identities and certificates")
	f.BoolVar(&o.fetch, "fetch", false, "ask AMD and Intel for the collateral that is missing")
	f.StringVar(&o.cache, "cache", "", "folder that keeps what was fetched")
	f.StringVar(&o.kds, "kds-url", "", "AMD's key distribution service, or a mirror of it")
	f.StringVar(&o.pcs, "pcs-url", "", "Intel's provisioning certification service, or a PCCS")
	f.StringVar(&o.intelCerts, "intel-certs-url", "", "where Intel publishes its root's CRL")
	f.BoolVar(&o.challenges.Required, "require-challenge", false, "refuse evidence that does not answer a challenge; no client of upstream's does")
	f.DurationVar(&o.challenges.Life, "challenge-life", 5*time.Minute, "how old a challenge may be")
	f.StringVar(&o.challengeKey, "challenge-key", "", "file with the secret that replicas share for challenges; otherwise each makes its own")
	f.StringVar(&o.roots, "roots", "", "DEVELOPMENT: trust these PEM certificates instead of AMD's and Intel's")
	f.BoolVar(&o.insecure, "insecure-accept-no-tee", false, "DEVELOPMENT: issue certificates for keys that no hardware vouches for")
}

func (o *options) defineLimits(f *pflag.FlagSet) {
	f.IntVar(&o.conns.Connections, "max-connections", 4096, "connections at once")
	f.IntVar(&o.conns.PerClient, "max-connections-per-client", 256, "connections at once from one address")
	f.IntVar(&o.limits.Requests, "max-requests", 512, "requests at once")
	f.IntVar(&o.limits.Verifications, "max-verifications", 2*runtime.GOMAXPROCS(0), "verifications at once; twice the processors unless given")
	f.IntVar(&o.limits.Bundle, "max-bundle", 256, "requests in one bundle")
	f.Float64Var(&o.limits.Rate, "rate", 50, "certificate requests per second of one client; negative: unlimited")
	f.IntVar(&o.limits.Burst, "burst", 500, "certificate requests of one client that may come at once")
	f.DurationVar(&o.timeouts.Header, "header-timeout", 5*time.Second, "for a request's header to arrive")
	f.DurationVar(&o.timeouts.Read, "read-timeout", 15*time.Second, "for a whole request to arrive")
	f.DurationVar(&o.drain, "drain", 500*time.Millisecond, "at the end: go on accepting connections for this long")
	f.DurationVar(&o.grace, "grace", 30*time.Second, "at the end: time for the requests that are left")
}

// checkLimits refuses what would be no limit, or let nothing through.
func checkLimits(f *pflag.FlagSet) error {
	var bad error
	f.VisitAll(func(flag *pflag.Flag) {
		name, least := flag.Name, ""
		switch n, err := f.GetInt(name); {
		case err == nil && n < 1:
			least = "1"
		case err != nil:
			d, err := f.GetDuration(name)
			if err == nil && (d < 0 || d == 0 && name != "drain") {
				least = "a moment"
			}
		}
		if least != "" {
			bad = cmp.Or(bad, fmt.Errorf("--%s %s: at least %s is wanted", name, flag.Value, least))
		}
	})
	if rate, err := f.GetFloat64("rate"); err == nil && !(rate > 0 || rate < 0) { // not a number, too
		bad = cmp.Or(bad, fmt.Errorf("--rate %v: it is above zero, or negative for unlimited", rate))
	}
	return bad
}

// address is where to listen.
func (o *options) address() (string, error) {
	if o.listen != "" {
		return o.listen, nil
	}
	if _, err := netip.ParseAddr(o.addr); err != nil {
		return "", fmt.Errorf("--addr %q: not an IP address", o.addr)
	}
	return net.JoinHostPort(o.addr, strconv.Itoa(int(o.port))), nil
}
