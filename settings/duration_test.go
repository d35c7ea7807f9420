package settings

import (
	"math/big"
	"strings"
	"testing"
)

// FuzzDuration compares with exact arithmetic.
func FuzzDuration(f *testing.F) {
	for _, text := range []string{"30", " 10m ", "365d", "500ms", "300000d", "-1", "1h30m", "10µ", "9223372036854775807d", "3 s"} {
		f.Add(text)
	}
	units := map[string]int64{"ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9, "d": 86400e9, "": 1e9}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseDuration(text)
		if err != nil {
			return
		}
		number := strings.TrimRight(strings.TrimSpace(text), "mshd")
		unit, known := units[strings.TrimPrefix(strings.TrimSpace(text), number)]
		want, ok := new(big.Int).SetString(number, 10)
		if !known || !ok || want.Mul(want, big.NewInt(unit)).Cmp(big.NewInt(int64(got))) != 0 {
			t.Errorf("%q is %d ns", text, got)
		}
	})
}
