package plan

import (
	"math/big"
	"strings"
	"testing"
)

// FuzzDuration compares with exact arithmetic.
func FuzzDuration(f *testing.F) {
	for _, text := range []string{"30", " 10m ", "365d", "5.5h", "0.001ms", "500ms", "106752d", "-1", "1h30m", "10µ", "9223372036.9", ".5s", "1e3"} {
		f.Add(text)
	}
	units := map[string]int64{"ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9, "d": 86400e9, "": 1e9}
	f.Fuzz(func(t *testing.T, text string) {
		got, problem := parseDuration(text)
		if problem != "" {
			if got != 0 {
				t.Errorf("%q is refused (%s) and gives %v", text, problem, got)
			}
			return
		}
		number := strings.TrimRight(strings.TrimSpace(text), "mshd")
		unit, known := units[strings.TrimPrefix(strings.TrimSpace(text), number)]
		want, ok := new(big.Rat).SetString(number)
		if !known || !ok || got < 0 {
			t.Fatalf("%q is accepted as %v", text, got)
		}
		want.Mul(want, new(big.Rat).SetInt64(unit))
		// Half a nanosecond, and what a float64 does to a part of a day.
		off := new(big.Rat).Sub(want, new(big.Rat).SetInt64(int64(got)))
		if off.Abs(off).Cmp(big.NewRat(502, 1000)) > 0 {
			t.Errorf("%q is %d ns, want %s", text, got, want.FloatString(3))
		}
	})
}
