// SPDX-License-Identifier: Apache-2.0

//go:build azure

package store

import _ "gocloud.dev/blob/azureblob" // azblob:// in OpenURL
