// SPDX-License-Identifier: Apache-2.0

package web

import (
	"errors"
	"fmt"
	"strconv"
)

// paged returns which page of total entries is asked for, from 0, and the way
// to the others. What is no page is the first one.
func (v *visit) paged(total, perPage int, url, label string) (int, pager) {
	last := max(0, (total-1)/perPage)
	page, err := strconv.Atoi(v.r.URL.Query().Get("page"))
	if err != nil || page < 1 || page > last+1 {
		page = 1
	}
	at := func(n int) string {
		if n == 1 {
			return url
		}
		return url + "?page=" + strconv.Itoa(n)
	}
	p := pager{Label: label}
	if page > 1 {
		p.Newer, p.NewerText = at(page-1), "Previous page"
	}
	if page <= last {
		p.Older, p.OlderText = at(page+1), "Next page"
	}
	if last > 0 {
		p.Where = fmt.Sprintf("Page %s of %s", thousands(page), thousands(last+1))
	}
	return page - 1, p
}

// unless returns err, but not if it is one of these.
func unless(err error, these ...error) error {
	for _, one := range these {
		if errors.Is(err, one) {
			return nil
		}
	}
	return err
}
