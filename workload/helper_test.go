// SPDX-License-Identifier: Apache-2.0

package workload

// testCA is a self-signed P-256 certificate for "test", valid until 2126; its
// key was thrown away.
const testCA = `-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUd1F54P/nYF2k5hgAgF5fhyfko08wCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjExMjQwMDZaGA8yMTI2MTAyODEyNDAw
NlowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABEww
L95rUwdU0oADh3b+C5eThzs4jujyUZtO3FWkyIDBrhdMnS/SsKjLxqjHtgMFq6bc
nx0mD8mD0xy0CZzXp4CjUzBRMB0GA1UdDgQWBBSHWfqsHAw53aGNfyuOpU/W9ugr
HjAfBgNVHSMEGDAWgBSHWfqsHAw53aGNfyuOpU/W9ugrHjAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIAkpdzH80vj3TH+8IGMJeNtzxvnjaKkpHTu8
wkZApgmYAiEAvsnKwY9zQLAXGFbcCefTP0/faqF8xd4yQuFhBvTrO4M=
-----END CERTIFICATE-----
`

// testRecipient is the example key of age's README.
const testRecipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
