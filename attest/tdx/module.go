// SPDX-License-Identifier: Apache-2.0

package tdx

import (
	"strings"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
)

const tcbInfoSource = "Intel PCS API v4, TCB info"

// module requires the TDX module to be Intel's, and finds out what Intel says
// about its version. Modules with a major version, the second component of
// TEE_TCB_SVN, have an identity of their own, against which their minor version,
// the first component, is judged; others are judged with the platform.
func (c *Claims) module(g *check.Group) {
	expected := &dcap.ModuleIdentity{AttributesMask: ^uint64(0)} // what Intel's modules have always been
	source := "Intel TDX Module ABI specification, TDREPORT"
	if c.TCBInfo != nil {
		source = tcbInfoSource
		if expected = c.identity(g); expected == nil {
			return
		}
	}
	body := c.Body
	g.Require(body.MRSignerSEAM == expected.MRSigner, check.Check{
		Code: "tdx.mrsignerseam", What: "the TDX module is signed by Intel",
		Expected: check.Hex(expected.MRSigner[:]), Found: check.Hex(body.MRSignerSEAM[:]), Source: source,
		Fix: "none: this is not Intel's TDX module",
	})
	g.Require(body.SEAMAttributes&expected.AttributesMask == expected.Attributes, check.Check{
		Code: "tdx.seamattributes", What: "the TDX module's attributes are as they must be",
		Expected: check.Flags(expected.Attributes), Found: check.Flags(body.SEAMAttributes), Source: source,
		Fix: "none: this TDX module is not for production",
	})
	if c.TCBInfo == nil || expected.ID == "" {
		return
	}
	c.Module = c.TCBInfo.SVNStatus(g, expected.Levels, uint16(body.TEETCBSVN[0]), check.Check{
		Code: "tdx.module.level", What: "Intel knows this version of the TDX module", Source: tcbInfoSource,
		Fix: "update the platform's TDX module",
	})
}

// identity returns what Intel says TDX modules of that major version are.
func (c *Claims) identity(g *check.Group) *dcap.ModuleIdentity {
	major := c.Body.TEETCBSVN[1]
	if major == 0 {
		return c.TCBInfo.Module
	}
	const digits = "0123456789ABCDEF"
	name := "TDX_" + string([]byte{digits[major>>4], digits[major&15]})
	for i := range c.TCBInfo.Modules {
		// There is no major version yet that would show which case Intel uses.
		if m := &c.TCBInfo.Modules[i]; strings.EqualFold(m.ID, name) {
			return m
		}
	}
	g.Fail(check.Check{
		Code: "tdx.module.identity", What: "Intel knows this major version of the TDX module",
		Found: check.Text(name), Source: tcbInfoSource, Fix: "update the TCB info, or the platform's TDX module",
	})
	return nil
}

// current judges the TDX module that runs now, where it is not the one that the
// trust domain was started under, where Intel's algorithm stops. One that is not
// better counts, with its advisories: it has the trust domain in its hands. A
// better one is noted: a new trust domain would be better off.
func (c *Claims) current(g *check.Group) {
	body := c.Body
	before := c.Platform.And(c.Module)
	if !body.V15 || body.TEETCBSVN2 == body.TEETCBSVN || !before.Known {
		return
	}
	again, aside := *body, check.New("")
	again.TEETCBSVN = body.TEETCBSVN2
	now := Claims{TCBInfo: c.TCBInfo, PCK: c.PCK, Body: &again}
	now.module(aside)
	after := now.TCBInfo.PlatformStatus(aside, prefix, c.PCK, &again.TEETCBSVN).And(now.Module)
	if !g.Require(aside.OK(), check.Check{
		Code: "tdx.module.current", What: "Intel knows the TDX module that runs now",
		Found: check.Func(func() string { return "TEE_TCB_SVN_2 " + check.Hex(again.TEETCBSVN[:]).String() }), Source: tcbInfoSource,
		Fix: "update the TCB info, or the platform's TDX module",
	}) {
		return
	}
	if before.Name == after.Name || dcap.Converge(before.Name, after.Name) != before.Name {
		c.Current = after
		return
	}
	g.Note(check.Check{
		Code: "tdx.tcb-info.relaunch", What: "launching the trust domain anew would change its TCB status",
		Expected: check.Text(after.Name), Found: check.Text(before.Name), Source: tcbInfoSource,
		Fix: "launch the trust domain anew",
	})
}
