// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"slices"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/tdx"
)

// intel is what SGX and TDX claims have in common, as the rules want it.
type intel struct {
	*DCAPPolicy
	codes  *intelCodes
	status dcap.Status
	qe     dcap.Status
	info   *dcap.TCBInfo
	pck    *dcap.PCK
	qeSVN  uint16
}

// intelCodes are spelt out so that nothing is put together on the way to a
// good verdict.
type intelCodes struct {
	status, advisories, evaluation, ppid, ppidDenied, platform, qeSVN, pceSVN            string
	kStatus, kAdvisories, kEvaluation, kPPIDs, kPPIDsDenied, kPlatforms, kQESVN, kPCESVN string
}

var sgxCodes = intelCodes{
	"sgx.tcb.status", "sgx.tcb.advisories", "sgx.tcb-info.evaluation-number", "sgx.pck.ppid", "sgx.pck.ppid.denied", "sgx.pck.platform", "sgx.qe.isvsvn.minimum", "sgx.pck.pcesvn",
	"sgx.allowed_tcb_statuses", "sgx.allowed_advisories", "sgx.minimum_evaluation_number", "sgx.ppids", "sgx.ppids_denied", "sgx.platforms", "sgx.minimum_qe_svn", "sgx.minimum_pce_svn",
}

var tdxCodes = intelCodes{
	"tdx.tcb.status", "tdx.tcb.advisories", "tdx.tcb-info.evaluation-number", "tdx.pck.ppid", "tdx.pck.ppid.denied", "tdx.pck.platform", "tdx.qe.isvsvn.minimum", "tdx.pck.pcesvn",
	"tdx.allowed_tcb_statuses", "tdx.allowed_advisories", "tdx.minimum_evaluation_number", "tdx.ppids", "tdx.ppids_denied", "tdx.platforms", "tdx.minimum_qe_svn", "tdx.minimum_pce_svn",
}

// platform judges the machine by what Intel says about it.
func (a *appraisal) platform(i *intel) {
	c := i.codes
	status := i.status
	if !status.Known {
		status = i.qe
	}
	a.tcbStatus(i, status)
	if i.info != nil {
		a.atLeast(c.kEvaluation, uint64(i.MinimumEvaluation), uint64(i.info.EvaluationNumber), c.evaluation, "the TCB info is of a recent enough evaluation")
	} else if i.MinimumEvaluation > 0 {
		a.rule(false, c.kEvaluation, "add the TCB info of this platform", check.Check{Code: c.evaluation, What: "the TCB info is of a recent enough evaluation", Expected: atLeast(i.MinimumEvaluation)})
	}
	a.atLeast(c.kQESVN, uint64(i.MinimumQESVN), uint64(i.qeSVN), c.qeSVN, "the quoting enclave's security version reaches the minimum")
	var ppid, platform []byte
	var pceSVN uint16
	if i.pck != nil {
		ppid, pceSVN = i.pck.PPID[:], i.pck.PCESVN
		if i.pck.Platform != nil {
			platform = i.pck.Platform.InstanceID[:]
		}
	}
	a.atLeast(c.kPCESVN, uint64(i.MinimumPCESVN), uint64(pceSVN), c.pceSVN, "the provisioning enclave's security version reaches the minimum")
	a.listed(c.kPPIDs, i.PPIDs, ppid, c.ppid, "the processor is a listed one")
	a.denied(c.kPPIDsDenied, i.PPIDsDenied, ppid, c.ppidDenied, "the processor is not a denied one")
	a.listed(c.kPlatforms, i.Platforms, platform, c.platform, "the platform is a listed one")
}

// tcbStatus judges the status and its advisories. They are two rules: an
// advisory that is accepted never excuses a status that is not.
func (a *appraisal) tcbStatus(i *intel, status dcap.Status) {
	c, accepted := i.codes, i.statuses()
	k := check.Check{Code: c.status, What: "Intel's verdict on the platform's versions (TCB status) is accepted", Expected: check.List(accepted)}
	if !status.Known {
		a.g.Skip(k, "nothing from Intel about this platform")
		return
	}
	k.Found = check.Text(status.Name)
	fix := "update the platform's BIOS and microcode (and its quoting enclave), or add the status to KEY"
	if status.Name == dcap.Revoked {
		fix = "update the platform's BIOS and microcode (and its quoting enclave): no policy accepts what Intel revoked"
	}
	a.rule(status.Name != dcap.Revoked && slices.Contains(accepted, status.Name), c.kStatus, fix, k)
	if i.Advisories == nil {
		if len(status.Advisories) > 0 {
			a.g.Note(check.Check{Code: c.advisories, What: "security advisories apply to the platform", Found: check.List(status.Advisories)})
		}
		return
	}
	var open check.List
	for _, id := range status.Advisories {
		if !slices.Contains(i.Advisories, id) {
			open = append(open, id)
		}
	}
	a.rule(len(open) == 0, c.kAdvisories, "update the platform, or add the advisories to KEY", check.Check{
		Code: c.advisories, What: "only accepted security advisories apply to the platform", Expected: check.List(i.Advisories), Found: open,
	})
}

// workloadSGX is workload, for CONFIGID, which only counts with KSS.
func (a *appraisal) workloadSGX() {
	body := a.cl.SGX.Body
	if body.Attributes&dcap.KSS == 0 {
		a.workload(nil, "CONFIGID")
		return
	}
	a.workload(body.ConfigID[:], "CONFIGID")
}

// sgx applies the rules of the table [sgx] and those that always hold.
func (a *appraisal) sgx() {
	cl, body, p := a.cl.SGX, a.cl.SGX.Body, &a.p.SGX
	attributes := body.Attributes
	a.rule(attributes&dcap.Debug == 0 || p.AllowDebug || p.Features != nil && *p.Features&dcap.Debug != 0, "sgx.allow_debug",
		"build the enclave without DEBUG; or, where nothing is at stake, set KEY", check.Check{
			Code: "sgx.attributes.debug", What: "the host may not debug the enclave", Found: attributes,
		})
	a.rule(attributes&dcap.Init != 0, "the enclave is initialized", "none: such an enclave cannot run", check.Check{
		Code: "sgx.attributes.init", What: "the enclave is initialized", Found: attributes,
	})
	a.rule(attributes&dcap.Mode64Bit != 0, "the enclave runs in 64-bit mode", "build a 64-bit enclave", check.Check{
		Code: "sgx.attributes.mode64bit", What: "the enclave runs in 64-bit mode", Found: attributes,
	})
	if p.Features != nil {
		allowed := *p.Features | dcap.Init | dcap.Mode64Bit
		if p.AllowDebug {
			allowed |= dcap.Debug
		}
		a.rule(attributes&^allowed == 0, "sgx.features", "build the enclave without them, or add them to KEY", check.Check{
			Code: "sgx.attributes.features", What: "the enclave has no attributes but those listed", Expected: allowed, Found: attributes,
		})
	}
	if p.RequireKSS {
		a.rule(attributes&dcap.KSS != 0, "sgx.require_kss", "build the enclave with KSS, or change KEY", check.Check{
			Code: "sgx.attributes.kss", What: "the enclave uses key separation and sharing (KSS)", Found: attributes,
		})
	}
	if p.MiscSelect != nil {
		a.rule(body.MiscSelect&^*p.MiscSelect == 0, "sgx.misc_select", "build the enclave without it, or add it to KEY", check.Check{
			Code: "sgx.miscselect", What: "the enclave saves no extended state but what is listed", Expected: check.Flags(*p.MiscSelect), Found: check.Flags(body.MiscSelect),
		})
	}
	a.listed("sgx.hash", p.Hash, body.MREnclave[:], "sgx.mrenclave", "the measurement is a listed one")
	a.denied("sgx.hash_blacklist", p.HashDenied, body.MREnclave[:], "sgx.mrenclave.denied", "the measurement is not a denied one")
	a.listed("sgx.signer", p.Signer, body.MRSigner[:], "sgx.mrsigner", "the signer is a listed one")
	if len(p.ConfigID) > 0 {
		id := body.ConfigID[:]
		if attributes&dcap.KSS == 0 {
			id = nil
		}
		a.listed("sgx.config_id", p.ConfigID, id, "sgx.configid", "the configuration is a listed one")
	}
	if p.ProductID != nil {
		a.rule(body.ISVProdID == *p.ProductID, "sgx.enclave_product_id", "run that product, or change KEY", check.Check{
			Code: "sgx.isvprodid", What: "the enclave is of the product", Expected: check.Uint(*p.ProductID), Found: check.Uint(body.ISVProdID),
		})
	}
	a.atLeast("sgx.enclave_security_version", uint64(p.MinimumSVN), uint64(body.ISVSVN), "sgx.isvsvn", "the enclave's security version reaches the minimum")
	a.platform(&intel{&p.DCAPPolicy, &sgxCodes, cl.TCB, cl.QE, cl.TCBInfo, cl.PCK, cl.Quote.Signature.QE.ISVSVN})
}

// tdx applies the rules of the table [tdx] and those that always hold.
func (a *appraisal) tdx() {
	cl, body, p := a.cl.TDX, a.cl.TDX.Body, &a.p.TDX
	a.rule(body.Attributes&tdx.UnderDebug == 0 || p.AllowDebug, "tdx.allow_debug",
		"launch the trust domain without DEBUG; or, where nothing is at stake, set KEY", check.Check{
			Code: "tdx.attributes.debug", What: "the host may not debug the trust domain", Found: body.Attributes,
		})
	a.rule(body.Attributes&tdx.Migratable == 0 || p.AllowMigration, "tdx.allow_migration", "launch the trust domain without MIGRATABLE, or set KEY", check.Check{
		Code: "tdx.attributes.migratable", What: "nobody may move the trust domain", Found: body.Attributes,
	})
	service := body.MRServiceTD[:]
	bound := check.Check{
		Code: "tdx.mrservicetd", What: "no service TD, or a listed one, is bound to the trust domain", Expected: serviceTDs(p.MRServiceTD), Found: check.Hex(service),
	}
	if body.V15 {
		a.rule(zero(service) || contains(p.MRServiceTD, service), "tdx.mr_service_td", "launch the trust domain without a service TD, or add the value to KEY", bound)
	} else {
		a.g.Skip(bound, "a TD report of TDX 1.0 does not say")
	}
	a.listed("tdx.mr_td", p.MRTD, body.MRTD[:], "tdx.mrtd", "the measurement is a listed one")
	a.denied("tdx.mr_td_denied", p.MRTDDenied, body.MRTD[:], "tdx.mrtd.denied", "the measurement is not a denied one")
	for i, key := range [...]string{"tdx.rtmr0", "tdx.rtmr1", "tdx.rtmr2", "tdx.rtmr3"} {
		a.listed(key, p.RTMR[i], body.RTMR[i][:], key, "the run-time measurement is a listed one")
	}
	a.listed("tdx.mr_config_id", p.MRConfigID, body.MRConfigID[:], "tdx.mrconfigid", "the configuration is a listed one")
	a.listed("tdx.mr_owner", p.MROwner, body.MROwner[:], "tdx.mrowner", "the owner is a listed one")
	a.listed("tdx.mr_owner_config", p.MROwnerConfig, body.MROwnerConfig[:], "tdx.mrownerconfig", "the owner's configuration is a listed one")
	a.listed("tdx.mr_seam", p.MRSEAM, body.MRSEAM[:], "tdx.mrseam", "the TDX module is a listed one")
	a.platform(&intel{&p.DCAPPolicy, &tdxCodes, cl.TCB, cl.QE, cl.TCBInfo, cl.PCK, cl.Quote.Signature.QE.ISVSVN})
}

// serviceTDs are the service TDs accepted, beside none.
type serviceTDs [][]byte

func (v serviceTDs) String() string {
	if len(v) == 0 {
		return "zero"
	}
	return "zero, or " + values(v).String()
}
