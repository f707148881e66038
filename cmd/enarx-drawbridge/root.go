// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/drawbridged"
	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/internal/serve"
	"enarx.dev/enarx/internal/version"
)

// options are the flags of the server.
type options struct {
	addr, admin string
	hosts       []string
	cert, key   string
	cas         []string
	proxies     []string
	logging     cli.Logging

	storage storage
	strict  bool
	noAlias bool
	noGC    bool

	oidc     oidcOptions
	site     siteOptions
	steward  string
	life     time.Duration
	audit    string
	develop  string
	limits   drawbridged.Limits
	quota    store.Limits // negative: none
	conns    serve.Limits
	timeouts serve.Timeouts
	drain    time.Duration
	grace    time.Duration
}

// oidcOptions are who users are.
type oidcOptions struct {
	issuer        string
	audiences     []string
	algorithms    []string
	ca            string
	userinfo      bool
	label, client string
	secret        string
}

// siteOptions are the pages for people.
type siteOptions struct {
	off            bool
	client, secret string
	key            string
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "enarx-drawbridge [flags] [@FILE]",
		Short: "Keep the packages that Keeps run",
		Long: "The workload repository of Enarx: users publish packages under tags, and Keeps\n" +
			"fetch them, every byte accounted for by digests. @FILE is a TOML file of flags.",
		Example: "  enarx-drawbridge --development dev\n" +
			"  enarx-drawbridge --store /var/lib/enarx-drawbridge --cert tls.crt --key tls.key \\\n" +
			"      --oidc-issuer https://auth.example/ --oidc-audience https://store.example/\n" +
			"  enarx-drawbridge @/etc/enarx-drawbridge/drawbridge.toml",
		Version:           version.Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cli.NoArguments,
		RunE:              func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	root.SetVersionTemplate("enarx-drawbridge {{.Version}}\n")
	root.Flags().BoolP("version", "V", false, "print the version")
	root.SetFlagErrorFunc(cli.Usage)
	root.SuggestionsMinimumDistance = 2
	o.define(root.Flags())
	root.AddCommand(checkConfigCommand(), fsckCommand(), gcCommand(), exportCommand(), importCommand(),
		auditCommand(), versionCommand(), cli.Completion("enarx-drawbridge"))
	return root
}

func (o *options) define(f *pflag.FlagSet) {
	f.SortFlags = false
	o.defineNetwork(f)
	o.defineStore(f)
	o.defineUsers(f)
	o.defineLimits(f)
	cli.Once(f)
}

func (o *options) defineNetwork(f *pflag.FlagSet) {
	f.StringVar(&o.addr, "addr", "0.0.0.0:8080", "HOST:PORT or unix:PATH to listen on")
	f.StringArrayVar(&o.hosts, "host", nil, "HOST[:PORT] by which clients know this server, the best first; may be repeated")
	f.StringVar(&o.cert, "cert", "", "certificate chain of the server, PEM")
	f.StringVar(&o.key, "key", "", "its private key, PEM")
	f.StringArrayVar(&o.cas, "ca", nil, "[NAME=]FILE, PEM: a Steward's CA, whose certificates let Keeps read what they are attested to run; may be repeated")
	f.StringVar(&o.admin, "admin-addr", "", "HOST:PORT or unix:PATH for /health, /ready and /metrics")
	f.StringArrayVar(&o.proxies, "proxy", nil, "address or network of a proxy whose X-Forwarded-For is believed, or unix for who comes by a Unix socket; may be repeated")
	f.StringVar(&o.develop, "development", "", "DEVELOPMENT: without certificates and identity provider, on this machine alone; what it makes is kept in this folder")
	f.StringVar(&o.audit, "audit-log", "", "append a line for each change, refusal and release to this file; see the command audit")
	o.logging.Define(f)
}

func (o *options) defineStore(f *pflag.FlagSet) {
	o.storage.define(f)
	f.BoolVar(&o.strict, "strict-tree", false, "refuse nodes that no directory lists; upstream's clients send such, see docs/drawbridge.md")
	f.BoolVar(&o.noAlias, "no-wasm-alias", false, "do not serve a package that is a bare module as main.wasm too, where upstream's Keeps look for it")
	o.storage.defineTimes(f)
	f.BoolVar(&o.noGC, "no-gc", false, "leave collecting garbage to other servers of the store, or to the command gc")
}

func (o *options) defineUsers(f *pflag.FlagSet) {
	f.StringVar(&o.oidc.issuer, "oidc-issuer", "", "URL of the OpenID provider that users sign in with")
	f.StringArrayVar(&o.oidc.audiences, "oidc-audience", nil, "audience of the access tokens that are for this server; may be repeated")
	f.StringArrayVar(&o.oidc.algorithms, "oidc-algorithm", nil, "signature of access tokens: RS256, ES256 or EdDSA; may be repeated (default RS256)")
	f.StringVar(&o.oidc.ca, "oidc-ca", "", "trust this CA for the OpenID provider instead of the system's, PEM")
	f.BoolVar(&o.oidc.userinfo, "oidc-userinfo", false, "also take tokens that the provider's userinfo knows, as upstream's 0.2 and older; no scopes, no audience")
	f.StringVar(&o.oidc.label, "oidc-label", "", "upstream's name of the provider; not used")
	f.StringVar(&o.oidc.client, "oidc-client", "", "client id that enarx user login is told to use")
	f.StringVar(&o.oidc.secret, "oidc-secret", "", "file with that client's secret; not used for tokens")
	f.BoolVar(&o.site.off, "no-site", false, "no pages for people")
	f.StringVar(&o.site.client, "site-client", "", "client id with which people sign in on the pages; without it they only look")
	f.StringVar(&o.site.secret, "site-secret", "", "file with that client's secret")
	f.StringVar(&o.site.key, "session-key", "", "file with a secret of 32 bytes or more that seals sessions, the same for all servers of a site; otherwise each makes its own")
	f.StringVar(&o.steward, "steward", "", "URL of the Steward that deployments are told of, unless the repository names another")
	f.DurationVar(&o.life, "certificate-life", 0, "life of a Keep's certificate that deployments are told of, unless the repository says otherwise")
}

func (o *options) defineLimits(f *pflag.FlagSet) {
	l := &o.limits
	f.IntVar(&o.conns.Connections, "max-connections", 4096, "connections at once")
	f.IntVar(&o.conns.PerClient, "max-connections-per-client", 256, "connections at once from one address")
	f.IntVar(&l.Requests, "max-requests", 1024, "requests at once")
	f.IntVar(&l.Uploads, "max-uploads", 16, "uploads at once of one user or address")
	f.Float64Var(&l.Rate, "rate", 500, "requests per second of one user or address; negative: unlimited")
	f.IntVar(&l.Burst, "burst", 10000, "requests of one user or address that may come at once")
	f.Var(newSize(&l.Body, 16<<30), "max-file", "bytes of one file")
	f.Var(newSize(&o.quota.Bytes, 64<<30), "quota", "bytes that one user may store; negative: unlimited")
	f.IntVar(&l.Users, "quota-users", 8, "user names that one person may register; negative: unlimited")
	f.IntVar(&o.quota.Repos, "quota-repositories", 1000, "repositories of one user; negative: unlimited")
	f.IntVar(&o.quota.Tags, "quota-tags", 5000, "tags of one repository; negative: unlimited")
	f.IntVar(&l.Tokens, "quota-tokens", 100, "robot and deployment tokens of one user; negative: unlimited")
	f.DurationVar(&o.timeouts.Header, "header-timeout", 10*time.Second, "for a request's header to arrive")
	f.DurationVar(&o.timeouts.Idle, "idle-timeout", 2*time.Minute, "between two requests; upstream's clients do not repeat an upload whose connection is gone")
	f.DurationVar(&l.Stall, "stall", 30*time.Second, "without a byte, either way")
	f.Float64Var(&l.MinRate, "min-rate", 4096, "bytes per second that a client must manage, either way")
	f.DurationVar(&o.drain, "drain", 500*time.Millisecond, "at the end: go on accepting connections for this long")
	f.DurationVar(&o.grace, "grace", 30*time.Second, "at the end: time for the requests that are left")
}

// mayBeNegative are the limits whose negative value means none, and mayBeZero
// those whose zero does.
var (
	mayBeNegative = map[string]bool{"rate": true, "quota": true, "quota-users": true, "quota-repositories": true, "quota-tags": true, "quota-tokens": true}
	mayBeZero     = map[string]bool{"drain": true, "certificate-life": true, "gc-wait": true, "staging-life": true}
)

// checkLimits refuses what would be no limit, or let nothing through.
func checkLimits(f *pflag.FlagSet) error {
	var bad error
	f.VisitAll(func(flag *pflag.Flag) {
		sign, is := 0, false
		if n, err := f.GetInt(flag.Name); err == nil {
			sign, is = cmp.Compare(n, 0), true
		} else if d, err := f.GetDuration(flag.Name); err == nil {
			sign, is = cmp.Compare(d, 0), true
		} else if r, err := f.GetFloat64(flag.Name); err == nil {
			sign, is = cmp.Compare(r, 0), true // less, if it is not a number
		} else if flag.Value.Type() == sizeType {
			n, _ := parseSize(flag.Value.String()) // it is what was printed
			sign, is = cmp.Compare(n, 0), true
		}
		if is && (sign == 0 && !mayBeZero[flag.Name] || sign < 0 && !mayBeNegative[flag.Name]) {
			bad = cmp.Or(bad, fmt.Errorf("--%s %s: more than nothing is wanted", flag.Name, flag.Value))
		}
	})
	return bad
}
