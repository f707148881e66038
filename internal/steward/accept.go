// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"mime"
	"strconv"
	"strings"
)

// The media types of the interface.
const (
	typeRequest = "application/pkcs10"
	typeBundle  = "application/vnd.steward.pkcs10-bundle.v1"
	typeDER     = "application/octet-stream"
	typePEM     = "application/pem-certificate-chain" // RFC 8555 section 9.1
	typeProblem = "application/problem+json"          // RFC 9457
	typeEAT     = "application/eat+jwt"               // RFC 9782
	typeText    = "text/plain"
	typeJSON    = "application/json"
)

// preference is how much a client wants each media type that it named. Without
// one of ours named, it gets what upstream would have sent: upstream ignores
// Accept, and so its clients may send anything there.
type preference []struct {
	name    string
	quality float64
}

const maxAccept = 4 << 10

// parseAccept reads Accept headers. What does not parse counts as not said.
func parseAccept(values []string) preference {
	var p preference
	line := strings.Join(values, ",")
	if len(line) > maxAccept {
		return nil
	}
	for item := range strings.SplitSeq(line, ",") {
		name, params, err := mime.ParseMediaType(item)
		if err != nil {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil || q < 0 || q > 1 {
				continue
			}
		}
		p = append(p, struct {
			name    string
			quality float64
		}{name, q})
	}
	return p
}

// best returns the offer that the client prefers, of those it named, and
// otherwise.
func (p preference) best(otherwise string, offers ...string) string {
	best, quality := otherwise, 0.0
	for _, item := range p {
		for _, offer := range offers {
			if item.name == offer && item.quality > quality {
				best, quality = offer, item.quality
			}
		}
	}
	return best
}
