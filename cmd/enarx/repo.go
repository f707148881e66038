// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/drawbridge/client"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
)

func repoCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "repo",
		Short: "Make and find repositories, and say who may use them",
		Long: "A repository holds the versions of one package. Whether it is public is said\n" +
			"once, when it is registered.",
		Example: "  enarx repo register store.example.org/alice/app\n" +
			"  enarx repo search fibonacci\n" +
			"  enarx repo token generate --actions publish --expires 90d alice/app",
	})
	cmd.AddCommand(registerRepoCommand(), repoInfoCommand(), repoListCommand(), repoSearchCommand(), tokenCommand(), policyCommand())
	return cmd
}

// withRepo makes what a command does with a repository.
func (o *storeOptions) withRepo(do func(ctx context.Context, s *store, slug drawbridge.Slug) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		slug, err := drawbridge.ParseRepositorySlug(args[0])
		if err != nil {
			return cli.Usage(cmd, err)
		}
		ctx, stop := running(cmd)
		defer stop()
		s, err := o.openStore(cmd, slug.Host)
		if err != nil {
			return err
		}
		slug.Host = s.host
		return s.explain(s.try(ctx, func() error { return do(ctx, s, slug) }))
	}
}

func registerRepoCommand() *cobra.Command {
	var o storeOptions
	var private bool
	cmd := o.flags(&cobra.Command{
		Use:   "register [flags] [HOST/]USER/REPO",
		Short: "Make a repository",
		Long: "Make a repository. It is public unless --private is given, and stays what it\n" +
			"is. What is in a private one only its owner can read, Keeps whose certificate\n" +
			"names it, and the holders of its tokens.",
		Example: "  enarx repo register store.example.org/alice/app\n" +
			"  enarx repo register --private alice/secret-app",
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: o.withRepo(func(ctx context.Context, s *store, slug drawbridge.Slug) error {
			created, err := s.PutRepository(ctx, slug, drawbridge.Repository{Public: !private})
			if err != nil {
				err = fmt.Errorf("failed to register repository: %w", err)
				if status, ok := errors.AsType[*client.StatusError](err); ok && status.Status == 409 {
					err = diag.Hint(err, "it exists, and is %s: that cannot be changed", yesNo(private, "public", "private"))
				}
				return err
			}
			if o.asJSON {
				return writeJSON(s.cmd.OutOrStdout(), struct {
					Repository string `json:"repository"`
					Public     bool   `json:"public"`
					Created    bool   `json:"created"`
				}{slug.Name(), !private, created})
			}
			return nil
		}),
	})
	cmd.Flags().BoolVar(&private, "private", false, "only for its owner and whom he lets in")
	return cmd
}

// repoInfo is what `enarx repo info` prints: upstream's two, and beside them
// what our stores know more of.
type repoInfo struct {
	Config drawbridge.Repository `json:"config"`
	Tags   []string              `json:"tags"`
}

func repoInfoCommand() *cobra.Command {
	var o storeOptions
	var long bool
	cmd := o.flags(&cobra.Command{
		Use:   "info [flags] [HOST/]USER/REPO",
		Short: "Print the configuration and tags of a repository",
		Example: "  enarx repo info store.example.org/alice/app\n" +
			"  enarx repo info --long alice/app",
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: o.withRepo(func(ctx context.Context, s *store, slug drawbridge.Slug) error {
			if long {
				return s.longInfo(ctx, slug)
			}
			var info repoInfo
			var err error
			if info.Config, err = s.configuration(ctx, slug); err != nil {
				return fmt.Errorf("failed to retrieve repository information: %w", err)
			}
			if info.Tags, err = s.Tags(ctx, slug); err != nil {
				return fmt.Errorf("failed to retrieve repository tags: %w", err)
			}
			if info.Tags == nil {
				info.Tags = []string{}
			}
			return writeJSON(s.cmd.OutOrStdout(), info)
		}),
	})
	cmd.Flags().BoolVarP(&long, "long", "l", false, "all that is known of each tag, yanked ones too, in a table (or with --json)")
	return cmd
}

// configuration is of anybody's public repository: upstream shows the record
// itself to its owner alone.
func (s *store) configuration(ctx context.Context, slug drawbridge.Slug) (drawbridge.Repository, error) {
	config, err := s.Repository(ctx, slug)
	if err == nil {
		return config, nil
	}
	if info, ierr := s.Info(ctx, slug); ierr == nil {
		return drawbridge.Repository{Public: info.Public}, nil
	}
	return config, err
}

func (s *store) longInfo(ctx context.Context, slug drawbridge.Slug) error {
	info, err := s.Info(ctx, slug)
	if _, terr := s.Tags(ctx, slug); unknownTo(err) && terr == nil {
		return diag.Hint(fmt.Errorf("%s tells no more than `enarx repo info` prints", s.host), "leave --long away")
	}
	if err != nil {
		return fmt.Errorf("failed to retrieve repository information: %w", err)
	}
	if s.options.asJSON {
		return writeJSON(s.cmd.OutOrStdout(), info)
	}
	out := s.cmd.OutOrStdout()
	fmt.Fprintf(out, "%s is %s.\n", slug.Name(), yesNo(info.Public, "public", "private"))
	rows := [][]string{{"TAG", "CREATED", "SIGNED", "DIGEST", ""}}
	for _, t := range info.Tags {
		yanked := ""
		if t.Yanked {
			yanked = "yanked: " + t.Reason
		}
		rows = append(rows, []string{t.Tag, day(t.Created), yesNo(t.Signed, "yes", "no"), t.Digest, yanked})
	}
	return table(out, rows)
}

func repoListCommand() *cobra.Command {
	var o storeOptions
	return o.flags(&cobra.Command{
		Use:   "list [flags] [[HOST/]USER]",
		Short: "List the repositories of a user, or your own",
		Example: "  enarx repo list\n" +
			"  enarx repo list store.example.org/alice",
		Args: cli.Args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var slug drawbridge.Slug
			var err error
			if len(args) == 1 {
				if slug, err = drawbridge.ParseUserSlug(args[0]); err != nil {
					return cli.Usage(cmd, err)
				}
			}
			ctx, stop := running(cmd)
			defer stop()
			s, err := o.openStore(cmd, slug.Host)
			if err != nil {
				return err
			}
			return s.explain(s.try(ctx, func() error { return s.list(ctx, slug.User) }))
		},
	})
}

func (s *store) list(ctx context.Context, user string) error {
	if err := s.auth.look(ctx); err != nil { // the private ones are shown only to whoever may see them
		return err
	}
	users := []string{user}
	if user == "" {
		who, err := s.Whoami(ctx)
		if err != nil {
			return fmt.Errorf("failed to ask %s who you are: %w", s.host, err)
		}
		if users = who.Users; len(users) == 0 {
			return diag.Hint(fmt.Errorf("you have no name at %s", s.host), "say whose repositories: `enarx repo list USER`")
		}
	}
	var all []drawbridge.RepositorySummary
	for _, user := range users {
		for after := ""; ; {
			list, err := s.Repositories(ctx, drawbridge.Slug{User: user}, after)
			if err != nil {
				return fmt.Errorf("failed to list the repositories of %s: %w", user, err)
			}
			all = append(all, list.Repositories...)
			if list.Next == "" || list.Next == after {
				break
			}
			after = list.Next
		}
	}
	return s.printRepositories(all, "")
}

func repoSearchCommand() *cobra.Command {
	var o storeOptions
	var limit int
	var after string
	cmd := o.flags(&cobra.Command{
		Use:   "search [flags] WORD…",
		Short: "Find repositories by their names",
		Example: "  enarx repo search fibonacci\n" +
			"  enarx repo search --store-host store.example.org --limit 5 http",
		Args: cli.Args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := running(cmd)
			defer stop()
			s, err := o.openStore(cmd, "")
			if err != nil {
				return err
			}
			if err := s.auth.look(ctx); err != nil {
				return s.explain(err)
			}
			list, err := s.Search(ctx, strings.Join(args, " "), limit, after)
			if err != nil {
				return s.explain(fmt.Errorf("failed to search %s: %w", s.host, err))
			}
			return s.printRepositories(list.Repositories, list.Next)
		},
	})
	cmd.Flags().IntVar(&limit, "limit", 20, "how many to show at most")
	cmd.Flags().StringVar(&after, "after", "", "go on after what an earlier search ended with")
	return cmd
}

func (s *store) printRepositories(all []drawbridge.RepositorySummary, next string) error {
	out := s.cmd.OutOrStdout()
	if s.options.asJSON {
		if all == nil {
			all = []drawbridge.RepositorySummary{}
		}
		return writeJSON(out, drawbridge.RepositoryList{Repositories: all, Next: next})
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(s.cmd.ErrOrStderr(), "There are none.")
		return err
	}
	rows := [][]string{{"REPOSITORY", "LATEST", "TAGS", ""}}
	for _, r := range all {
		latest := r.Latest
		if latest == "" {
			latest = "-"
		}
		rows = append(rows, []string{r.User + "/" + r.Repository, latest, strconv.Itoa(r.Tags), yesNo(r.Public, "", "private")})
	}
	if err := table(out, rows); err != nil || next == "" {
		return err
	}
	_, err := fmt.Fprintf(s.cmd.ErrOrStderr(), "There are more: --after %s\n", oneLine(next))
	return err
}
