// Package common replaces the cloud SDK that Flannel's Tencent backend is compiled against.
//
// The benchmark builds Flannel for its VXLAN backend alone and does without the SDK: what is here has the
// names that the other backend mentions, and none of them does anything.
package common

// StringPtr points to a string.
func StringPtr(value string) *string { return &value }

// StringPtrs points to each of some strings.
func StringPtrs(values []string) []*string {
	pointers := make([]*string, len(values))
	for at := range values {
		pointers[at] = &values[at]
	}
	return pointers
}

// BoolPtr points to a truth value.
func BoolPtr(value bool) *bool { return &value }
