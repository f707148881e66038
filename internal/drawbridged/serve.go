// SPDX-License-Identifier: Apache-2.0

package drawbridged

// A handler does what one method of one endpoint is for. What it returns as an
// error has not been answered.
type handler func(*exchange) error

// table is every endpoint below /api with its methods. A method that is not
// here is 405.
var table = map[endpoint]map[string]handler{
	epUser: {"GET": (*exchange).getUser, "HEAD": (*exchange).getUser, "PUT": (*exchange).putUser},
	epRepo: {"GET": (*exchange).getRepo, "HEAD": (*exchange).getRepo, "PUT": (*exchange).putRepo},
	epTags: {"GET": (*exchange).listTags},
	epTag:  {"GET": (*exchange).getTag, "HEAD": (*exchange).getTag, "PUT": (*exchange).putTag},
	epTree: {"GET": (*exchange).getTree, "HEAD": (*exchange).getTree, "PUT": (*exchange).receiveNode},

	epConfig:     {"GET": (*exchange).getConfig},
	epWhoami:     {"GET": (*exchange).getWhoami},
	epSearch:     {"GET": (*exchange).getSearch},
	epRepos:      {"GET": (*exchange).getRepos},
	epInfo:       {"GET": (*exchange).getInfo},
	epDigest:     {"GET": (*exchange).getDigest, "HEAD": (*exchange).getDigest},
	epDeployment: {"GET": (*exchange).getDeployment},
	epYank:       {"GET": (*exchange).getYank, "PUT": (*exchange).putYank, "DELETE": (*exchange).deleteYank},
	epPolicy:     {"GET": (*exchange).getPolicy, "PUT": (*exchange).putPolicy},

	epNodes:   {"POST": (*exchange).postNodes},
	epNode:    {"PUT": (*exchange).receiveNode},
	epUploads: {"POST": (*exchange).postUpload},
	epUpload: {
		"GET": (*exchange).getUpload, "PATCH": (*exchange).patchUpload,
		"PUT": (*exchange).finishUpload, "DELETE": (*exchange).deleteUpload,
	},

	epUserTokens: {"GET": (*exchange).getTokens, "POST": (*exchange).postToken},
	epUserToken:  {"DELETE": (*exchange).deleteToken},
	epTokens:     {"GET": (*exchange).getTokens, "POST": (*exchange).postToken},
	epToken:      {"DELETE": (*exchange).deleteToken},
}
