package loadgen

import "testing"

// EncodeForTest is text in a content coding.
func EncodeForTest(t testing.TB, coding, text string) []byte { return encode(t, coding, text) }
