// Package errors has the error type that the Tencent backend tells from others; nothing makes one.
package errors

// TencentCloudSDKError is never returned.
type TencentCloudSDKError struct{}

func (*TencentCloudSDKError) Error() string { return "this build has no Tencent backend" }
