package loadgen

import "bytes"

// What follows is of RFC 9110: what names and values of headers are made of.

// isTokenByte is whether a byte may stand in a header's name.
func isTokenByte(c byte) bool {
	const mask = 0 |
		(1<<10-1)<<'0' | (1<<26-1)<<'a' | (1<<26-1)<<'A' |
		1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' | 1<<'+' |
		1<<'-' | 1<<'.' | 1<<'^' | 1<<'_' | 1<<'`' | 1<<'|' | 1<<'~'
	return (uint64(1)<<c)&(mask&(1<<64-1))|(uint64(1)<<(c-64))&(mask>>64) != 0
}

// isValueByte is whether a byte may stand in a header's value.
func isValueByte(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' }

// trimmed is without the blanks around it.
func trimmed(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// isName is whether a token, in any case, is one that is given in lower case.
func isName(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// hasToken is whether a list has a token, given in lower case.
func hasToken(list []byte, lower string) bool {
	for {
		at := bytes.IndexByte(list, ',')
		if at < 0 {
			return isName(trimmed(list), lower)
		}
		if isName(trimmed(list[:at]), lower) {
			return true
		}
		list = list[at+1:]
	}
}
