// SPDX-License-Identifier: Apache-2.0

package collateral

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Register tells Intel of a platform with several processors, by the manifest
// that its firmware made (Intel SGX Registration Service, version 1). Intel
// answers with the platform's PPID.
func (f *Fetcher) Register(ctx context.Context, manifest []byte) (ppid string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	address := f.cfg.PCS + "/sgx/registration/v1/platform"
	failed := func(err error) (string, error) {
		return "", &Failure{Code: "collateral.register", What: "registration of the platform", URL: address, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(manifest))
	if err != nil {
		return failed(err)
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := f.client.Do(req)
	if err != nil {
		return failed(withoutURL(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	switch {
	case err != nil:
		return failed(fmt.Errorf("reading the answer: %w", err))
	case resp.StatusCode != http.StatusCreated:
		err := error(&statusError{resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"), time.Now())})
		if code := resp.Header.Get("Error-Code"); code != "" {
			err = fmt.Errorf("%w: %s: %s", err, code, resp.Header.Get("Error-Message"))
		}
		return failed(err)
	}
	return string(bytes.TrimSpace(body)), nil
}
