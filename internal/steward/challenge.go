// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/check"
)

// A challenge shows that evidence was made after it was handed out. It goes
// where upstream leaves zeros: after the hash of the key in the report data. It
// needs no memory here: it is the time and a MAC over it, so that any replica
// with the same key can check it.
const (
	challengeSize = 16 // what SNP and TDX have room for: 4 bytes of time, 12 of MAC
	challengePath = wellKnown + "/challenge"
)

// Challenges says whether evidence must answer a challenge.
type Challenges struct {
	Key      []byte        // shared by replicas; nil: random, for this process alone
	Life     time.Duration // 0: 5 minutes
	Required bool          // without it, evidence with zeros there is accepted, as all of upstream's is
}

func (c *Challenges) fill() {
	set(&c.Life, 5*time.Minute)
	if c.Key == nil {
		c.Key = make([]byte, sha256.Size)
		rand.Read(c.Key)
	}
}

// at returns the challenge of that second.
func (c *Challenges) at(second uint32) []byte {
	challenge := binary.BigEndian.AppendUint32(nil, second)
	mac := hmac.New(sha256.New, c.Key)
	mac.Write([]byte("enarx-steward challenge 1\x00"))
	mac.Write(challenge)
	return mac.Sum(challenge)[:challengeSize]
}

// issuedAt returns when a challenge was handed out, if it was.
func (c *Challenges) issuedAt(challenge []byte) (time.Time, bool) {
	second := binary.BigEndian.Uint32(challenge)
	if !hmac.Equal(c.at(second), challenge) {
		return time.Time{}, false
	}
	return time.Unix(int64(second), 0), true
}

// challenge answers a client that wants one.
func (s *Server) challenge(w http.ResponseWriter) {
	c, now := &s.cfg.Challenges, s.now()
	text, err := json.Marshal(struct {
		Challenge []byte         `json:"challenge"`
		Expires   time.Time      `json:"expires"`
		Offset    map[string]int `json:"report_data_offset"`
	}{
		c.at(uint32(now.Unix())), now.Add(c.Life).UTC().Truncate(time.Second),
		map[string]int{string(attest.SNP): tailOf(attest.SNP), string(attest.SGX): tailOf(attest.SGX), string(attest.TDX): tailOf(attest.TDX)},
	})
	if err != nil {
		s.log.Error("bug: a challenge could not be encoded", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	send(w, http.StatusOK, typeJSON, append(text, '\n'))
}

// tailOf is where in the report data the hash of the key ends.
func tailOf(t attest.Technology) int {
	if t == attest.SGX {
		return 32
	}
	return 48
}

// fresh looks for a challenge in the evidence, and makes it what the appraisal
// expects there. The check that it returns, if any, is for the result.
func (c *Challenges) fresh(cl *attest.Claims) *check.Group {
	at := tailOf(cl.Technology)
	found := cl.ReportData[at : at+challengeSize]
	none := bytes.Equal(found, make([]byte, challengeSize))
	if cl.Technology == attest.None || none && !c.Required {
		return nil
	}
	g := check.New("Freshness")
	k := check.Check{
		Code: "binding.challenge", What: "the evidence answers a challenge of this Steward", Found: check.Hex(bytes.Clone(found)),
		Fix: "get a challenge from " + challengePath + " and put it after the key's hash into the report data",
	}
	issued, ours := c.issuedAt(found)
	if !ours {
		g.Fail(k)
		return g
	}
	cl.Nonce = found
	k.What = "the challenge that the evidence answers is not too old"
	k.Expected = check.Func(func() string { return "handed out since " + check.Time(cl.Time.Add(-c.Life)).String() })
	k.Found = check.Time(issued)
	g.Require(!issued.After(cl.Time) && cl.Time.Sub(issued) <= c.Life, k)
	return g
}
