// SPDX-License-Identifier: Apache-2.0

package auth

import "maps"

// Action is what a principal wants to do.
type Action string

// The actions. Several routes may be one action.
const (
	Describe       Action = "describe"        // _config
	WhoAmI         Action = "whoami"          // _whoami
	Search         Action = "search"          // _search: what is found is asked about as ListTags
	ListRepos      Action = "list-repos"      // _repos: likewise
	ReadUser       Action = "read-user"       // GET user
	CreateUser     Action = "create-user"     // PUT user
	ReadRepo       Action = "read-repo"       // GET repository
	CreateRepo     Action = "create-repo"     // PUT repository
	ListTags       Action = "list-tags"       // GET _tag, _info and yank: may see that the repository exists
	ReadTag        Action = "read-tag"        // GET _tag/<tag>
	ReadDeployment Action = "read-deployment" // GET _tag/<tag>/deployment
	ReadTree       Action = "read-tree"       // GET _tag/<tag>/tree
	ReadDigest     Action = "read-digest"     // GET _digest/<digest>
	Publish        Action = "publish"         // PUT _tag/<tag> and tree; _node, _nodes, _upload
	YankTag        Action = "yank"            // PUT and DELETE yank
	ReadPolicy     Action = "read-policy"     // GET _policy
	WritePolicy    Action = "write-policy"    // PUT _policy
	ListTokens     Action = "list-tokens"     // GET _token, of a repository or user
	MintToken      Action = "mint-token"      // POST _token
	RevokeToken    Action = "revoke-token"    // DELETE _token/<id>
)

// need is what a principal of some kind needs for an action. The zero value is
// no rule at all: it denies, and a test finds it.
type need string

const (
	never   need = "no"      // whatever the kind of principal can show
	own     need = "owner"   // the user's record names the subject, and the scope is there
	self    need = "self"    // the record to be made names the subject, and the scope is there
	granted need = "granted" // the robot token is for the repository and the action
	wide    need = "wide"    // the same, and for all repositories of the user
	bound   need = "bound"   // the deployment token is for the tag
	named   need = "named"   // the certificate names the tag or digest, and the policy trusts it
)

// A rule is who may do an action.
type rule struct {
	anyone  bool   // everybody may, always
	public  bool   // everybody may if the repository is public
	content bool   // what is read is gone when the tag was yanked
	repo    bool   // it is about a repository that is there
	missing string // what those are told who may know that it is not
	level   string // of scope
	context string // of scope
	robot   string // action of robot tokens
	needs   map[Kind]need
}

const (
	users        = "drawbridge_users"
	repositories = "drawbridge_repositories"
	tags         = "drawbridge_tags"

	noRepo   = "Repository does not exist"
	noEntity = "Not found"
)

// everybody's needs, for the rules that do not look at them
var nobody = map[Kind]need{Anonymous: never, OIDC: never, UserInfo: never, Robot: never, Deployment: never, Attested: never}

// login is for what only people do.
func login(of need) map[Kind]need {
	return map[Kind]need{Anonymous: never, OIDC: of, UserInfo: of, Robot: never, Deployment: never, Attested: never}
}

// robots is for what programs do for people.
func robots(of need) map[Kind]need {
	return map[Kind]need{Anonymous: never, OIDC: own, UserInfo: own, Robot: of, Deployment: never, Attested: never}
}

// keeps is for what Keeps read, with a certificate. A deployment token opens
// none of it: a host has it, and content is for Keeps that proved themselves.
func keeps() map[Kind]need {
	return map[Kind]need{Anonymous: never, OIDC: own, UserInfo: own, Robot: granted, Deployment: never, Attested: named}
}

// hosts is for what a host needs to know to start a Keep.
func hosts() map[Kind]need {
	return map[Kind]need{Anonymous: never, OIDC: own, UserInfo: own, Robot: granted, Deployment: bound, Attested: named}
}

// rules is the whole policy. What is not in here is denied to everybody.
var rules = map[Action]rule{
	Describe:  {anyone: true, needs: nobody},
	WhoAmI:    {anyone: true, needs: nobody},
	Search:    {anyone: true, needs: nobody},
	ListRepos: {anyone: true, needs: nobody},

	ReadUser:   {level: "read", context: users, needs: login(own)},
	CreateUser: {level: "write", context: users, needs: login(self)},

	ReadRepo:   {repo: true, missing: noRepo, level: "read", context: repositories, robot: "read", needs: robots(granted)},
	CreateRepo: {level: "write", context: repositories, robot: "publish", needs: robots(wide)},

	ListTags:       {public: true, repo: true, missing: noEntity, level: "read", context: repositories, robot: "read", needs: robots(granted)},
	ReadTag:        {public: true, repo: true, content: true, missing: noEntity, level: "read", context: repositories, robot: "read", needs: keeps()},
	ReadDeployment: {public: true, repo: true, content: true, missing: noEntity, level: "read", context: repositories, robot: "read", needs: hosts()},
	ReadTree:       {public: true, repo: true, content: true, missing: noEntity, level: "read", context: repositories, robot: "read", needs: keeps()},
	ReadDigest:     {public: true, repo: true, content: true, missing: noEntity, level: "read", context: repositories, robot: "read", needs: keeps()},

	Publish: {repo: true, missing: noRepo, level: "write", context: tags, robot: "publish", needs: robots(granted)},
	YankTag: {repo: true, missing: noRepo, level: "write", context: tags, robot: "yank", needs: robots(granted)},

	ReadPolicy:  {repo: true, missing: noRepo, level: "read", context: repositories, robot: "read", needs: robots(granted)},
	WritePolicy: {repo: true, missing: noRepo, level: "manage", context: repositories, needs: login(own)},

	ListTokens:  {repo: true, missing: noRepo, level: "manage", context: repositories, needs: login(own)},
	MintToken:   {repo: true, missing: noRepo, level: "manage", context: repositories, needs: login(own)},
	RevokeToken: {repo: true, missing: noRepo, level: "manage", context: repositories, needs: login(own)},
}

// Actions returns all actions, in no order.
func Actions() []Action {
	var all []Action
	for a := range maps.Keys(rules) {
		all = append(all, a)
	}
	return all
}
