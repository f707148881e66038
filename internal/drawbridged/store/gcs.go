// SPDX-License-Identifier: Apache-2.0

//go:build gcs

package store

import _ "gocloud.dev/blob/gcsblob" // gs:// in OpenURL: tens of MB that most do without
